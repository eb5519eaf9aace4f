#!/usr/bin/env bash
# Trains in N processes on this machine, each with one GPU where there are GPUs. (One
# process alone uses all GPUs as well: this is for trying what a cluster will do.) What
# follows N are the flags of ttl_jax.main, in whose environment this is to be run:
#
#   bash launch/local.sh 2 --config=configs/recog.py
#
# Ctrl-C and SIGTERM are passed on: the run is saved, and the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! [[ ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  echo "Say how many processes: bash launch/local.sh 2 --config=configs/recog.py" >&2
  exit 2
fi
num_processes=$1
shift

IFS=, read -ra gpus <<< "${CUDA_VISIBLE_DEVICES-$(seq -s , 0 $((num_processes - 1)))}"
if ((num_processes > ${#gpus[@]})); then
  echo "$num_processes processes need as many GPUs; CUDA_VISIBLE_DEVICES names ${#gpus[@]}." >&2
  exit 2
fi
port=$(python -c 'import socket
with socket.socket() as listener:
    listener.bind(("localhost", 0))
    print(listener.getsockname()[1])')

set -m # each process in a group of its own: a Ctrl-C reaches it through the trap alone
processes=()
for ((i = 0; i < num_processes; i++)); do
  CUDA_VISIBLE_DEVICES=${gpus[i]} python -m ttl_jax.main "$@" \
    --coordinator="localhost:$port" --num_processes="$num_processes" --process_id="$i" &
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
  if ((result != 0 && result != 130 && result != 143)); then
    # The others wait for one that is gone. Whatever they are at, the last checkpoint stays.
    kill -KILL "${processes[@]}" 2> /dev/null || true
  fi
done
exit "$status"
