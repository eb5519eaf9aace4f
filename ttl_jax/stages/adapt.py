"""Weights that remove rain, adapted to photographs of one's own, of which none are pairs."""

import jax
import jax.numpy as jnp

from ttl_jax import losses
from ttl_jax.metrics import image_quality
from ttl_jax.stages import networks
from ttl_jax.stages.stage import Source, Stage

_TRAINED = ("encoder", "decoder")


def make_stage(config) -> Stage:
    """Returns the adaptation of trained weights, those of `config.start_from`.

    The weights as they were, frozen, take the rain off one's own rainy photographs. The
    layer that they took off is rain of the place and the camera, without a scene: laid
    on one's own clean photographs, thinner or thicker than it was, it makes pairs. Three
    terms (Eq. 2 each), by `config.term_weights`:
      laid: the clean photograph is wanted under the layer.
      thickened: what the frozen weights made of the rainy photograph is wanted under a
        thicker rain than it had.
      clean: the clean photograph is wanted of itself.
    Note: the paper adapts nothing. That rain brightens, so that a layer is what is left
    above zero, holds for streaks by day and by night; veils are not taken for rain.
    """
    losses.check_kind(config.image_loss, "config.image_loss")
    _check_gain(config.layer_gain)

    def restore(modules, image, prefix=""):
        features = modules[f"{prefix}encoder"](image)
        return modules[f"{prefix}decoder"](features, image)

    def loss_fn(modules, batch, key):
        before = jax.lax.stop_gradient(
            jnp.clip(restore(modules, batch["rainy"], "frozen_"), 0, 1)
        )
        least, most = config.layer_gain
        gain = jax.random.uniform(
            key, (len(before), 1, 1, 1), minval=least, maxval=most
        )
        terms = {
            name: losses.reconstruction(
                restore(modules, look),
                wanted,
                kind=config.image_loss,
                gradient_weight=config.gradient_weight,
            )
            for name, (look, wanted) in _make_pairs(batch, before, gain).items()
            if config.term_weights[name]
        }
        loss = sum(config.term_weights[name] * term for name, term in terms.items())
        return loss, terms

    def eval_fn(modules, batch, key):
        """How far clean photographs stay, and how much is taken off rainy ones."""
        del key
        clean, rainy = (
            jnp.clip(restore(modules, batch[side]), 0, 1) for side in ("clean", "rainy")
        )
        taken = jnp.maximum(batch["rainy"] - rainy, 0)
        return {
            "clean_psnr": image_quality.psnr(clean, batch["clean"]),
            "taken_off": taken.mean(axis=(1, 2, 3)),
        }

    def images_fn(modules, batch, key):
        del key
        restored = restore(modules, batch["rainy"])
        before = restore(modules, batch["rainy"], "frozen_")
        return {"rainy": batch["rainy"], "before": before, "restored": restored}

    made = {
        "encoder": networks.encoder(config),
        "decoder": networks.image_decoder(config, config.decoder),
    }
    command = f"--config=configs/pipeline.py:{config.preset}"
    sources = {name: Source(config.start_from, name, command) for name in _TRAINED}
    return Stage(
        run="adapt",
        modules=made | {f"frozen_{name}": make for name, make in made.items()},
        trainable=_TRAINED,
        learning_rates=dict.fromkeys(_TRAINED, config.learning_rate),
        init_from=sources | {f"frozen_{name}": of for name, of in sources.items()},
        loss_fn=loss_fn,
        eval_fn=eval_fn,
        images_fn=images_fn,
    )


def _make_pairs(batch, before, gain) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Each term's image and what is wanted of it, from what was taken off the rainy ones.

    Args:
      batch: Holds rainy and clean images [N, H, W, 3].
      before: The rainy ones as the frozen weights restore them.
      gain: Factors of the layers that they take off [N, 1, 1, 1].
    """
    layer = jnp.maximum(batch["rainy"] - before, 0)
    # No camera tells more than white.
    laid = jnp.minimum(batch["clean"] + gain * layer, 1)
    thickened = jnp.minimum(before + jnp.maximum(gain, 1) * layer, 1)
    return {
        "laid": (laid, batch["clean"]),
        "thickened": (thickened, before),
        "clean": (batch["clean"], batch["clean"]),
    }


def _check_gain(gain) -> None:
    if len(gain) != 2 or not 0 < gain[0] <= gain[1]:
        raise ValueError(
            f"config.layer_gain={gain!r} must be the least and the greatest factor of a "
            "layer, for example (0.5, 1.5)."
        )
