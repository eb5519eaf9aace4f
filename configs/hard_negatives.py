"""Weights with local sums go on with the rain-free regions that they harmed most.

    python launch/hard_negatives.py --checkpoint runs/shipped/local_sums \\
        --clean list:runs/lists/clean_train.txt --output runs/hard
    python -m ttl_jax.main --config=configs/hard_negatives.py --workdir=runs/shipped
    python launch/average_weights.py runs/shipped/hard_negatives shipped@0.1 \\
        --output mine.safetensors

The first command finds square regions, which are trained on more often than other
rain-free photographs, with streaks and without. The learning rate falls to its end. These
few updates weaken the removal of rain; the average with the original weights keeps most
of it.

Paper: none; it does not mention the effect on photographs without rain.
Expect: ttl_jax/weights/MODEL_CARD.md, "Figures".
Time: as `configs/local_sums.py`.
"""

from configs import local_sums

_FOUND = "folder:runs/hard"


def get_config(preset=None):
    config = local_sums.get_config(preset)
    config.start_from = "local_sums"
    config.run = "hard_negatives"
    pairs = config.pairs[0]
    config.pairs = (*config.pairs, f"streaks:{pairs} on {_FOUND}", f"identity:{_FOUND}")
    config.pairs_weights = (0.38, 0.22, 0.09, 0.1, 0.06, 0.06, 0.04, 0.05)
    if config.preset == "smoke":
        return config
    config.num_steps = 340
    config.schedule = "cosine"
    config.ema_decay = 0.995
    return config
