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
# is the part within it.
_BLOCK = r"\.(?P<block>.+)"
_RESTORMER = {
    r"patch_embed\.proj": lambda: "encoder/stem",
    r"encoder_level(\d)\.(\d+)" + _BLOCK: lambda n, i: (
        f"encoder/down_blocks.{n - 1}.{i}"
    ),
    r"latent\.(\d+)" + _BLOCK: lambda i: f"encoder/down_blocks.3.{i}",
    r"decoder_level(\d)\.(\d+)" + _BLOCK: lambda n, i: f"encoder/up_blocks.{3 - n}.{i}",
    r"refinement\.(\d+)" + _BLOCK: lambda i: f"encoder/refinement.{i}",
    r"down(\d)_\d\.body\.0": lambda n: f"encoder/downs.{n - 1}",
    r"up(\d)_\d\.body\.0": lambda n: f"encoder/ups.{4 - n}",
    r"reduce_chan_level(\d)": lambda n: f"encoder/merges.{3 - n}",
    r"output": lambda: "decoder/to_image",
}
_NAFNET = {
    r"intro": lambda: "encoder/stem",
    r"encoders\.(\d+)\.(\d+)" + _BLOCK: lambda n, i: f"encoder/down_blocks.{n}.{i}",
    r"middle_blks\.(\d+)" + _BLOCK: lambda i: f"encoder/middle.{i}",
    r"decoders\.(\d+)\.(\d+)" + _BLOCK: lambda n, i: f"encoder/up_blocks.{n}.{i}",
    r"downs\.(\d+)": lambda n: f"encoder/downs.{n}",
    r"ups\.(\d+)\.0": lambda n: f"encoder/ups.{n}",
    r"ending": lambda: "decoder/to_image",
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
    arrays = torch_files.read(path)
    arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    for network, (first, patterns, block, describe) in _NETWORKS.items():
        if first in arrays:
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
        parameter, value = _convert(place, leaf, array)
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


def _count(params: Mapping[str, Any], group: str) -> int:
    """Returns the number of different indices that follow a group in names."""
    numbers = {
        int(name.removeprefix(f"{group}.").split(".")[0])
        for name in params
        if name.startswith(f"{group}.")
    }
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
        return [_count(params, f"{group}.{i}") for i in range(_count(params, group))]

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
