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

Few pairs are where transfer should help most: the rows `both_10`, `scratch_10`,
`both_50` and `scratch_50` train on so many of them, others with each seed.

The teachers are shared: the spread over seeds holds that of distillation and fine-tuning,
not that of training the teachers, and is too small by it.

Paper: section Ablation Study, Tables 3 and 4.
Expect: in the paper, on Test-I, 35.01 dB for `both`, 34.34 for `recog_only`, 33.92 for
`recon_only`, 34.26 for `scratch`, of one run each.
Time: with n seeds and the default rows, 3 n distillations, 4 n trainings on the pairs and
the two teachers; a network is compiled once and not once a run.
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
        **_of_the_paper(all_steps),
        **_with_other_rates(config.derain.get_oneway_ref("learning_rate")),
        **_with_few_pairs(10),
        **_with_few_pairs(50),
        **_with_other_distillations(),
    }
    return config


def _of_the_paper(all_steps):
    """Tables 3 and 4, and V2 for as many updates as V1 takes in all its stages."""
    return {
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
    }


def _with_other_rates(rate):
    """V2 and V1 with other learning rates than the config's, which is `rate`."""
    return {
        "scratch_twice": _from_scratch(
            "V2 at twice the learning rate",
            tables=(),
            reference="scratch",
            **_rates(2 * rate, 2 * rate),
        ),
        "scratch_half": _from_scratch(
            "V2 at half the learning rate",
            tables=(),
            reference="scratch",
            **_rates(0.5 * rate, 0.5 * rate),
        ),
        "encoder_equal": _from_student(
            "V1, the encoder at the decoder's learning rate",
            student="both",
            derain=_rates(rate, rate),
        ),
        "encoder_tenth": _from_student(
            "V1, the encoder at a tenth of the decoder's learning rate, as in the paper",
            student="both",
            derain=_rates(rate, 0.1 * rate),
        ),
    }


def _with_other_distillations():
    """V1 with other forms of the stage before the last, or another decoder after it."""
    return {
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
            student="both",
            derain={"decoder_init": "recon"},
        ),
    }


def _from_student(
    description, tables=(), distill=(), derain=(), student="", reference="both"
):
    """A row that fine-tunes a student, and the fields in which it differs from V1."""
    return {
        "description": description,
        "tables": tables,  # of the paper
        "student": student,  # the row whose distillation it starts from; empty: its own
        "reference": reference,  # the row that tables compare it with
        "stages": {"distill": dict(distill), "derain": dict(derain)},
    }


def _from_scratch(description, tables=(4,), reference="both", **fields):
    """A row that trains on the pairs alone."""
    return {
        "description": description,
        "tables": tables,
        "student": "",
        "reference": reference,
        "stages": {"scratch": fields},
    }


def _rates(decoder, encoder):
    return {"learning_rate": decoder, "encoder_learning_rate": encoder}


def _with_few_pairs(count):
    """V1 and V2 on so many of the pairs, the same ones with the same seed."""
    fields = {"num_pairs": count}
    return {
        f"both_{count}": _from_student(
            f"V1 on {count} pairs", student="both", derain=fields
        ),
        f"scratch_{count}": _from_scratch(
            f"V2 on {count} pairs", tables=(), reference=f"both_{count}", **fields
        ),
    }
