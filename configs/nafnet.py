"""NAFNet (Chen et al., ECCV 2022), trained only on the pairs, like V2.

    python -m ttl_jax.main --config=configs/nafnet.py:small \\
        --config.pairs=folder:/photos/pairs

A network to compare with, like `restormer`. The presets have about as many
multiply-adds as ours; `paper` is the published size with width 32.
Note: the learning rate is that of `scratch`, 1e-3, which Chen et al. use too; it was not
tuned for these presets.

Paper: not among its methods.
Expect: configs/README.md, "Networks to compare with".
Time: about that of `scratch`.
"""

from ml_collections import ConfigDict

from configs import scratch
from ttl_jax.presets import DEFAULT_PRESET

_FIELDS = ("width", "down_blocks", "middle_blocks", "up_blocks")
_BLOCKS = ((2, 2, 4, 8), 12, (2, 2, 2, 2))
SIZES = {
    "smoke": (4, (1, 1), 1, (1, 1)),
    "tiny": (14, *_BLOCKS),
    "small": (20, *_BLOCKS),
    "base": (38, *_BLOCKS),
    "paper": (32, *_BLOCKS),
}


def get_config(preset=None):
    config = scratch.get_config(preset)
    config.run = "nafnet"
    config.architecture = "nafnet"
    config.encoder = ConfigDict(dict(zip(_FIELDS, SIZES[preset or DEFAULT_PRESET])))
    return config
