"""Trains the weights of 0.1 further, on rain-free regions that a network harms most.

    python launch/hard_negatives.py --checkpoint runs/shipped/local_sums \\
        --clean list:runs/lists/clean_train.txt --output runs/hard
    python -m ttl_jax.main --config=configs/hard_negatives.py --workdir=runs/shipped

The first command finds the squares that the network of `configs/local_sums.py` harms
most. The second trains on them more often than on other rain-free photographs, with and
without streaks. Training starts again from the weights of 0.1, at a third of the
learning rate of `configs/local_sums.py`; with a higher rate the network removes less
rain.

Paper: none; it does not mention the effect on photographs without rain.
Expect: ttl_jax/weights/MODEL_CARD.md, "Training that was not kept".
Time: as `configs/local_sums.py`.
"""

from configs import local_sums

_FOUND = "folder:runs/hard"


def get_config(preset=None):
    config = local_sums.get_config(preset)
    config.run = "hard_negatives"
    pairs = config.pairs[0]
    config.pairs = (*config.pairs, f"streaks:{pairs} on {_FOUND}", f"identity:{_FOUND}")
    config.pairs_weights = (0.45, 0.2, 0.06, 0.07, 0.06, 0.05, 0.05, 0.06)
    if config.preset == "smoke":
        return config
    config.num_steps = 1200
    config.crop_mix = ((96, 0.4), (128, 0.35), (192, 0.2), (320, 0.05))
    config.learning_rate = 1e-4
    config.schedule = "cosine"
    config.ema_decay = 0.997
    return config
