# The other scripts source this file. It creates the virtual environment .venv once and
# activates it. PYTHON names the interpreter, 3.11 or newer. With DEPENDENCIES=lowest, uv
# installs the lowest versions that pyproject.toml allows; otherwise pip installs the highest.

make_environment() { # make_environment [EXTRA]: installs the project, with this extra
  local extra=${1:-} python=${PYTHON:-python3} stamp wanted
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "ttl_jax needs Python 3.11 or newer, but $python is" \
      "$("$python" --version 2>&1). Name another: PYTHON=python3.12 bash $0" >&2
    exit 1
  fi
  stamp=.venv/installed-${extra:-core}-${DEPENDENCIES:-highest}
  wanted=$("$python" -c 'import hashlib, pathlib
print(hashlib.sha256(pathlib.Path("pyproject.toml").read_bytes()).hexdigest())')
  if [ "$(cat "$stamp" 2> /dev/null)" != "$wanted" ]; then
    echo "Installing into .venv (a minute or two) ..."
    # An environment whose creation was interrupted has no pip; create it again.
    if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then
      "$python" -m venv --clear .venv
    fi
    if [ "${DEPENDENCIES:-highest}" = lowest ]; then
      .venv/bin/python -m pip install --quiet --disable-pip-version-check uv
      .venv/bin/uv pip install --quiet --python .venv --resolution lowest-direct \
        --editable ".${extra:+[$extra]}"
    else
      .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --editable ".${extra:+[$extra]}"
    fi
    echo "$wanted" > "$stamp"
  fi
  # shellcheck disable=SC1091
  source .venv/bin/activate
}
