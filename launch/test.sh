#!/usr/bin/env bash
# Creates the environment and runs the tests:
#
#   bash launch/test.sh             the fast ones
#   bash launch/test.sh --slow      the slow ones too
#   bash launch/test.sh ARGUMENTS   passed on to pytest
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
make_environment test

select=(-m "not slow")
if [ "${1:-}" = --slow ]; then
  select=()
  shift
fi
ruff check .
ruff format --check .
pyright
# Two processes, since most of the time is compilation, which uses one thread.
python -m pytest -n 2 --dist loadfile "${select[@]}" "$@"
