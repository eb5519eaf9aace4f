"""A task that the package does not know: remove noise from clean photographs."""

import jax

from ttl_jax import losses
from ttl_jax.stages import networks
from ttl_jax.stages.stage import Stage


def make_stage(config) -> Stage:
    def noisy(batch, key):
        noise = jax.random.normal(key, batch["image"].shape)
        return batch["image"] + config.noise_level * noise

    def restore(modules, image):
        return modules["decoder"](modules["encoder"](image), image)

    def loss_fn(modules, batch, key):
        restored = restore(modules, noisy(batch, key))
        return losses.reconstruction(restored, batch["image"]), {}

    def eval_fn(modules, batch, key):
        error = restore(modules, noisy(batch, key)) - batch["image"]
        return {"mse": (error**2).mean(axis=(1, 2, 3))}

    return Stage(
        run="denoise",
        modules={
            "encoder": networks.encoder(config),
            "decoder": networks.image_decoder(config, config.decoder),
        },
        trainable=("encoder", "decoder"),
        learning_rates={"encoder": 1e-3, "decoder": 1e-3},
        loss_fn=loss_fn,
        eval_fn=eval_fn,
    )
