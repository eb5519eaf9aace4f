"""Trains the shipped weights further, with the kinds of rain that published pairs lack.

    python launch/lists_by_scene.py PHOTOGRAPHS --output runs/lists
    python launch/hard_negatives.py --checkpoint shipped \\
        --clean list:runs/lists/clean_train.txt --output runs/hard
    python -m ttl_jax.main --config=configs/more_rain.py --workdir=runs/more

The images are those of `configs/hard_negatives.py`. An eighth of each batch has rain of the
source `kinds:`, and a sixteenth has smears, which teach that what lies between streaks stays
as it is (configs/README.md, "The paper's test").

Paper: none.
Expect: not trained yet.
Time: as configs/local_sums.py.
"""

from configs import common, hard_negatives

_SHARES = {"kinds": 1 / 8, "smears": 1 / 16}


def get_config(preset=None):
    config = hard_negatives.get_config(preset)
    config.run = "more_rain"
    config.start_from = "shipped"
    config.encoder.attention_radius = 2  # as the shipped weights
    _, clean, _ = common.use_lists(config)
    config.pairs = (*config.pairs, *(f"{rain}:{clean}" for rain in _SHARES))
    others = 1 - sum(_SHARES.values())
    weights = (share * others for share in config.pairs_weights)
    config.pairs_weights = (*weights, *_SHARES.values())
    return config
