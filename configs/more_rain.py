"""Trains the shipped weights further: more kinds of rain, and the sums of large photographs.

    python launch/lists_by_scene.py PHOTOGRAPHS --output runs/lists
    python launch/hard_negatives.py --checkpoint shipped \\
        --clean list:runs/lists/clean_train.txt --output runs/hard
    python launch/best_restorations.py --checkpoint shipped \\
        --rainy list:runs/lists/rainy_train.txt --output runs/pool
    python -m ttl_jax.main --config=configs/more_rain.py --workdir=runs/more

The images are those of `configs/hard_negatives.py`, and three further sources:

- a fifth of each batch are crops of real rainy photographs, with the same part of the whole
  restored photograph as target, so that crops learn to agree with the whole;
- an eighth has rain of the source `kinds:`;
- a sixteenth has smears, which teach that what lies between streaks stays as it is
  (configs/README.md, "The paper's test").

Some crops exceed the box of the local sums by two cells: smaller crops have the same sums in
all their cells.

Paper: none.
Expect: ttl_jax/weights/MODEL_CARD.md, "Training that was not kept", after 480 updates.
Time: 8 s a step on one CPU core (small), after compiling five crop sizes for 10 minutes.
"""

from configs import common, hard_negatives

_SHARES = {"list:runs/pool/pairs.txt": 1 / 5, "kinds:": 1 / 8, "smears:": 1 / 16}


def get_config(preset=None):
    config = hard_negatives.get_config(preset)
    config.run = "more_rain"
    config.start_from = "shipped"
    config.encoder.attention_radius = 2  # as the shipped weights
    _, clean, _ = common.use_lists(config)
    added = (name + clean if name.endswith(":") else name for name in _SHARES)
    config.pairs = (*config.pairs, *added)
    others = 1 - sum(_SHARES.values())
    weights = (share * others for share in config.pairs_weights)
    config.pairs_weights = (*weights, *_SHARES.values())
    if config.preset == "smoke":
        return config
    config.crop_mix = ((96, 0.4), (128, 0.3), (192, 0.2), (320, 0.06), (448, 0.04))
    config.num_micro_batches = 4  # crops of 448 pixels: 7 GB
    config.num_steps = 1300
    return config
