"""Finds the file of a config by its name, and loads it.

A name is a path to a Python file, or the stem of one of the project's own config files;
a preset may follow a colon: `configs/derain.py:small`, `derain:small`, `derain`.

The project's own files are in the checkout that contains the current folder or, outside a
checkout, in the installed package. Config files import each other from the package
`configs`. This package is the folder of the loaded file if that folder has a `common.py`,
and the project's own folder otherwise. A `configs/` of another project has no effect,
nor has the way in which Python was started.
"""

import importlib.machinery
import importlib.util
import pathlib
import runpy
import sys
import tomllib
from collections.abc import Mapping
from typing import Any

from ttl_jax import suggestions, user_paths

_PACKAGE = "configs"
_HERE = pathlib.Path(__file__).resolve().parent


def load(name: str, fields: Mapping[str, Any] | None = None) -> Any:
    """Returns the `ConfigDict` of a config file.

    Args:
      name: See the module's docstring.
      fields: Values to set. A mapping sets fields within a field.

    Raises:
      ValueError: If there is no such file, preset or field, or a value has the wrong type.
    """
    path, preset = find(name)
    config = runpy.run_path(str(path))["get_config"](preset)
    _set_fields(config, fields or {})
    return config


def find(name: str) -> tuple[pathlib.Path, str | None]:
    """Returns the file and the preset of a config name, and binds `configs` for it.

    Args:
      name: See the module's docstring.

    Raises:
      ValueError: If there is no such file.
    """
    text, _, preset = name.partition(":")
    own = _own_folder()
    named = user_paths.expand(text)
    own_file = own / named.with_suffix(".py").name
    is_own_name = str(named.parent) in (".", _PACKAGE)
    if named.suffix == ".py" and named.is_file():
        path = named.resolve()
    elif is_own_name and own_file.is_file():
        path = own_file
    else:
        known = sorted(file.stem for file in own.glob("*.py") if file.stem != "common")
        raise ValueError(
            f"There is no config file {text!r}; name a Python file or one of "
            f"{suggestions.known_and_hint(named.stem, known)}"
        )
    _bind(path.parent if (path.parent / "common.py").is_file() else own)
    return path, preset or None


def resolve_flag(arguments: list[str]) -> list[str]:
    """Returns command-line arguments in which --config names an absolute path.

    Raises:
      ValueError: If there is no such file.
    """
    resolved = list(arguments)
    for i, argument in enumerate(arguments):
        flag, equals, value = argument.lstrip("-").partition("=")
        if flag != "config" or not argument.startswith("-"):
            continue
        place = i if equals else i + 1
        if place == len(arguments):  # absl reports the missing value
            continue
        path, preset = find(value if equals else arguments[place])
        found = f"{path}:{preset}" if preset else str(path)
        resolved[place] = f"--config={found}" if equals else found
    return resolved


def explain_unknown_field(arguments: list[str]) -> str | None:
    """Returns what is wrong with the first --config.FIELD that the config does not have.

    Args:
      arguments: Command line, as `resolve_flag` returns it.

    Returns:
      A sentence, or None if the config has all fields.
    """
    config = None
    for i, argument in enumerate(arguments):
        flag, equals, value = argument.lstrip("-").partition("=")
        field = flag.removeprefix("config.").partition("[")[0]  # rainy[0] is an element
        if flag == "config":
            config = load(value if equals else arguments[i + 1])
        elif flag != field and config is not None and field not in _names(config):
            return _explain_missing(config, field, "--config")
    return None


def _set_fields(config, fields: Mapping[str, Any], parent: str = "") -> None:
    """Sets fields of the config's field `parent`, a dotted name, or of the config."""
    for name, value in fields.items():
        field = f"{parent}.{name}".lstrip(".")
        if field not in _names(config):
            raise ValueError(_explain_missing(config, field, "config"))
        if isinstance(value, Mapping):
            _set_fields(config, value, field)
            continue
        holder = config[parent] if parent else config
        if isinstance(holder[name], tuple) and isinstance(value, str | list):
            value = (value,) if isinstance(value, str) else tuple(value)
        try:
            holder[name] = value
        except TypeError as error:
            raise ValueError(f"config.{field}={value!r}: {error}") from error


def _names(config) -> list[str]:
    """Dotted names of all fields, at every depth."""
    names = []
    for name, value in config.items():
        names.append(name)
        if hasattr(value, "items"):  # a ConfigDict is no Mapping
            names += [f"{name}.{inner}" for inner in _names(value)]
    return names


def _explain_missing(config, field: str, prefix: str) -> str:
    """Returns a message about an unknown field, with the fields that may be meant.

    The last part of the name is matched first, since the field may be in another place,
    such as a stage.
    """
    known = [name.rpartition(".")[::2] for name in _names(config)]
    parent, _, own = field.rpartition(".")
    own = suggestions.nearest(own, [name for _, name in known])
    parents = [place for place, name in known if name == own]
    near = suggestions.nearest(parent, parents)
    meant = [
        ".".join(filter(None, (prefix, place, own)))
        for place in (parents if near is None else [near])
    ]
    hint = f"; did you mean {', '.join(meant)}?" if meant else "."
    return f"There is no field {prefix}.{field}{hint}"


def _own_folder() -> pathlib.Path:
    """Returns the folder of the checkout's config files, or of the installed ones."""
    current = pathlib.Path.cwd()
    for folder in (current, *current.parents):
        if _is_checkout(folder):
            return folder / _PACKAGE
    installed = _HERE / _PACKAGE
    return installed if installed.is_dir() else _HERE.parent / _PACKAGE


def _is_checkout(folder: pathlib.Path) -> bool:
    if not (folder / _PACKAGE / "common.py").is_file():
        return False
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return project.get("project", {}).get("name") == "ttl_jax"


def _bind(folder: pathlib.Path) -> None:
    """Makes `import configs` import from a folder, independent of `sys.path`."""
    bound = sys.modules.get(_PACKAGE)
    if bound is not None and list(getattr(bound, "__path__", [])) == [str(folder)]:
        return
    for name in list(sys.modules):
        if name == _PACKAGE or name.startswith(f"{_PACKAGE}."):
            del sys.modules[name]
    spec = importlib.machinery.ModuleSpec(_PACKAGE, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
