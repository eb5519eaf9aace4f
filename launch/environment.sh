# The other scripts source this file. It creates the virtual environment .venv once and
# activates it. PYTHON names the interpreter, 3.11 or newer. With DEPENDENCIES=lowest, uv
# installs the lowest versions that pyproject.toml allows; otherwise pip installs the highest.
# If one of these or pyproject.toml changes, all packages are installed again, also
# those of earlier extras.

make_environment() { # make_environment [EXTRA]: installs the project, with this extra
  local python=${PYTHON:-python3} mode=${DEPENDENCIES:-highest} stamp=.venv/installed
  local extras project checksum
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "ttl_jax needs Python 3.11 or newer, but $python is" \
      "$("$python" --version 2>&1). Name another: PYTHON=python3.12 bash $0" >&2
    exit 1
  fi
  checksum=$(cksum < pyproject.toml | cut -d ' ' -f 1)
  # The stamp is: checksum, mode, extras with commas between them.
  extras=$(cut -s -d ' ' -f 3 "$stamp" 2> /dev/null || true)
  if [[ -n ${1:-} && ,$extras, != *,$1,* ]]; then
    extras=${extras:+$extras,}$1
  fi
  project=.${extras:+[$extras]}
  if [ "$(cat "$stamp" 2> /dev/null)" != "$checksum $mode $extras" ]; then
    echo "Installing into .venv (a minute or two) ..."
    # An environment whose creation was interrupted has no pip; create it again.
    if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then
      "$python" -m venv --clear .venv
    fi
    # If this is interrupted, the next call installs again.
    echo "unfinished $mode $extras" > "$stamp"
    if [ "$mode" = lowest ]; then
      .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
      .venv/bin/uv pip install --quiet --python .venv --resolution lowest-direct \
        --upgrade --editable "$project"
    else
      .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --upgrade --upgrade-strategy eager --editable "$project"
    fi
    echo "$checksum $mode $extras" > "$stamp"
  fi
  # shellcheck disable=SC1091
  source .venv/bin/activate
}
