#!/usr/bin/env bash
# Measures one GPU within a number of seconds, for short loans of a machine.
#
#   bash launch/gpu_benchmark.sh SECONDS OUTPUT [--smoke]
#   bash launch/gpu_benchmark.sh 540 runs/gpu
#
# Each measurement is a process with a limit of its own; one that fails is recorded and the next
# one starts. The order is by importance:
#
# 1. updates in float32 and bfloat16, with the share of the memory-bound floor;
# 2. updates fed by the input pipeline, relative to those with a batch on the device
#    (goal: 1.05);
# 3. megapixels per second when restoring, by the number of windows in a batch;
# 4. the operations that take the most time in updates;
# 5. updates with larger and larger batches, until one fails.
#
# OUTPUT/results.csv gets the rows of each measurement when it ends, one number a line:
# measurement, table, row, column, value. The row of the table `run` has the exit status (124:
# out of time) and the seconds. OUTPUT/NAME.log has what a measurement printed. OUTPUT must be
# empty or missing, so that no results of an earlier run are among these.
#
# --smoke: tiny sizes, also for a CPU. PYTHON: the interpreter (default: python3). The exit
# status is 1 if all measurements fail.
set -uo pipefail
if [[ $# -lt 2 || $# -gt 3 || ! $1 =~ ^[1-9][0-9]*$ || ${3:---smoke} != --smoke ]]; then
  echo "usage: bash launch/gpu_benchmark.sh SECONDS OUTPUT [--smoke]" >&2
  exit 2
fi
deadline=$((SECONDS + $1)) smoke=${3:-} succeeded=0
python=${PYTHON:-python3}
mkdir -p "$2" || exit 1
output=$(realpath "$2")
if [[ $(ls -A "$output") ]]; then
  echo "gpu_benchmark: $output has files of an earlier run; name another folder." >&2
  exit 1
fi
cd "$(dirname "$0")/.." || exit 1
if ! command -v "$python" >/dev/null; then
  echo "gpu_benchmark: there is no interpreter $python; name one: PYTHON=python3.12" >&2
  exit 1
fi

# A package that is missing is reported before the time is spent.
modules="configs.scratch, ttl_jax.benchmarks.input, ttl_jax.benchmarks.restore"
if ! fault=$("$python" -c "import $modules" 2>&1); then
  echo "gpu_benchmark: $python cannot run the benchmarks: ${fault##*$'\n'}" >&2
  echo "Install what is missing: ttl_jax/benchmarks/NOTES.md, section Measuring a GPU." >&2
  exit 1
fi

# measure NAME LIMIT ARGUMENTS...: runs one benchmark and appends its results.
measure() {
  local name=$1 limit=$2 start=$SECONDS status=0
  local left=$((deadline - SECONDS))
  shift 2
  if ((left < 1)); then
    echo "gpu_benchmark: no time left for $name." >&2
    return 1
  fi
  timeout --kill-after=10 $((limit < left ? limit : left)) \
    "$python" -m ttl_jax.benchmark "$@" --output "$output/$name" \
    >"$output/$name.log" 2>&1 || status=$?
  "$python" - "$output" "$name" "$status" "$((SECONDS - start))" <<'PYTHON'
import csv, json, pathlib, sys

output, name, status, seconds = pathlib.Path(sys.argv[1]), *sys.argv[2:]
tables = {"run": [{"exit_status": status, "seconds": seconds}]}
for path in (output / name).glob("*.json"):
    tables |= json.loads(path.read_text())
results = output / "results.csv"
with results.open("a", newline="") as file:
    lines = csv.writer(file)
    if not file.tell():
        lines.writerow(["measurement", "table", "row", "column", "value"])
    for table, rows in tables.items():
        for i, row in enumerate(rows):
            lines.writerows([name, table, i, *item] for item in row.items())
PYTHON
  echo "gpu_benchmark: $name ended with status $status after $((SECONDS - start)) s." >&2
  ((status)) || succeeded=$((succeeded + 1))
  return "$status"
}

both="float32 bfloat16"
if [[ $smoke ]]; then
  presets=smoke whole= crop=16 batch=4 sides=64 sizes="1 2" batches=8 limit=600
  loading="--threads 1 --seconds 0.1" rounds=1
else
  presets="small base" whole=paper crop=128 batch=16 sides="512 2048" limit=150
  sizes="1 2 4 8 16" batches="32 64 128 256 512"
  loading="--threads 16 --seconds 0.5" rounds=5
fi
first=${presets%% *}
shape="--crop_size $crop --rounds $rounds"

# Lists are divided into words.
# shellcheck disable=SC2086
{
  for preset in $presets $whole; do
    measure "step-$preset" $limit step --presets "$preset" --stages derain \
      --dtypes $both --batch_size $batch $shape
  done
  for dtype in $both; do
    measure "input-$dtype" $limit input --preset "$first" --dtype "$dtype" \
      --batch_size $batch $loading $shape
  done
  measure restore $limit restore --presets $presets --sides $sides --batch_sizes $sizes \
    --rounds $rounds
  measure profile $limit step --presets "$first" --stages derain --dtypes bfloat16 \
    --batch_size $((4 * batch)) --profile "$output/trace" $shape
  for dtype in bfloat16 float32; do
    for preset in $presets; do
      for size in $batches; do
        measure "batch-$preset-$dtype-$size" $limit step --presets "$preset" \
          --stages derain --dtypes "$dtype" --batch_size "$size" $shape || break
      done
    done
  done
}
if ((!succeeded)); then
  echo "gpu_benchmark: all measurements failed; see the logs in $output." >&2
  exit 1
fi
echo "gpu_benchmark: results are in $output/results.csv"
