#!/usr/bin/env bash
# Trains or restores in N processes on this machine, each with one GPU if there are GPUs.
# The flags of ttl_jax.main follow N, or "derain" and the arguments of ttl_jax.derain. Run
# it in the environment in which ttl_jax is installed:
#
#   bash launch/local.sh 2 --config=configs/recog.py
#   bash launch/local.sh 2 derain photographs --output restored
#
# A single training process also uses all GPUs, so several are useful only to try what a
# cluster will do. A restoring process uses one GPU. Ctrl-C and SIGTERM are passed on to the
# processes, which save their work. The same command resumes.
set -euo pipefail
if ! [[ ${1:-} =~ ^[1-9][0-9]*$ ]]; then
  echo "Give the number of processes: bash launch/local.sh 2 --config=configs/recog.py" >&2
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
# CUDA_VISIBLE_DEVICES="" hides all GPUs: the processes then run on the CPU.
if ((${#gpus[@]} > 0 && num_processes > ${#gpus[@]})); then
  echo "$num_processes processes need as many GPUs; CUDA_VISIBLE_DEVICES names ${#gpus[@]}." >&2
  exit 2
fi
coordinator=()
if [ "$command" = main ]; then # restoring processes do not communicate
  coordinator=("--coordinator=localhost:$(python -c 'import socket
with socket.socket() as listener:
    listener.bind(("localhost", 0))
    print(listener.getsockname()[1])')")
fi

set -m # a process group for each process, so that Ctrl-C reaches it only through the trap
processes=()
for ((i = 0; i < num_processes; i++)); do
  CUDA_VISIBLE_DEVICES=${gpus[i]:-} python -m "ttl_jax.$command" "$@" \
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
    # The other processes would wait for the failed one. The last checkpoint is kept.
    kill -KILL "${processes[@]}" 2> /dev/null || true
  fi
done
exit "$status"
