"""The Python API: names, argument order, docstrings, and imports."""

import ast
import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import ttl_jax

PACKAGE = pathlib.Path(ttl_jax.__file__).parent

SIGNATURES = {
    "load": ["checkpoint"],
    "load_encoder": ["checkpoint"],
    "config": ["name", "fields"],
    "train": ["config", "workdir"],
    "score": ["methods", "data", "options"],
    "data.open_pairs": ["sources"],
    "data.open_photographs": ["sources", "role"],
    "metrics.psnr": ["restored", "target", "protocol"],
    "metrics.ssim": ["restored", "target", "protocol"],
    "metrics.niqe": ["image"],
    "models.AGLFEncoder.from_preset": ["name", "rngs"],
    "models.ImageDecoder.from_preset": ["name", "rngs"],
}


def find(name):
    found = ttl_jax
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_have_their_names_and_their_order(name):
    parameters = inspect.signature(find(name)).parameters
    assert list(parameters)[: len(SIGNATURES[name])] == SIGNATURES[name]


def public_definitions():
    """Yields the name and docstring of every public top-level function and class."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
                name = f"{path.relative_to(PACKAGE).as_posix()}:{node.name}"
                yield name, ast.get_docstring(node)


def test_public_definitions_have_docstrings():
    for name, text in public_definitions():
        assert text, name
        # In sentences with these first words, the description comes before the noun.
        assert not re.search(r"(^|\. )(Of|As of|Those of) ", text), name


def test_the_import_starts_neither_jax_nor_pandas():
    code = (
        "import sys, ttl_jax; ttl_jax.data; ttl_jax.config('derain:tiny'); "
        "print({'jax', 'pandas'} & sys.modules.keys())"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"


def test_score_without_images_names_its_own_arguments():
    for options in ({}, {"results": [("one", "folder")], "target": "folder"}):
        with pytest.raises(ValueError, match=r"by data=.*rainy=.* give methods=\(\)"):
            ttl_jax.score("shipped", **options)


def test_score_refuses_arguments_that_it_would_ignore():
    for options, fault in (
        (
            {"results": [("one", "folder")], "target": "folder"},
            "data has its own sides",
        ),
        ({"num_sheets": 2}, "num_sheets=2 needs output"),
    ):
        with pytest.raises(ValueError, match=fault):
            ttl_jax.score("shipped", "sample/test", **options)


def test_a_network_for_onnxruntime_is_loaded_elsewhere():
    with pytest.raises(ValueError, match=r"net.onnx is for .* ttl_jax.lite.load"):
        ttl_jax.load(pathlib.Path("net.onnx"))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        ttl_jax.laod  # noqa: B018
