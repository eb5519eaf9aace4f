#!/usr/bin/env bash
# Tests the web pages in a real browser, at the sizes of a desktop and of a phone. Installs what
# is missing: Playwright and axe-core's rules of accessibility into .venv, and Chromium from
# the system's packages (Debian and Ubuntu, as root). Pictures of the pages are left in
# runs/screenshots.
#
#   bash launch/browser_test.sh            all tests
#   bash launch/browser_test.sh -k study   passed on to pytest
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
make_environment test
python -m pip install --quiet --disable-pip-version-check \
  "playwright>=1.58" "axe-playwright-python>=0.1.7"
if ! command -v chromium > /dev/null && ! command -v chromium-browser > /dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "Install Chromium by the system's package manager, then start this again." >&2
    exit 1
  fi
  apt-get update -qq
  apt-get install -qq -y chromium
fi

export TTL_SCREENSHOTS=$PWD/runs/screenshots
mkdir -p "$TTL_SCREENSHOTS"
python -m pytest tests/web/browser_test.py "$@"
echo "Pictures of the pages: $TTL_SCREENSHOTS"
