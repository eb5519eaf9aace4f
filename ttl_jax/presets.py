"""Presets of the networks: tiny, small, base, paper, and smoke for tests.

`PRESETS[name]["encoder"]` has all arguments of `ttl_jax.models.AGLFEncoder`, and
`PRESETS[name]["decoder"]` has those of `ttl_jax.models.ImageDecoder` that do not follow
from the encoder. `paper` follows the paper, `smoke` is for tests, and the others are
networks for use, by size. configs/README.md, "Presets and sizes of networks", lists their sizes.

This module imports nothing, so that configs start quickly.
"""

DEFAULT_PRESET = "small"

_ENCODER = {
    "num_blocks": 9,
    "stem_stride": 2,
    "final_norm": True,
    "spatial_attention_kernel": 7,
    "global_branch": "channel",  # channel, window or dense
    "head_width": 16,  # channels
    # Channel attention sums over a box of (2 radius + 1)^2 cells.
    "attention_cell": 64,  # pixels of the image; 0: over the whole image
    "attention_radius": 2,  # cells
    "window": 8,  # pixels
    "dense_pool": 4,  # pixels
    "local_kernel": 7,
    "local_expansion": 2,
    "feed_forward_ratio": 2,
    "per_channel_scale": False,  # alpha and beta per channel
    "alpha_init": 1.0,
    "beta_init": 1.0,
    "remat": False,  # recompute blocks in the backward pass, which saves memory
}

_DECODER = {
    "pools": (32, 16, 8, 4),  # pixels
    "pool_width": 1,  # channels
    "skip_width": 16,  # channels; 0: no skip connection
    "residual": True,
    "local_kernel": 7,
    "local_expansion": 2,
}


def _preset(encoder: dict, decoder: dict | None = None) -> dict[str, dict]:
    return {"encoder": _ENCODER | encoder, "decoder": _DECODER | (decoder or {})}


PRESETS = {
    "smoke": _preset(  # for tests only; small kernels compile quickly
        {
            "width": 16,
            "num_blocks": 1,
            "spatial_attention_kernel": 3,
            "local_kernel": 3,
        },
        {"pools": (4, 2), "local_kernel": 3},
    ),
    "tiny": _preset({"width": 32}),
    "small": _preset({"width": 48}),
    "base": _preset({"width": 96}),
    "paper": _preset(
        {
            "width": 48,
            "stem_stride": 1,
            "final_norm": False,
            "attention_cell": 0,
            "remat": True,  # 5.7 GB of activations per crop without it
        },
        {"skip_width": 0, "residual": False},
    ),
}
