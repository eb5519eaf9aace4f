#!/usr/bin/env bash
# Trains the shipped weights in ttl_jax/weights: derain.safetensors, which remove rain,
# and recog.safetensors, which score rain. The latter take no part in training the
# former.
#
#   bash launch/weights.sh PHOTOGRAPHS WORKDIR
#
# PHOTOGRAPHS is a folder with a MANIFEST.csv; see launch/lists_by_scene.py. WORKDIR receives
# the runs and the packed weights. Take a GPU: two CPU cores need more than a day. After an
# interruption, the same command resumes. Training sums over the whole crop; local sums are
# added when the weights are packed. The shipped weights were trained on the lists of an
# earlier collection of photographs (ttl_jax/weights/MODEL_CARD.md).
set -euo pipefail
if [[ $# -ne 2 || ! -f "$1/MANIFEST.csv" ]]; then
  echo "usage: bash launch/weights.sh PHOTOGRAPHS WORKDIR; PHOTOGRAPHS has a MANIFEST.csv" >&2
  exit 2
fi
photographs=$(realpath "$1")
mkdir -p "$2"
workdir=$(realpath "$2")
cd "$(dirname "$0")/.."
python=python
[[ -x .venv/bin/python ]] && python=.venv/bin/python

"$python" launch/lists_by_scene.py "$photographs" --output runs/lists
"$python" -m ttl_jax.main --config=configs/shipped.py --workdir="$workdir" \
  --config.encoder.attention_cell=0
"$python" -m ttl_jax.main --config=configs/recog.py --workdir="$workdir/judge" \
  --config.encoder.attention_cell=0 --config.num_eval=0 --config.num_steps=800 \
  --config.seed=7 --config.rainy=list:runs/lists/rainy_train.txt \
  --config.clean=list:runs/lists/clean_train.txt
"$python" -m ttl_jax.pack "$workdir/tuned" --overwrite --output "$workdir/derain_0.1.safetensors"
"$python" -m ttl_jax.pack "$workdir/tuned" --sums 64,2 --overwrite \
  --output "$workdir/derain.safetensors"
"$python" -m ttl_jax.pack "$workdir/judge/recog" --overwrite \
  --output "$workdir/recog.safetensors"
