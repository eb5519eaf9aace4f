"""Stage 3: one student encoder learns the features of both teachers.

    python -m ttl_jax.main --config=configs/distill.py:small \\
        --config.rainy=folder:/photos/rain

It reads the runs `recog` and `recon` of the same --workdir and preset.
--config.teachers="('recog',)" trains a row of Table 3 in the run distill_recog.

Paper: section Knowledge Distillation for Reducing Model Size, Eqs. 3-5.
Expect: Eq. 3 cannot fall below `direct_floor`, half the squared distance between the
features of the two teachers. It fell from 2.70 to 0.93 in 800 steps, with a floor of 0.89
(configs/README.md, "What was measured of the stages").
Time: 0.9 s a step on 2 CPU cores (small, crops of 64, batch 8).
"""

from configs import common


def get_config(preset=None):
    config = common.get_config(preset)
    config.stage = "distill"
    config.dataset = "rainy"
    config.teachers = ("recog", "recon")
    config.teacher_runs = {name: name for name in config.teachers}
    config.num_classes = 1  # outputs of the classifier of recog
    config.student_init = ""  # teacher from which the student starts; empty: random
    config.feature_loss = "mse"  # Eqs. 3 and 4; l2, l1 or charbonnier
    config.projections = False  # 1x1 conv of features per teacher, before Eqs. 3 and 4
    config.standardize = False  # divide channels by the teacher's std in Eq. 3
    config.teacher_dropout = 0.0  # probability of leaving a teacher out of an update
    config.masked_share = 0.0  # masked share of the student's input, in 16 x 16 patches
    config.term_weights = dict.fromkeys(
        ("direct_recog", "direct_recon", "indirect_recog", "indirect_recon"), 1.0
    )
    if config.preset != "smoke":
        config.num_steps = 1000
    if config.preset == "paper":
        config.num_steps = 100_000
    return config
