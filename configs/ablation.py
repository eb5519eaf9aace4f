"""Tables 3 and 4, and rows beyond them: what each part of the method brings.

    python -m ttl_jax.main --config=configs/ablation.py:small --workdir=runs/ablation \\
        --config.rainy=folder:/photos/rain --config.clean=folder:/photos/clean \\
        --config.pairs=folder:/photos/pairs

trains both teachers once, then every row of `rows` with every seed of `seeds`, one seed
after the other: distillation and fine-tuning, or `scratch` for V2. All rows of a seed see
the same pairs in the same order for as many updates, except where their description
says otherwise; the workdir's `ablation.json` lists them. Given again with other rows or
seeds, the command adds those. One stage's field is set as in the pipeline
(--config.derain.num_steps=500; `scratch` follows `derain` until it is set itself), other
rows are chosen by --config.rows="('both','direct_only')".

The teachers are shared: the spread over seeds holds that of distillation and fine-tuning,
not that of training the teachers, and is too small by it.

Paper: section Ablation Study, Tables 3 and 4.
Expect: in the paper, on Test-I, 35.01 dB for `both`, 34.34 for `recog_only`, 33.92 for
`recon_only`, 34.26 for `scratch`, of one run each.
Time: with n seeds and the default rows, 3 n distillations, 4 n trainings on the pairs and
the two teachers.
"""

from configs import common, pipeline, scratch


def get_config(preset=None):
    config = pipeline.get_config(preset)
    del config.stages, config.teachers
    config.rows = ("both", "recog_only", "recon_only", "scratch")  # of variants
    # Not the teachers' seed, config.seed: a student of the same starts from the random
    # values that its teachers started from, and others do not.
    config.seeds = (1, 2, 3)
    config.scratch = scratch.get_config(preset)
    own = ("stage", "run", "from_student", "encoder_learning_rate")
    common.follow(config.scratch, config.derain, tuple(set(config.derain) - set(own)))
    all_steps = sum(
        config[stage].get_oneway_ref("num_steps")
        for stage in ("recog", "recon", "distill", "derain")
    )
    config.variants = {
        "both": _from_student("V1: both teachers", tables=(3, 4)),
        "recog_only": _from_student(
            "the recognition teacher alone",
            tables=(3,),
            distill={"teachers": ("recog",)},
            derain={"teachers": ("recog",)},
        ),
        "recon_only": _from_student(
            "the reconstruction teacher alone",
            tables=(3,),
            distill={"teachers": ("recon",)},
            derain={"teachers": ("recon",)},
        ),
        "scratch": _from_scratch("V2: random weights, pairs alone"),
        "scratch_total": _from_scratch(
            "V2 for as many updates as the four stages of V1 take together",
            num_steps=all_steps,
        ),
        "direct_only": _from_student(
            "Eq. 3 without Eq. 4",
            distill={"term_weights": {"indirect_recog": 0.0, "indirect_recon": 0.0}},
        ),
        "indirect_only": _from_student(
            "Eq. 4 without Eq. 3",
            distill={"term_weights": {"direct_recog": 0.0, "direct_recon": 0.0}},
        ),
        "normalized": _from_student(
            "features normalised over the channels before Eq. 3",
            distill={"normalize_features": True},
        ),
        "projections": _from_student(
            "a 1x1 projection per teacher between the student and Eqs. 3 and 4",
            distill={"projections": True},
        ),
        "student_from_recog": _from_student(
            "the student starts from E_recog, not from random weights",
            distill={"student_init": "recog"},
        ),
        "decoder_from_recon": _from_student(
            "D_dr starts from D_recon, not from random weights",
            derain={"decoder_init": "recon"},
        ),
    }
    return config


def _from_student(description, tables=(), distill=(), derain=()):
    """A row that fine-tunes a student, and the fields in which it differs from V1."""
    return {
        "description": description,
        "tables": tables,  # of the paper
        "stages": {"distill": dict(distill), "derain": dict(derain)},
    }


def _from_scratch(description, **fields):
    """A row of Table 4 that trains on the pairs alone."""
    return {"description": description, "tables": (4,), "stages": {"scratch": fields}}
