"""Trains weights further on real rain; the targets are the best restorations so far.

    python launch/best_restorations.py --rainy list:runs/lists/rainy_train.txt \\
        --checkpoint shipped --output runs/pool
    python -m ttl_jax.main --config=configs/refine.py --workdir=runs/refined1

Half of the pairs are synthetic, the other half real photographs with their best
restorations. In the next round, only a better restoration replaces an earlier one. Each
round needs its own --workdir, since a finished run does not train again:

    python launch/best_restorations.py --rainy list:runs/lists/rainy_train.txt \\
        --checkpoint runs/refined1/refine --output runs/pool
    python -m ttl_jax.main --config=configs/refine.py --workdir=runs/refined2 \\
        --config.start_from=runs/refined1/refine

Paper: none. RGSUD (CVPR 2026) reports +1.4 to +1.6 dB on real pairs from such targets.
Expect: not trained yet.
Time: as derain.
"""

from configs import common, derain


def get_config(preset=None):
    config = derain.get_config(preset)
    config.start_from = "shipped"
    config.run = "refine"
    _, _, pairs = common.use_lists(config)
    config.pairs = (pairs, "list:runs/pool/pairs.txt")
    config.pairs_weights = (0.5, 0.5)
    config.encoder_learning_rate = config.get_oneway_ref("learning_rate")
    config.learning_rate = 1e-4
    if config.preset == "smoke":
        return config
    config.num_steps = 400
    config.crop_size = 128
    config.ema_decay = 0.99
    return config
