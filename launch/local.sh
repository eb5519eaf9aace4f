#!/usr/bin/env bash
# Trains or restores in N processes on this machine, each with one GPU where there are
# GPUs. What follows N are the flags of ttl_jax.main, or "derain" and the arguments of
# ttl_jax.derain, in whose environment this is to be run:
#
#   bash launch/local.sh 2 --config=configs/recog.py
#   bash launch/local.sh 2 derain photographs --output restored
#
# (To train, one process alone uses all GPUs as well: this is for trying what a cluster
# will do. To restore, it uses one.) Ctrl-C and SIGTERM are passed on: what is done is
# saved, and the same command goes on.
set -euo pipefail
if ! [[ ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  echo "Say how many processes: bash launch/local.sh 2 --config=configs/recog.py" >&2
  exit 2
fi
num_processes=$1
shift
command=main
if [[ ${1:-} == derain ]]; then
  command=derain
  shift
else
  cd "$(dirname "$0")/.."
fi

IFS=, read -ra gpus <<< "${CUDA_VISIBLE_DEVICES-$(seq -s , 0 $((num_processes - 1)))}"
if ((num_processes > ${#gpus[@]})); then
  echo "$num_processes processes need as many GPUs; CUDA_VISIBLE_DEVICES names ${#gpus[@]}." >&2
  exit 2
fi
coordinator=()
if [ "$command" = main ]; then # those that restore do not speak to each other
  coordinator=("--coordinator=localhost:$(python -c 'import socket
with socket.socket() as listener:
    listener.bind(("localhost", 0))
    print(listener.getsockname()[1])')")
fi

set -m # each process in a group of its own: a Ctrl-C reaches it through the trap alone
processes=()
for ((i = 0; i < num_processes; i++)); do
  CUDA_VISIBLE_DEVICES=${gpus[i]} python -m "ttl_jax.$command" "$@" \
    "${coordinator[@]}" --num_processes="$num_processes" --process_id="$i" &
  processes+=($!)
done
trap 'kill -INT "${processes[@]}" 2> /dev/null || true' INT
trap 'kill -TERM "${processes[@]}" 2> /dev/null || true' TERM

status=0
for ((running = num_processes; running > 0; )); do
  result=0
  wait -n -p ended || result=$?
  if [ -z "${ended:-}" ] && ((result > 128)); then # a signal, which the trap passed on
    continue
  fi
  running=$((running - 1))
  if ((status == 0)); then
    status=$result
  fi
  if [ "$command" = main ] && ((result != 0 && result != 130 && result != 143)); then
    # The others wait for one that is gone. Whatever they are at, the last checkpoint stays.
    kill -KILL "${processes[@]}" 2> /dev/null || true
  fi
done
exit "$status"
