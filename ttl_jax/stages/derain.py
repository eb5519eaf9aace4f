"""Stage 4: remove rain, fine-tuned on a minority of synthetic pairs (Eq. 2)."""

import jax.numpy as jnp

from ttl_jax import losses
from ttl_jax.metrics import image_quality
from ttl_jax.stages import networks
from ttl_jax.stages.stage import (
    Source,
    Stage,
    check_teachers,
    run_name,
    sources_at,
)


def make_stage(config) -> Stage:
    """Returns the deraining task: the student E_stu and a new decoder D_dr.

    The encoder learns at `config.encoder_learning_rate`, the decoder at
    `config.learning_rate`. With `config.from_student` false, both start from random
    weights: variant V2 of Table 4. With `config.decoder_init` "recon", the decoder
    starts from D_recon, which has the same structure. With `config.start_from`, both
    start from weights that remove rain already.
    """
    losses.check_kind(config.image_loss, "config.image_loss")
    if config.crop_size < image_quality.SSIM_WINDOW:
        raise ValueError(
            f"config.crop_size={config.crop_size}: the SSIM of a crop needs at least "
            f"{image_quality.SSIM_WINDOW} pixels."
        )
    teachers = check_teachers(config.teachers)

    def restore(modules, batch):
        return modules["decoder"](modules["encoder"](batch["rainy"]), batch["rainy"])

    def loss_fn(modules, batch, key):
        del key
        loss = losses.reconstruction(
            restore(modules, batch),
            batch["clean"],
            kind=config.image_loss,
            gradient_weight=config.gradient_weight,
        )
        return loss, {}

    def eval_fn(modules, batch, key):
        """PSNR and SSIM (y_uint8) before and after, and the gains, per image."""
        del key
        restored = jnp.clip(restore(modules, batch), 0, 1)
        scores = {}
        for name, metric in (
            ("psnr", image_quality.psnr),
            ("ssim", image_quality.ssim),
        ):
            before = metric(batch["rainy"], batch["clean"])
            after = metric(restored, batch["clean"])
            scores |= {
                f"{name}_input": before,
                name: after,
                f"{name}_gain": after - before,
            }
        return scores

    def images_fn(modules, batch, key):
        del key
        restored = restore(modules, batch)
        return {"rainy": batch["rainy"], "restored": restored, "clean": batch["clean"]}

    return Stage(
        run=_name_run(config, teachers),
        modules={
            "encoder": networks.encoder(config),
            "decoder": networks.image_decoder(config, config.decoder),
        },
        trainable=("encoder", "decoder"),
        learning_rates={
            "encoder": config.encoder_learning_rate,
            "decoder": config.learning_rate,
        },
        init_from=_find_sources(config, teachers),
        loss_fn=loss_fn,
        eval_fn=eval_fn,
        images_fn=images_fn,
    )


def _name_run(config, teachers) -> str:
    if config.start_from:
        return "tuned"
    return run_name("derain", teachers) if config.from_student else "scratch"


def _find_sources(config, teachers) -> dict[str, Source]:
    """What the encoder and the decoder start from, where that is not random."""
    if config.start_from:
        _check_start_from(config)
        return sources_at(config.start_from, ("encoder", "decoder"))
    sources = {}
    if config.from_student:
        command = f"--config=configs/distill.py:{config.preset}"
        if len(teachers) == 1:
            command += f" --config.teachers=\"('{teachers[0]}',)\""
        run = config.student_run or run_name("distill", teachers)
        sources["encoder"] = Source(run, "encoder", command)
    if config.decoder_init:
        _check_decoder_init(config)
        command = f"--config=configs/recon.py:{config.preset}"
        sources["decoder"] = Source("recon", "decoder", command)
    return sources


def _check_start_from(config) -> None:
    if config.decoder_init or config.student_run or not config.from_student:
        raise ValueError(
            f"config.start_from={config.start_from!r} gives the encoder and the decoder "
            "their weights: leave student_run and decoder_init empty and from_student "
            "true, or start_from empty."
        )


def _check_decoder_init(config) -> None:
    if config.decoder_init != "recon" or not config.from_student:
        raise ValueError(
            f"config.decoder_init={config.decoder_init!r}: leave it empty for random "
            'weights, or give "recon" where the encoder starts from a student.'
        )
    if config.decoder != config.recon_decoder:
        raise ValueError(
            'config.decoder_init="recon" needs the same fields in config.decoder and '
            "config.recon_decoder."
        )
