"""Restormer (Zamir et al., CVPR 2022), trained only on the pairs, like V2.

    python -m ttl_jax.main --config=configs/restormer.py:small \\
        --config.pairs=folder:/photos/pairs

A network for comparison in Table 1, with the same loss, batches and number of updates as
`scratch`. The presets have about as many multiply-adds as ours; `paper` is the
published size. configs/README.md, "Networks to compare with", lists the sizes.
Note: the learning rate is that of Zamir et al.; it was not tuned for these presets.

Paper: Table 1 names Restormer among the methods compared with.
Expect: configs/README.md, "Networks to compare with".
Time: at equal multiply-adds about three times that of `scratch`.
"""

from ml_collections import ConfigDict

from configs import scratch
from ttl_jax.presets import DEFAULT_PRESET

_FIELDS = ("width", "num_blocks", "num_refinement_blocks", "num_heads")
SIZES = {
    "smoke": (4, (1, 1), 1, (1, 2)),
    "tiny": (12, (1, 1, 2, 2), 1, (1, 2, 2, 4)),
    "small": (16, (1, 2, 2, 4), 1, (1, 1, 2, 4)),
    "base": (24, (2, 3, 3, 4), 2, (1, 2, 4, 8)),
    "paper": (48, (4, 6, 6, 8), 4, (1, 2, 4, 8)),
}


def get_config(preset=None):
    config = scratch.get_config(preset)
    config.run = "restormer"
    config.architecture = "restormer"
    sizes = dict(zip(_FIELDS, SIZES[preset or DEFAULT_PRESET]))
    config.encoder = ConfigDict({**sizes, "expansion": 2.66})
    config.learning_rate = 3e-4
    return config
