"""The shipped weights, or others, adapted to photographs of one's own, without pairs.

    python -m ttl_jax.main --config=configs/adapt.py --workdir=runs/mine \\
        --config.rainy=/photos/rain --config.clean=/photos/clean
    python -m ttl_jax.derain /photos/rain --checkpoint runs/mine/adapt --output restored

What the weights take off the rainy photographs is laid on the clean ones: pairs with
one's own rain on one's own scenes.

Paper: none; ttl_jax/stages/adapt.py tells how.
Expect: README, "Adapt to your own photographs".
Time: 2.3 s a step on 2 CPU cores (crops of 64, batch 8).
"""

from ml_collections import ConfigDict

from configs import common


def get_config(preset=None):
    config = common.get_config(preset)
    config.stage = "adapt"
    config.dataset = "unpaired"
    # shipped; a run of --workdir that removes rain; or the whole path of one, or of a
    # file that ttl_jax.pack wrote. The preset is that of the weights.
    config.start_from = "shipped"
    config.eval_rainy = ()
    config.eval_clean = ()
    config.image_loss = "charbonnier"  # Eq. 2's distance: mse, l2, l1 or charbonnier
    config.gradient_weight = 1.0
    config.term_weights = ConfigDict({"laid": 1.0, "thickened": 0.5, "clean": 0.5})
    config.layer_gain = (0.5, 1.5)  # how much thinner or thicker a layer is laid
    config.learning_rate = 2e-4
    config.warmup_steps = 20
    config.ema_decay = 0.99
    config.checkpoint_every = 100
    if config.preset != "smoke":
        config.num_steps = 300
    return config
