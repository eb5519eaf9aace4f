"""Adapt the shipped weights, or others, to your own photographs, without pairs.

    python -m ttl_jax.main --config=configs/adapt.py --workdir=runs/mine \\
        --config.rainy=/photos/rain --config.clean=/photos/clean
    python -m ttl_jax.derain /photos/rain --checkpoint runs/mine/adapt --output restored

The network extracts streaks from the rainy photographs, at full and at half size. These
streaks are added to the clean photographs, which gives pairs with your rain on your
scenes. In the log, `opacity` is the mean opacity of the streaks found. If it is near zero,
the network detects no rain and only learns to leave photographs unchanged.

Paper: none; ttl_jax/stages/adapt.py explains the method.
Expect: configs/README.md, "Adapt to your own photographs".
Time: 2.5 s a step on one CPU core beside other work (crops of 64, batch 8).
"""

from configs import common


def get_config(preset=None):
    config = common.get_config(preset)
    config.stage = "adapt"
    config.dataset = "unpaired"
    # "shipped", or a run that removes rain (its name in --workdir, or its path), or a
    # file written by ttl_jax.pack. The preset must be that of the weights.
    config.start_from = "shipped"
    config.eval_rainy = config.get_oneway_ref("rainy")
    config.eval_clean = config.get_oneway_ref("clean")
    config.image_loss = "charbonnier"  # Eq. 2's distance: mse, l2, l1 or charbonnier
    config.gradient_weight = 1.0
    config.clean_weight = 0.5
    config.streak_gain = (1.0, 2.0)  # factor of the streaks' opacity, from and to
    config.streak_zoom = 2.5  # largest enlargement of streaks
    config.learning_rate = 2e-4
    if config.preset != "smoke":
        config.num_steps = 150
        config.warmup_steps = 20
        config.ema_decay = 0.99
        config.checkpoint_every = 50
    return config
