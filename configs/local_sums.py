"""Trains the weights of 0.1 further with local sums, for photographs of camera size.

    python launch/lists_by_scene.py PHOTOGRAPHS --output runs/lists
    python -m ttl_jax.main --config=configs/local_sums.py --workdir=runs/shipped

The channel attention of 0.1 sums over the whole image, and the sums of a large photograph
differ from those of a training crop. Here sums run over a box of cells, and the size of
the crops changes from step to step. Most crops are smaller than the box, so that small
photographs work too. Some exceed it by two cells, so that the network learns the sums of
large photographs. Rain-free photographs with thin structures drawn on them teach it to
keep such structures, with rain and without. `configs/hard_negatives.py` is the next step.
Larger boxes without this training gained more; see below.

Paper: none; it does not mention large photographs.
Expect: ttl_jax/weights/MODEL_CARD.md, "Training that was not kept".
Time: 3 s a step on one CPU core (small), after compiling four crop sizes for 6 minutes.
"""

from configs import common, derain


def get_config(preset=None):
    config = derain.get_config(preset)
    config.start_from = "shipped@0.1"
    config.run = "local_sums"
    _, clean, pairs = common.use_lists(config)
    config.pairs = (
        pairs,
        f"streaks:{pairs} on {clean}",
        f"streaks:{pairs} on structures:{clean}",
        f"rain:{clean}",
        f"identity:{clean}",
        f"identity:structures:{clean}",
    )
    config.pairs_weights = (0.38, 0.25, 0.1, 0.1, 0.1, 0.07)
    config.encoder_learning_rate = config.get_oneway_ref("learning_rate")
    config.resave_pairs = True
    config.whole_share = 0.1
    config.encoder.attention_radius = 1  # a box of 192 pixels, smaller than some crops
    if config.preset == "smoke":
        return config
    config.crop_size = 320  # of evaluation
    config.crop_mix = ((96, 0.45), (128, 0.3), (192, 0.2), (320, 0.05))
    config.batch_size = 4
    config.num_micro_batches = 2  # crops of 320 pixels: 7 GB instead of 13
    config.eval_batch_size = 4
    config.num_eval = 0
    config.num_steps = 400
    config.learning_rate = 3e-4
    config.schedule = "constant"
    config.warmup_steps = 20
    config.ema_decay = 0.99
    return config
