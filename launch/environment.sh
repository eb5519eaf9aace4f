# Sourced by the other scripts: makes the virtual environment .venv, once, and enters it.
# PYTHON names the interpreter to use, 3.11 or newer. DEPENDENCIES=lowest installs the lowest
# versions that pyproject.toml allows, by uv; otherwise pip installs the highest.

make_environment() { # make_environment [EXTRA]: installs the project, with that extra
  local extra=${1:-} python=${PYTHON:-python3} stamp wanted
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "ttl_jax needs Python 3.11 or newer, and $python is" \
      "$("$python" --version 2>&1). Name another: PYTHON=python3.12 bash $0" >&2
    exit 1
  fi
  stamp=.venv/installed-${extra:-core}-${DEPENDENCIES:-highest}
  wanted=$("$python" -c 'import hashlib, pathlib
print(hashlib.sha256(pathlib.Path("pyproject.toml").read_bytes()).hexdigest())')
  if [ "$(cat "$stamp" 2> /dev/null)" != "$wanted" ]; then
    echo "Installing into .venv (a minute or two) ..."
    # If making the environment was cut short, it has no pip: make it again.
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
