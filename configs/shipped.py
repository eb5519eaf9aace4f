"""Recipe of the shipped weights: `configs/four_stages.py` on lists of photographs.

    python launch/lists_by_scene.py PHOTOGRAPHS --output runs/lists
    python -m ttl_jax.main --config=configs/shipped.py --workdir=runs/shipped_0.1 \\
        --config.encoder.attention_cell=0
    python -m ttl_jax.pack runs/shipped_0.1/tuned --sums 64,2 --output derain.safetensors

A fifth run, `tuned`, trains `derain` further; half of its images are scaled and
compressed. The last command adds local sums; the crops of `tuned` are no larger than
their box. ttl_jax/weights/MODEL_CARD.md describes other choices that were tried.
Training uses training scenes only; choices were made on validation scenes.

Paper: Fig. 3; section Training details has its own recipe (`:paper`).
Expect: ttl_jax/weights/MODEL_CARD.md, "Figures of 0.1".
Time: an hour for the first three stages on 2 CPU cores; for derain 7 minutes on a shared
H200 (15 to 30 ms a step, with --config.derain.num_workers=7) or more than a day on 2 CPU
cores; for tuned half an hour on one core.
"""

from configs import common, derain, four_stages


def get_config(preset=None):
    config = four_stages.get_config(preset)
    rainy, clean, pairs = common.use_lists(config)
    config.rainy, config.clean = (rainy,), (clean,)
    more = (f"streaks:{pairs} on {clean}", f"rain:{clean}", f"identity:{clean}")
    config.pairs = (pairs, *more)
    config.tuned = derain.get_config(preset)
    common.follow(config.tuned, config, but=("preset",))
    # With a single teacher, the run that `tuned` starts from would have another name.
    del config.teachers
    config.tuned.start_from = "derain"
    config.tuned.resave_pairs = True
    config.stages = (*config.stages, "tuned")
    for stage, weights in (
        (config.derain, (0.45, 0.4, 0.09, 0.06)),
        (config.tuned, (0.4, 0.4, 0.14, 0.06)),
    ):
        stage.pairs_weights = weights
        stage.encoder_learning_rate = stage.get_oneway_ref("learning_rate")
    if config.preset == "smoke":
        return config
    config.num_eval = 0
    config.eval_every = 1000
    for name in ("recog", "recon", "distill"):
        config[name].num_steps = 800
    config.derain.num_steps = 18_000
    config.derain.warmup_steps = 200
    config.derain.crop_size = 128
    config.derain.batch_size = 12
    config.tuned.num_steps = 1500
    config.tuned.learning_rate = 3e-4
    config.tuned.crop_size = 96
    config.tuned.batch_size = 4
    return config
