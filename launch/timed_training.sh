#!/usr/bin/env bash
# Trains packed weights further for a number of seconds and packs them again, so that several
# short loans of a machine add up to one training.
#
#   bash launch/timed_training.sh SECONDS PACKED WORKDIR --config=CONFIG [FLAGS]
#   bash launch/timed_training.sh 500 base.safetensors runs/base --config=derain:base \
#     --config.pairs=list:runs/lists/pairs_train.txt --config.schedule=constant
#
# PACKED: a file of weights that remove rain. Without it, training starts from random weights.
# It is replaced once the new weights are complete. It is at most 16 MiB large, so that
# it can be copied between machines. CONFIG is of the stage derain. A loan continues
# with the weights of the last one, without the optimizer's state: use a constant rate,
# and lower it for the last loans. Each loan has a folder of its own in WORKDIR, with
# its log.
#
# Unless FLAGS set them, a loan has as many steps as its time allows, and a seed of its own,
# made from the weights, so that it does not repeat the crops and the rain of the last one.
# With --config.num_pairs, set the seed as well: it draws the pairs.
#
# PYTHON: the interpreter (default: python3). SECONDS includes starting and compiling.
set -euo pipefail
if [[ $# -lt 4 || ! $1 =~ ^[1-9][0-9]*$ || $2 != *.safetensors || $4 != --config=* ]]; then
  echo "usage: bash launch/timed_training.sh SECONDS PACKED.safetensors WORKDIR" \
    "--config=CONFIG [FLAGS]" >&2
  exit 2
fi
seconds=$1 packed=$2 workdir=$3 config=$4
shift 4
python=${PYTHON:-python3}
most=$((16 * 1024 * 1024))

# A folder that cannot be made is reported before the time is spent.
mkdir -p "$(dirname "$packed")"
loan=$workdir/$(date +%Y%m%d-%H%M%S)
defaults=(--config.num_steps=1000000000)
start=(--config.from_student=False)
if [[ -f $packed ]]; then
  defaults+=(--config.seed="$(cksum <"$packed" | cut -d ' ' -f 1)")
  start=(--config.start_from="$(realpath "$packed")")
fi
status=0
timeout --signal=TERM --kill-after=120 "$seconds" "$python" -m ttl_jax.main "$config" \
  "${defaults[@]}" "$@" "${start[@]}" --config.run=loan --workdir="$loan" || status=$?
# 124: the time is over, and the last step was saved. 0: all steps of the config are done.
if [[ $status -ne 0 && $status -ne 124 ]]; then
  echo "timed_training: training ended with status $status; $packed stays as it was." >&2
  exit "$status"
fi
"$python" -m ttl_jax.pack "$loan/loan" --output "$loan/packed.safetensors"
size=$(stat --format=%s "$loan/packed.safetensors")
if ((size > most)); then
  echo "timed_training: $loan/packed.safetensors has $size bytes, more than $most." >&2
  exit 1
fi
cp "$loan/packed.safetensors" "$packed.partial"
mv "$packed.partial" "$packed"
echo "timed_training: $packed holds the weights after this loan."
