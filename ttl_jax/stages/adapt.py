"""Weights that remove rain, adapted to photographs of one's own, of which none are pairs."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from ttl_jax import losses
from ttl_jax.metrics import image_quality
from ttl_jax.stages import networks
from ttl_jax.stages.stage import Source, Stage

_TRAINED = ("encoder", "decoder")


def make_stage(config) -> Stage:
    """Returns the adaptation of trained weights, those of `config.start_from`.

    The weights as they were, frozen, take the rain off one's own rainy photographs. The
    streaks among what they took off are rain of the place and the camera without a scene:
    laid on one's own clean photographs, fainter or stronger and larger than they were, they
    make pairs (Eq. 2). The clean photographs are wanted of themselves too, with the weight
    `config.clean_weight`.
    Note: the paper adapts nothing. What the frozen weights do not see as rain is never
    laid, and what they wrongly take for it, such as a lamp post, is.
    """
    losses.check_kind(config.image_loss, "config.image_loss")
    _check(config)

    def restore(modules, image, prefix=""):
        features = modules[f"{prefix}encoder"](image)
        return modules[f"{prefix}decoder"](features, image)

    def distance(modules, image, wanted):
        return losses.reconstruction(
            restore(modules, image),
            wanted,
            kind=config.image_loss,
            gradient_weight=config.gradient_weight,
        )

    def loss_fn(modules, batch, key):
        """Eq. 2 of clean photographs under streaks, and of the same without."""
        before = jnp.clip(restore(modules, batch["rainy"], "frozen_"), 0, 1)
        opacity = find_streaks(batch["rainy"], lax.stop_gradient(before))
        keys = jax.random.split(key)
        least, most = config.streak_gain
        shape = len(opacity), 1, 1, 1
        gain = jax.random.uniform(keys[0], shape, minval=least, maxval=most)
        zoom = jax.random.uniform(
            keys[1], shape[:1], maxval=math.log2(config.streak_zoom)
        )
        streaks = gain * enlarge(opacity, 2**zoom)
        laid = distance(modules, lay(streaks, batch["clean"]), batch["clean"])
        clean = distance(modules, batch["clean"], batch["clean"])
        scalars = {"laid": laid, "clean": clean, "opacity": opacity.mean()}
        return laid + config.clean_weight * clean, scalars

    def eval_fn(modules, batch, key):
        """How far clean photographs stay, and the streaks taken off rainy ones.

        Each also as the frozen weights do it, "_before". More streaks may be more rain,
        or damage: look at the images.
        """
        del key
        scores = {}
        for prefix, suffix in (("frozen_", "_before"), ("", "")):
            clean, rainy = (
                jnp.clip(restore(modules, batch[side], prefix), 0, 1)
                for side in ("clean", "rainy")
            )
            opacity = find_streaks(batch["rainy"], rainy)
            scores[f"clean_psnr{suffix}"] = image_quality.psnr(clean, batch["clean"])
            scores[f"opacity{suffix}"] = opacity.mean(axis=(1, 2, 3))
        return scores

    def images_fn(modules, batch, key):
        del key
        before = restore(modules, batch["rainy"], "frozen_")
        restored = restore(modules, batch["rainy"])
        return {"rainy": batch["rainy"], "before": before, "restored": restored}

    made = {
        "encoder": networks.encoder(config),
        "decoder": networks.image_decoder(config, config.decoder),
    }
    # No command trains what a path names.
    sources = {name: Source(config.start_from, name, "") for name in _TRAINED}
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


def find_streaks(
    rainy: jax.Array,
    restored: jax.Array,
    *,
    thickness: int = 11,
    noise: float = 3 / 255,
) -> jax.Array:
    """Streaks among what was taken off rainy images: how much each hides of the scene.

    Of what all three channels lost, for rain has no colour of its own, the parts that are
    bright and thin: a white top-hat leaves veils and changed exposure out. A streak that
    hides the share a of a scene x shows x + a (1 - x).

    Args:
      rainy: Images [N, H, W, 3] in [0, 1].
      restored: The same without rain.
      thickness: In pixels; what is as thick in both directions is no streak.
      noise: Of less nothing is a streak.

    Returns:
      Opacities [N, H, W, 1] in [0, 1].
    """
    taken = (rainy - restored).min(axis=-1, keepdims=True)
    window = (1, thickness, thickness, 1)
    strides = (1, 1, 1, 1)
    eroded = lax.reduce_window(taken, jnp.inf, lax.min, window, strides, "SAME")
    opened = lax.reduce_window(eroded, -jnp.inf, lax.max, window, strides, "SAME")
    streaks = jnp.maximum(taken - opened - noise, 0)
    room = 1 - restored.mean(axis=-1, keepdims=True)
    # On white nothing can be told: a streak there hides as little as it shows.
    return jnp.minimum(streaks / jnp.maximum(room, 0.1), 1)


def enlarge(images: jax.Array, factors: jax.Array) -> jax.Array:
    """The middles of images [N, H, W, C], each enlarged to the whole by a factor [N]."""

    def enlarge_one(image, factor):
        sides = jnp.array(image.shape[:2], image.dtype)
        return jax.image.scale_and_translate(
            image,
            image.shape,
            spatial_dims=(0, 1),
            scale=jnp.full(2, factor),
            translation=(1 - factor) * sides / 2,
            method="linear",
        )

    return jax.vmap(enlarge_one)(images, factors)


def lay(opacity: jax.Array, clean: jax.Array) -> jax.Array:
    """Clean images [N, H, W, 3] under streaks of an opacity [N, H, W, 1]."""
    return clean + jnp.minimum(opacity, 1) * (1 - clean)


def _check(config) -> None:
    gain = config.streak_gain
    if len(gain) != 2 or not 0 < gain[0] <= gain[1]:
        raise ValueError(
            f"config.streak_gain={gain!r} must be the least and the greatest factor of "
            "the streaks, for example (0.5, 1.5)."
        )
    if config.streak_zoom < 1:
        raise ValueError(
            f"config.streak_zoom={config.streak_zoom} must be at least 1: up to so much "
            "larger streaks are laid."
        )
    if config.clean_weight < 0:
        raise ValueError(
            f"config.clean_weight={config.clean_weight} must not be negative."
        )
