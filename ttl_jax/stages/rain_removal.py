"""Stage 4, `derain`: remove rain, fine-tuned on a few synthetic pairs (Eq. 2)."""

import jax.numpy as jnp

from ttl_jax import losses
from ttl_jax.metrics import image_quality
from ttl_jax.stages import networks
from ttl_jax.stages.stage import (
    RESTORE,
    Origin,
    Stage,
    check_dataset,
    check_weights,
    origins_at,
)
from ttl_jax.stages.teachers import (
    TEACHERS,
    check_teachers,
    run_name,
    teachers_flag,
    train_command,
)


def make_stage(config) -> Stage:
    """Returns the deraining task: the student E_stu and a new decoder D_dr.

    The encoder learns at `config.encoder_learning_rate`, the decoder at
    `config.learning_rate`. With `config.from_student` false, both start from random
    weights: variant V2 of Table 4. With `config.start_from`, both start from weights that
    already remove rain. `config.architecture` names the paper's network, or one to
    compare with; `config.encoder` has the fields of this network.
    Note: the paper's loss is "similar to" Eq. 2, whose distance the preset `paper` reads
    as mse; the other presets have charbonnier.
    """
    check_dataset(config, "pairs")
    losses.check_kind(config.image_loss, "config.image_loss")
    check_weights(config, "gradient_weight")
    if config.crop_size < image_quality.SSIM_WINDOW:
        raise ValueError(
            f"config.crop_size={config.crop_size}: the SSIM of a crop needs at least "
            f"{image_quality.SSIM_WINDOW} pixels."
        )

    def loss_fn(modules, batch, key):
        del key
        restored = networks.restore(modules, batch["rainy"])
        return networks.image_loss(config, restored, batch["clean"]), {}

    run, init_from = _find_start(config)
    return Stage(
        run=run,
        modules=networks.restorer(config),
        trainable=("encoder", "decoder"),
        learning_rates={
            "encoder": config.encoder_learning_rate,
            "decoder": config.learning_rate,
        },
        init_from=init_from,
        loss_fn=loss_fn,
        eval_fn=_evaluate,
        images_fn=_show,
        next_command=RESTORE,
    )


def _evaluate(modules, batch, key):
    """Returns PSNR and SSIM (y_uint8) before and after, and the gains, per image."""
    del key
    restored = jnp.clip(networks.restore(modules, batch["rainy"]), 0, 1)
    scores = {}
    for name in ("psnr", "ssim"):
        metric = getattr(image_quality, name)
        before = metric(batch["rainy"], batch["clean"])
        after = metric(restored, batch["clean"])
        scores |= {f"{name}_input": before, name: after, f"{name}_gain": after - before}
    return scores


def _show(modules, batch, key):
    del key
    restored = networks.restore(modules, batch["rainy"])
    return {"rainy": batch["rainy"], "restored": restored, "clean": batch["clean"]}


def _find_start(config) -> tuple[str, dict[str, Origin]]:
    """Returns the run's name, and the sources of the modules that do not start at random."""
    teachers = check_teachers(config.teachers)
    has_student = config.student_run or len(teachers) < len(TEACHERS)
    if config.start_from:
        if has_student or not config.from_student:
            raise ValueError(
                f"config.start_from={config.start_from!r} gives the weights of encoder and "
                "decoder: leave student_run empty, from_student true and both teachers, or "
                "leave start_from empty."
            )
        return "tuned", origins_at(config.start_from, ("encoder", "decoder"))
    if not config.from_student:
        if has_student:
            raise ValueError(
                "config.from_student=False starts from random weights, so "
                f"student_run={config.student_run!r} and teachers={config.teachers!r} "
                "have no effect: leave student_run empty and both teachers, or "
                "from_student true."
            )
        return "scratch", {}
    default = run_name("distill", teachers)
    student = config.student_run or default
    command = train_command("distill", config.preset, student, default)
    command += teachers_flag(teachers) if command else ""
    return run_name("derain", teachers), {
        "encoder": Origin(student, "encoder", command)
    }
