"""Builds the wheel `ttl_jax_lite`: `derain` without JAX.

Example:

  python launch/build_lite.py --output dist
  pip install dist/ttl_jax_lite-*.whl
  ttl-jax-lite holiday.jpg holiday_dry.jpg

The wheel holds `ttl_jax.derain`, `ttl_jax.lite` with the packed weights, and all files that
these import, under the name `ttl_jax_lite`: it can be installed beside ttl_jax. A file that
imports another package than those of PACKAGES is an error.
"""

import argparse
import ast
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAME = "ttl_jax_lite"
# Modules that start the closure, and modules that only the engine JAX imports.
FIRST = ("ttl_jax.derain", "ttl_jax.lite")
LEFT_OUT = (
    "ttl_jax.compilation_cache",
    "ttl_jax.inference.recognizer",
    "ttl_jax.inference.restorer",
)
# Packages that files may import, by the extra that brings them ("" for always).
PACKAGES = {
    "numpy": "", "onnxruntime": "", "PIL": "", "tqdm": "",
    "pillow_heif": "heif", "av": "video", "cv2": "video",
}  # fmt: skip
DATA = (
    "lite/derain.onnx", "inference/slider.css", "inference/slider.js",
)  # fmt: skip

PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "{version}"
description = "Removes rain from photographs, without JAX."
readme = "README.md"
license = "{license}"
license-files = ["LICENSE"]
requires-python = "{python}"
dependencies = {dependencies}

[project.optional-dependencies]
heif = {heif}
video = {video}

[project.scripts]
ttl-jax-lite = "{name}.derain:run"

[tool.setuptools.package-data]
"*" = ["*.onnx", "*.css", "*.js"]
"""


def find_modules() -> set[str]:
    """Returns the names of all modules that belong to the wheel.

    Raises:
      ValueError: If one of them imports a package that the wheel does not have.
    """
    found: set[str] = set()
    remaining: list[str] = [*FIRST]
    while remaining:
        name = remaining.pop()
        if name in found or name in LEFT_OUT:
            continue
        found.add(name)
        for imported in _imports_of(name):
            top = imported.split(".")[0]
            if top == "ttl_jax":
                remaining += [imported] if "." in imported else []
            elif top not in PACKAGES and top not in sys.stdlib_module_names:
                raise ValueError(f"{name} imports {imported}, which lite does not have")
    return found


def write_source(folder: pathlib.Path) -> None:
    """Writes the source of the wheel, with its pyproject.toml, to an empty folder."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name in find_modules():
        file = _file_of(name)
        target = _target(file.relative_to(ROOT / "ttl_jax"), folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_rename(file.read_text()))
    for parent in (folder / NAME).rglob("*/"):
        (parent / "__init__.py").touch()
    with open(folder / NAME / "__init__.py", "a") as init:
        init.write(f'\n__version__ = "{project["version"]}"\n')
    for name in DATA:
        shutil.copy(ROOT / "ttl_jax" / name, _target(pathlib.Path(name), folder))
    shutil.copy(ROOT / "LICENSE", folder)
    (folder / "README.md").write_text((ROOT / "ttl_jax/lite/README.md").read_text())
    extras = project["optional-dependencies"]
    bounds = [*project["dependencies"], *extras["export"]]
    wanted = [name for name, extra in PACKAGES.items() if not extra]
    wanted = ["pillow" if name == "PIL" else name for name in wanted]
    (folder / "pyproject.toml").write_text(
        PROJECT.format(
            name=NAME,
            version=project["version"],
            license=project["license"],
            python=project["requires-python"],
            dependencies=[
                bound for bound in bounds if re.split(r"[^\w-]", bound)[0] in wanted
            ],
            heif=extras["heif"],
            video=extras["video"],
        )
    )


def _file_of(module: str) -> pathlib.Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _is_module(name: str) -> bool:
    return _file_of(name).is_file()


def _imports_of(module: str) -> Iterator[str]:
    """Names of the modules that a module imports, anywhere in its file."""
    for node in ast.walk(ast.parse(_file_of(module).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_module = name.startswith("ttl_jax.") and _is_module(name)
                yield name if is_module else node.module


def _target(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Place of a file of ttl_jax: those of `lite` become the top of the package."""
    parts = path.parts[1:] if path.parts[0] == "lite" else path.parts
    return folder.joinpath(NAME, *parts)


def _rename(source: str) -> str:
    """Source with the names of the other package; names of hidden files stay."""
    source = re.sub(r"\bttl_jax\.lite\b", NAME, source)
    return re.sub(r"(?<![.\w])ttl_jax\b", NAME, source)


def main() -> int:
    """Builds the wheel; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    text = "folder for the wheel (default: %(default)s)"
    parser.add_argument("--output", default="dist", metavar="DIR", help=text)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_source(pathlib.Path(folder))
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        wheel = [*pip, "wheel", "--no-deps", "-w", args.output, folder]
        return subprocess.run(wheel, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
