#!/usr/bin/env bash
# Trains the shipped weights, ttl_jax/weights/derain.safetensors, which remove rain. Training
# continues the weights of version 0.1, ttl_jax/weights/derain_0.1.safetensors.
#
#   bash launch/weights.sh PHOTOGRAPHS
#
# PHOTOGRAPHS is a folder with a MANIFEST.csv; see launch/lists_by_scene.py. This takes two
# hours on two CPU cores. After an interruption, the same command resumes.
#
# The weights of 0.1 and ttl_jax/weights/recog.safetensors, which scores rain and took no part
# in training the former, were trained with sums over the whole image, on the lists of that
# time:
#
#   python -m ttl_jax.main --config=configs/shipped.py --workdir=runs/shipped_0.1 \
#     --config.encoder.attention_cell=0
#   python -m ttl_jax.main --config=configs/recog.py --workdir=runs/judge \
#     --config.encoder.attention_cell=0 --config.num_eval=0 --config.num_steps=800 \
#     --config.seed=7 --config.rainy=list:runs/lists/rainy_train.txt \
#     --config.clean=list:runs/lists/clean_train.txt
set -euo pipefail
if [[ $# -ne 1 || ! -f "$1/MANIFEST.csv" ]]; then
  echo "usage: bash launch/weights.sh PHOTOGRAPHS, a folder with a MANIFEST.csv" >&2
  exit 2
fi
photographs=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
python=python
[[ -x .venv/bin/python ]] && python=.venv/bin/python

"$python" launch/lists_by_scene.py "$photographs" --output runs/lists
"$python" -m ttl_jax.main --config=configs/local_sums.py --workdir=runs/shipped
if [[ ! -f runs/hard/report.csv ]]; then
  "$python" launch/hard_negatives.py --checkpoint runs/shipped/local_sums \
    --clean list:runs/lists/clean_train.txt --output runs/hard
fi
"$python" -m ttl_jax.main --config=configs/hard_negatives.py --workdir=runs/shipped
"$python" -m ttl_jax.pack runs/shipped/hard_negatives --overwrite \
  --output ttl_jax/weights/derain.safetensors
