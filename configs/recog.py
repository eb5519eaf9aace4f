"""Stage 1: an encoder and a classifier distinguish rainy from rain-free photographs.

    python -m ttl_jax.main --config=configs/recog.py:small \\
        --config.rainy=folder:/photos/rain --config.clean=folder:/photos/clean

Paper: section Discriminative Representation Learning, Eq. 1.
Expect: an area under the ROC curve of 0.83 on held-out real photographs after 800 steps
(configs/README.md, "What was measured of the stages").
Time: 0.7 s a step on 2 CPU cores (small, crops of 64, batch 8).
"""

from configs import common


def get_config(preset=None):
    config = common.get_config(preset)
    config.stage = "recog"
    config.dataset = "couples"
    config.recognition_loss = "mse"  # Eq. 1; l2, l1, charbonnier or cross_entropy
    config.num_classes = 1  # outputs of the classifier; more in configs/degradations.py
    config.masked_share = 0.0  # masked share of the input, in patches of 16 x 16 pixels
    config.learning_rate = 3e-4
    if config.preset != "smoke":
        config.num_steps = 1000
    if config.preset == "paper":
        config.learning_rate = 4e-4
        config.num_steps = 100_000
    return config
