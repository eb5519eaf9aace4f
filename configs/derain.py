"""Stage 4: the student and a new decoder learn to remove rain from a few pairs.

    python -m ttl_jax.main --config=configs/derain.py:small \\
        --config.pairs=folder:/photos/pairs

It starts from the run `distill` of the same --workdir and preset. With
--config.teachers="('recog',)" it starts from distill_recog and is named derain_recog.

Paper: section Guiding Student Network to Remove Rain, Eq. 2; 6000 pairs of Rain1200,
learning rates 4e-5 for the student and 4e-4 for the decoder.
Expect: +9.2 dB on Rain100H and +3.4 dB on Rain100L after 1000 steps. For the longer
training of `configs/shipped.py`, see ttl_jax/weights/MODEL_CARD.md, "Recipe of 0.1".
Time: 0.75 s a step on 2 CPU cores (small, crops of 64, batch 8).
"""

from configs import common


def get_config(preset=None):
    config = common.get_config(preset)
    config.stage = "derain"
    config.dataset = "pairs"
    # aglf_vit; restormer and nafnet have configs of their own.
    config.architecture = "aglf_vit"
    config.teachers = ("recog", "recon")  # of the distillation to start from
    config.student_run = ""  # run to start from; empty: the default name of distill
    config.from_student = True
    # Weights that already remove rain, to train further: shipped, a run, or a file
    # written by ttl_jax.pack. The run is then named tuned. Empty: start from the student.
    config.start_from = ""
    config.image_loss = "charbonnier"  # Eq. 2's distance: mse, l2, l1 or charbonnier
    config.gradient_weight = 1.0
    config.learning_rate = 1e-3  # of the decoder
    config.encoder_learning_rate = 5e-4
    if config.preset != "smoke":
        config.num_steps = 2000
    if config.preset == "paper":
        config.image_loss = "mse"
        config.learning_rate = 4e-4
        config.encoder_learning_rate = 4e-5
        config.num_steps = 200_000
    return config
