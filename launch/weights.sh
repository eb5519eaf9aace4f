#!/usr/bin/env bash
# Makes the weights that ship, anew: ttl_jax/weights/derain.safetensors, which remove
# rain, and recog.safetensors, which tell rain and take no part in training the former.
#
#   bash launch/weights.sh PHOTOGRAPHS
#
# PHOTOGRAPHS: a folder with a MANIFEST.csv, see launch/lists_by_scene.py. Two hours with a
# GPU, more than a day on two CPU cores; the same command goes on where it was stopped.
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
"$python" -m ttl_jax.main --config=configs/shipped.py --workdir=runs/shipped
# Another seed than the teacher's, so that not even the initial values are shared.
"$python" -m ttl_jax.main --config=configs/recog.py --workdir=runs/judge \
  --config.rainy=list:runs/lists/rainy_train.txt \
  --config.clean=list:runs/lists/clean_train.txt \
  --config.eval_rainy=list:runs/lists/rainy_validation.txt \
  --config.eval_clean=list:runs/lists/clean_validation.txt \
  --config.eval_pairs=list:runs/lists/pairs_validation.txt \
  --config.num_eval=0 --config.num_steps=800 --config.seed=7
for run in shipped/tuned:derain judge/recog:recog; do
  "$python" -m ttl_jax.pack "runs/${run%:*}" --overwrite \
    --output "ttl_jax/weights/${run#*:}.safetensors"
done
