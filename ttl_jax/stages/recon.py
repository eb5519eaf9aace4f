"""Stage 2: undo the blur of clean photographs (Eq. 2)."""

import math

import jax
import jax.numpy as jnp

from ttl_jax import losses
from ttl_jax.metrics import image_quality
from ttl_jax.stages import image_degradations, networks
from ttl_jax.stages.stage import (
    Stage,
    check_dataset,
    check_shares,
    check_weights,
    origins_at,
)


def make_stage(config) -> Stage:
    """Returns the reconstruction task: E_recon and D_recon.

    Both start from random weights, or E_recon from the encoder of `config.encoder_run`.
    Crops come with `config.crop_margin` extra pixels on each side for the blur.
    """
    check_dataset(config, "clean", "rainy")
    losses.check_kind(config.image_loss, "config.image_loss")
    check_weights(config, "gradient_weight")
    check_shares(config, "masked_share")
    if not 0 < config.min_sigma <= config.max_sigma < math.inf:
        raise ValueError(
            f"config.min_sigma={config.min_sigma} must be greater than zero and not above "
            f"config.max_sigma={config.max_sigma}, which must be finite."
        )
    margin = image_degradations.blur_margin(config.max_sigma)
    if config.crop_margin != margin:
        raise ValueError(
            f"config.crop_margin={config.crop_margin}: a blur of up to {config.max_sigma} "
            f"pixels has a radius of {margin} pixels; set crop_margin to it."
        )

    def blur(batch, key):
        image = batch["image"]
        blurred = image_degradations.random_blur(
            image, key, config.min_sigma, config.max_sigma
        )
        return image[:, margin:-margin, margin:-margin], blurred

    def loss_fn(modules, batch, key):
        clean, blurred = blur(batch, key)
        mask_key = jax.random.fold_in(key, 1)
        masked = networks.mask_patches(blurred, config.masked_share, mask_key)
        restored = networks.restore(modules, masked)
        loss = networks.image_loss(config, restored, clean)
        return loss, {"blurred_mse": losses.distance(blurred, clean)}

    def images_fn(modules, batch, key):
        clean, blurred = blur(batch, key)
        restored = networks.restore(modules, blurred)
        return {"blurred": blurred, "restored": restored, "clean": clean}

    return Stage(
        run="recon",
        modules={
            "encoder": networks.encoder(config),
            "decoder": networks.image_decoder(config, config.recon_decoder),
        },
        trainable=("encoder", "decoder"),
        learning_rates=dict.fromkeys(("encoder", "decoder"), config.learning_rate),
        init_from=origins_at(config.encoder_run, ("encoder",))
        if config.encoder_run
        else {},
        loss_fn=loss_fn,
        eval_fn=lambda modules, batch, key: _evaluate(modules, *blur(batch, key)),
        images_fn=images_fn,
        next_command=f"main --config=distill:{config.preset} --workdir={{workdir}}",
    )


def _evaluate(modules, clean, blurred):
    """Returns the PSNR (y_uint8) before and after, and the gains, per image."""
    features = modules["encoder"](blurred)

    def psnr_of(decoded):
        return image_quality.psnr(jnp.clip(decoded, 0, 1), clean)

    before = psnr_of(blurred)
    after = psnr_of(modules["decoder"](features, blurred))
    # The decoder gets the image and could deblur it alone; this measures how much it does.
    alone = psnr_of(modules["decoder"](jnp.zeros_like(features), blurred))
    return {
        "psnr_input": before,
        "psnr": after,
        "psnr_gain": after - before,
        "psnr_gain_without_features": alone - before,
    }
