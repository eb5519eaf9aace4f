"""The four stages in order: recog, recon, distill, derain; finished ones are skipped.

    python -m ttl_jax.main --config=configs/pipeline.py:small \\
        --config.rainy=folder:/photos/rain --config.clean=folder:/photos/clean \\
        --config.pairs=folder:/photos/pairs

A field of `SHARED` set here holds for every stage; --config.derain.num_steps=500 sets one
stage's. --config.teachers="('recog',)" runs a row of Table 3 in runs of its own name.

Paper: Fig. 3.
Expect: README, "What was measured".
Time: the sum of the stages', each in its file.
"""

from configs import common, derain, distill, recog, recon

SHARED = (
    "seed",
    "rainy",
    "clean",
    "pairs",
    "rainy_weights",
    "clean_weights",
    "pairs_weights",
    "exclude",
    "num_pairs",
    "eval_rainy",
    "eval_clean",
    "eval_pairs",
    "num_eval",
    "batch_size",
    "eval_batch_size",
    "crop_size",
    "crop_sizes",
    "crop_mix",
    "whole_share",
    "mirror",
    "quarter_turns",
    "color_jitter",
    "resave_pairs",
    "num_threads",
    "num_workers",
    "prefetch",
    "cache_gib",
    "max_replaced",
    "encoder",
    "decoder",
    "recon_decoder",
    "schedule",
    "clip_norm",
    "num_micro_batches",
    "skip_bad_batches",
    "ema_decay",
    "compute_dtype",
    "fsdp",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "keep_checkpoints",
    "num_samples",
    "teachers",
)


def get_config(preset=None):
    config = common.get_config(preset)
    for field in set(config) - set(SHARED) - {"preset"}:
        del config[field]
    config.teachers = distill.get_config(preset).teachers
    config.stages = ("recog", "recon", "distill", "derain")
    for stage in (recog, recon, distill, derain):
        stage_config = stage.get_config(preset)
        common.follow(stage_config, config, SHARED)
        config[stage_config.stage] = stage_config
    return config
