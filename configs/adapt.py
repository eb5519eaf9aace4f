"""The shipped weights, or others, adapted to photographs of one's own, without pairs.

    python -m ttl_jax.main --config=configs/adapt.py --workdir=runs/mine \\
        --config.rainy=/photos/rain --config.clean=/photos/clean
    python -m ttl_jax.derain /photos/rain --checkpoint runs/mine/adapt --output restored

The streaks that the weights take off the rainy photographs, at full and at half size, are
laid on the clean ones: pairs with one's own rain on one's own scenes. In the log,
`opacity` tells how much the weights find: near zero they see no rain, and learn
only to leave photographs as they are.

Paper: none; ttl_jax/stages/adapt.py tells how.
Expect: README, "Adapt to your own photographs".
Time: 2.5 s a step on one CPU core beside other work (crops of 64, batch 8).
"""

from configs import common


def get_config(preset=None):
    config = common.get_config(preset)
    config.stage = "adapt"
    config.dataset = "unpaired"
    # shipped; a run that removes rain, in --workdir or by its path; or a file that
    # ttl_jax.pack wrote. The preset has to be that of the weights.
    config.start_from = "shipped"
    config.eval_rainy = config.get_oneway_ref("rainy")
    config.eval_clean = config.get_oneway_ref("clean")
    config.image_loss = "charbonnier"  # Eq. 2's distance: mse, l2, l1 or charbonnier
    config.gradient_weight = 1.0
    config.clean_weight = 0.5
    config.streak_gain = (1.0, 2.0)  # how much stronger they are laid, least and most
    config.streak_zoom = 2.5  # how much larger at most
    config.learning_rate = 2e-4
    if config.preset != "smoke":
        config.num_steps = 150
        config.warmup_steps = 20
        config.ema_decay = 0.99
        config.checkpoint_every = 50
    return config
