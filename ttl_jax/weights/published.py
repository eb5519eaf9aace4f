"""Published weights of other networks: Restormer's and NAFNet's PyTorch checkpoints.

The authors' names are mapped to ours; sizes are read from the shapes. Convolutions of
PyTorch are [out, in, h, w], ours [h, w, in, out].
"""

import functools
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ttl_jax import models
from ttl_jax.weights import flat_params, torch_files

SUFFIXES = (".pth", ".pt", ".ckpt")

Arrays = Mapping[str, np.ndarray]

# Ends of names within a block, theirs to ours.
_RESTORMER_BLOCK = {
    "norm1.body": "norm",
    "attn.temperature": "attention.temperature",
    "attn.qkv": "attention.query_key_value",
    "attn.qkv_dwconv": "attention.depthwise",
    "attn.project_out": "attention.project",
    "norm2.body": "feed_forward_norm",
    "ffn.project_in": "feed_forward.expand",
    "ffn.dwconv": "feed_forward.depthwise",
    "ffn.project_out": "feed_forward.project",
}
_NAF_BLOCK = {
    "norm1": "norm",
    "conv1": "expand",
    "conv2": "depthwise",
    "sca.1": "channel_attention",
    "conv3": "project",
    "beta": "beta",
    "norm2": "feed_forward_norm",
    "conv4": "feed_forward_expand",
    "conv5": "feed_forward_project",
    "gamma": "gamma",
}
# Patterns of whole names, and our names from their numbers. In a block, the group "block"
# is the part within it. No two names may become the same: numbers have no zeros in front,
# and levels are those of the authors' network.
_BLOCK = r"\.(?P<block>[a-z].*)"
_N = "(0|[1-9][0-9]{0,3})"
_RESTORMER = {
    r"patch_embed\.proj": lambda: "encoder/stem",
    rf"encoder_level([1-3])\.{_N}{_BLOCK}": lambda n, i: (
        f"encoder/down_blocks.{n - 1}.{i}"
    ),
    rf"latent\.{_N}{_BLOCK}": lambda i: f"encoder/down_blocks.3.{i}",
    rf"decoder_level([1-3])\.{_N}{_BLOCK}": lambda n, i: (
        f"encoder/up_blocks.{3 - n}.{i}"
    ),
    rf"refinement\.{_N}{_BLOCK}": lambda i: f"encoder/refinement.{i}",
    r"down(?=1_2|2_3|3_4)([1-3])_[2-4]\.body\.0": lambda n: f"encoder/downs.{n - 1}",
    r"up(?=4_3|3_2|2_1)([2-4])_[1-3]\.body\.0": lambda n: f"encoder/ups.{4 - n}",
    r"reduce_chan_level([23])": lambda n: f"encoder/merges.{3 - n}",
    r"output": lambda: "decoder/to_image",
}
_NAFNET = {
    r"intro": lambda: "encoder/stem",
    rf"encoders\.{_N}\.{_N}{_BLOCK}": lambda n, i: f"encoder/down_blocks.{n}.{i}",
    rf"middle_blks\.{_N}{_BLOCK}": lambda i: f"encoder/middle.{i}",
    rf"decoders\.{_N}\.{_N}{_BLOCK}": lambda n, i: f"encoder/up_blocks.{n}.{i}",
    rf"downs\.{_N}": lambda n: f"encoder/downs.{n}",
    rf"ups\.{_N}\.0": lambda n: f"encoder/ups.{n}",
    r"ending": lambda: "decoder/to_image",
}
# Tracing a network takes time and memory with its blocks, and forged names cost nothing.
# NAFNet has at most 28 blocks in a group, and 4 scales; Restormer 8, and 4.
_MAX_BLOCKS = 128
_MAX_SCALES = 8
# Shapes in PyTorch by our names' last part; None is any size.
_SHAPES = {
    "temperature": (None, 1, 1),
    "beta": (1, None, 1, 1),
    "gamma": (1, None, 1, 1),
    "depthwise": (None, 1, None, None),
}
_Patterns = Mapping[str, Callable[..., str]]


def is_published(path: pathlib.Path) -> bool:
    """Returns whether a path is a file of PyTorch, by its suffix."""
    return path.suffix in SUFFIXES and path.is_file()


def read(path: pathlib.Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Returns the params by module, and metadata as `trained.load` returns them.

    Raises:
      ValueError: If the file cannot be read, or its arrays are not those of the network.
    """
    arrays = _strip(path, torch_files.read(path))
    for network, (first, patterns, block, describe) in _NETWORKS.items():
        if first in arrays:
            _check_finite(path, arrays)
            try:
                modules = _rename(arrays, patterns, block)
                described = describe(modules["encoder"])
                _check_complete(modules, described)
            except (KeyError, ValueError, IndexError) as error:
                lack = "it lacks " if isinstance(error, KeyError) else ""
                raise ValueError(
                    f"{path} is of another form than {network}: {lack}{error}"
                ) from error
            return modules, _make_metadata(described)
    raise ValueError(
        f"{path} holds neither Restormer nor NAFNet: it lacks patch_embed.proj.weight "
        f"and intro.weight, and begins with {sorted(arrays)[:3]}."
    )


def _strip(path: pathlib.Path, arrays: Arrays) -> dict[str, np.ndarray]:
    """Returns arrays without the prefix that PyTorch's parallel modules add to names."""
    stripped = {name.removeprefix("module."): array for name, array in arrays.items()}
    if len(stripped) < len(arrays):
        twice = next(name for name in stripped if f"module.{name}" in arrays)
        raise ValueError(
            f"{path} holds both {twice!r} and 'module.{twice}', expected one of them. "
            "Remove the other in PyTorch, and save it again."
        )
    return stripped


def _check_finite(path: pathlib.Path, arrays: Arrays) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(
                f"{path} holds numbers in {name!r} that are not finite in float32. Its "
                "training has diverged, or the file is damaged: use another checkpoint."
            )


def _check_complete(
    modules: Mapping[str, Mapping[str, Any]], described: Mapping[str, Any]
) -> None:
    """Raises ValueError if arrays are missing, too many, or of other shapes."""
    for name, description in described.items():
        sizes = dict(description)
        make = functools.partial(models.FACTORIES[sizes.pop("factory")], **sizes)
        _, wanted = flat_params.split_factory(make)
        if faults := flat_params.describe_differences(modules[name], wanted):
            raise ValueError(f"of the {name}, {faults}")


def _rename(
    arrays: Arrays, patterns: _Patterns, block: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    modules: dict[str, dict[str, Any]] = {"encoder": {}, "decoder": {}}
    for name, array in arrays.items():
        place, leaf = _translate(name, patterns, block)
        module, _, place = place.partition("/")
        _check_shape(name, place, leaf, array)
        parameter, value = _convert(place, leaf, array)
        if parameter in modules[module]:
            raise ValueError(f"{name!r} and another array both stand for {parameter}")
        modules[module][parameter] = value
    return modules


def _translate(name: str, patterns: _Patterns, block: Mapping[str, str]) -> tuple:
    """Returns our name of an array's layer, and "weight", "bias" or "" for its leaf."""
    stem, _, leaf = name.rpartition(".")
    if leaf not in ("weight", "bias"):
        stem, leaf = name, ""
    for pattern, rename in patterns.items():
        if match := re.fullmatch(pattern, stem):
            place = rename(
                *(int(group) for group in match.groups() if group.isdecimal())
            )
            inner = match.groupdict().get("block")
            if inner is None:
                return place, leaf
            if inner in block:
                return f"{place}.{block[inner]}", leaf
    raise ValueError(f"unknown array {name!r}")


def _check_shape(name: str, place: str, leaf: str, array: np.ndarray) -> None:
    """Raises ValueError if an array is not of the form that `_convert` expects."""
    last = place.rpartition(".")[2]
    if leaf == "bias" or last.endswith("norm"):
        wanted = (None,)
    else:
        wanted = _SHAPES.get(last, (None,) * 4)
    if len(wanted) != array.ndim or any(
        size not in (None, found)
        for size, found in zip(wanted, array.shape, strict=True)
    ):
        form = ", ".join("any" if size is None else str(size) for size in wanted)
        raise ValueError(f"{name!r} has the shape {array.shape}, expected ({form})")


def _convert(place: str, leaf: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """Returns an array with our name and our layout."""
    last = place.rpartition(".")[2]
    if not leaf:  # temperature [heads, 1, 1]; beta and gamma [1, C, 1, 1]
        return place, array if last == "temperature" else array.reshape(-1)
    if leaf == "bias":
        return f"{place}.bias", array
    if last.endswith("norm"):
        return f"{place}.scale", array
    kernel = array.transpose(2, 3, 1, 0)
    if last == "depthwise":
        kernel = kernel[:, :, 0]
    elif kernel.shape[:2] == (1, 1):
        kernel = kernel[0, 0]
    return f"{place}.kernel", np.ascontiguousarray(kernel)


def _count(params: Mapping[str, Any], group: str, most: int = _MAX_BLOCKS) -> int:
    """Returns the number of different indices that follow a group in names.

    Raises:
      ValueError: If there are too many.
    """
    numbers = {
        int(name.removeprefix(f"{group}.").split(".")[0])
        for name in params
        if name.startswith(f"{group}.")
    }
    if len(numbers) > most:
        raise ValueError(f"{group} has {len(numbers):,} parts, expected at most {most}")
    return len(numbers)


def _describe_restormer(params: Mapping[str, Any]) -> dict[str, Any]:
    width = params["stem.kernel"].shape[-1]
    scales = [f"down_blocks.{i}" for i in range(_count(params, "down_blocks"))]
    hidden = params["down_blocks.0.0.feed_forward.project.kernel"].shape[0]
    # The authors round down: 2.66 gives 127 channels for 48.
    expansion = 2.66 if int(2.66 * width) == hidden else hidden / width
    encoder = {
        "factory": "make_restormer",
        "width": width,
        "num_blocks": [_count(params, scale) for scale in scales],
        "num_refinement_blocks": _count(params, "refinement"),
        "num_heads": [
            len(params[f"{scale}.0.attention.temperature"]) for scale in scales
        ],
        "expansion": expansion,
    }
    decoder = {"factory": "make_output_decoder", "width": 2 * width, "use_bias": False}
    return {"encoder": encoder, "decoder": decoder}


def _describe_nafnet(params: Mapping[str, Any]) -> dict[str, Any]:
    width = params["stem.kernel"].shape[-1]

    def counts(group):
        scales = range(_count(params, group, _MAX_SCALES))
        return [_count(params, f"{group}.{i}") for i in scales]

    encoder = {
        "factory": "make_nafnet",
        "width": width,
        "down_blocks": counts("down_blocks"),
        "middle_blocks": _count(params, "middle"),
        "up_blocks": counts("up_blocks"),
    }
    return {
        "encoder": encoder,
        "decoder": {"factory": "make_output_decoder", "width": width},
    }


# The first array of each network, its names, and its description from its arrays.
_NETWORKS = {
    "Restormer": (
        "patch_embed.proj.weight", _RESTORMER, _RESTORMER_BLOCK, _describe_restormer
    ),
    "NAFNet": ("intro.weight", _NAFNET, _NAF_BLOCK, _describe_nafnet),
}  # fmt: skip


def _make_metadata(modules: dict[str, Any]) -> dict[str, Any]:
    """Returns metadata of weights that were not trained here, of unknown origin."""
    return {
        "step": 0,
        "config": {"num_steps": 0},
        "modules": modules,
        "origins": {},
        "ema": False,
        "evaluation": {},
        "best": None,
    }
