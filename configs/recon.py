"""Stage 2: an encoder and an image decoder undo the blur of clean photographs.

    python -m ttl_jax.main --config=configs/recon.py:small \\
        --config.clean=folder:/photos/clean

Paper: section Detail-Recovering Representation Learning, Eq. 2.
Expect: +2.2 dB over the blurred image after 800 steps (configs/README.md, "What was
measured of the stages").
Time: 0.7 s a step on 2 CPU cores (small, crops of 64, batch 8).
"""

from configs import common


def get_config(preset=None):
    config = common.get_config(preset)
    config.stage = "recon"
    config.dataset = "clean"
    config.min_sigma = 0.5  # of the Gaussian blur in pixels, drawn uniformly per image
    config.max_sigma = 3.0
    config.crop_margin = 9  # pixels around each crop: ceil(3 * max_sigma)
    config.masked_share = 0.0  # masked share of the input, in patches of 16 x 16 pixels
    config.encoder_run = ""  # run whose encoder it starts from; empty: random weights
    config.image_loss = "mse"  # Eq. 2; l2, l1 or charbonnier
    config.gradient_weight = 1.0
    if config.preset != "smoke":
        config.num_steps = 1000
    if config.preset == "paper":
        config.num_steps = 100_000
    return config
