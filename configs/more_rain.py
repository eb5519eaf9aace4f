"""Trains the shipped weights further, with the kinds of rain that published pairs lack.

    python launch/lists_by_scene.py PHOTOGRAPHS --output runs/lists
    python launch/hard_negatives.py --checkpoint shipped \\
        --clean list:runs/lists/clean_train.txt --output runs/hard
    python -m ttl_jax.main --config=configs/more_rain.py --workdir=runs/more

The images are those of `configs/hard_negatives.py`, and a sixth of each batch has rain of the
source `kinds:`.

Paper: none.
Expect: not trained yet.
Time: as configs/local_sums.py.
"""

from configs import common, hard_negatives

_SHARE = 1 / 6


def get_config(preset=None):
    config = hard_negatives.get_config(preset)
    config.run = "more_rain"
    config.start_from = "shipped"
    _, clean, _ = common.use_lists(config)
    config.pairs = (*config.pairs, f"kinds:{clean}")
    others = (share * (1 - _SHARE) for share in config.pairs_weights)
    config.pairs_weights = (*others, _SHARE)
    return config
