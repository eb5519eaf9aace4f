"""Adapts weights that remove rain to the user's photographs, without pairs."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from ttl_jax import losses
from ttl_jax.metrics import image_quality
from ttl_jax.stages import networks
from ttl_jax.stages.stage import (
    RESTORE,
    Stage,
    check_dataset,
    check_weights,
    origins_at,
)

_TRAINED = ("encoder", "decoder")
_SURE = 0.05  # opacity from which a wide streak counts fully


def make_stage(config) -> Stage:
    """Returns the adaptation of the weights that `config.start_from` names.

    A frozen copy of the weights removes the rain from the rainy photographs. The streaks
    in the removed part show the rain of this place and camera, without the scene. They are
    made stronger and larger and added to the clean photographs, which gives pairs for
    Eq. 2. A second term, with the weight `config.clean_weight`, keeps the clean
    photographs themselves unchanged.
    Note: the paper has no adaptation. The network does not learn rain that the frozen
    weights do not find at either size (see `find_streaks`). It does learn to remove what
    they mistake for rain, such as a lamp post.
    """
    check_dataset(config, "unpaired")
    losses.check_kind(config.image_loss, "config.image_loss")
    check_weights(config, "gradient_weight", "clean_weight")
    _check(config)

    def loss_fn(modules, batch, key):
        """Eq. 2 for clean photographs under streaks, and for the same without."""

        def distance(image):
            restored = networks.restore(modules, image)
            return networks.image_loss(config, restored, batch["clean"])

        opacity = lax.stop_gradient(_find_streaks(modules, batch["rainy"], "frozen_"))
        streaks = vary(key, opacity, gain=config.streak_gain, zoom=config.streak_zoom)
        laid = distance(add_streaks(streaks, batch["clean"]))
        clean = distance(batch["clean"])
        scalars = {"laid": laid, "clean": clean, "opacity": opacity.mean()}
        return laid + config.clean_weight * clean, scalars

    made = {
        "encoder": networks.encoder(config),
        "decoder": networks.image_decoder(config, config.decoder),
    }
    sources = origins_at(config.start_from, _TRAINED)
    return Stage(
        run="adapt",
        modules=made | {f"frozen_{name}": make for name, make in made.items()},
        trainable=_TRAINED,
        learning_rates=dict.fromkeys(_TRAINED, config.learning_rate),
        init_from=sources | {f"frozen_{name}": of for name, of in sources.items()},
        loss_fn=loss_fn,
        eval_fn=_evaluate,
        images_fn=_show,
        next_command=RESTORE,
    )


def _evaluate(modules, batch, key):
    """Returns the PSNR of clean photographs and the opacity of removed streaks, per image.

    Both are also given for the frozen weights, with "_before". More removed streaks may
    mean more rain removed, or damage; look at the images.
    """
    del key
    scores = {}
    for prefix, suffix in (("frozen_", "_before"), ("", "")):
        clean = jnp.clip(networks.restore(modules, batch["clean"], prefix), 0, 1)
        opacity = _find_streaks(modules, batch["rainy"], prefix)
        scores[f"clean_psnr{suffix}"] = image_quality.psnr(clean, batch["clean"])
        scores[f"opacity{suffix}"] = opacity.mean(axis=(1, 2, 3))
    return scores


def _show(modules, batch, key):
    del key
    rainy = batch["rainy"]
    before = networks.restore(modules, rainy, "frozen_")
    restored = networks.restore(modules, rainy)
    return {"rainy": rainy, "before": before, "restored": restored}


def _find_streaks(modules, rainy, prefix):
    return find_streaks(
        rainy, lambda image: jnp.clip(networks.restore(modules, image, prefix), 0, 1)
    )


# Pixels, at full and at half size; see `opacity_between`.
_THICKNESS = 11


def find_streaks(
    rainy: jax.Array,
    restore: Callable[[jax.Array], jax.Array],
    *,
    noise: float = 3 / 255,
) -> jax.Array:
    """Returns the opacity of streaks in rainy images: how much of the scene they hide.

    They are found in the change that `restore` makes, at full and at half size. A network
    that was trained on thin streaks does not remove wide ones, but at half size these are
    thin.

    Args:
      rainy: Images [N, H, W, 3] in [0, 1].
      restore: Removes rain from images of any size; its output is in [0, 1].
      noise: Differences at or below this value are ignored, in [0, 1].

    Returns:
      Opacities [N, H, W, 1] in [0, 1].
    """
    height, width = rainy.shape[1:3]
    thin = opacity_between(rainy, restore(rainy), thickness=_THICKNESS, noise=noise)
    small = _resize(rainy, height // 2, width // 2)
    restored = restore(small)
    wide = opacity_between(small, restored, thickness=_THICKNESS, noise=noise)
    # Enlarged again, these streaks are blurred. The difference between the image and the
    # enlarged scene is sharp, but also contains detail of the scene, so it counts only
    # near a streak.
    near = _resize(_windowed(lax.max, wide, 3), height, width) / _SURE
    scene = _resize(restored, height, width)
    wide = opacity_between(rainy, scene, thickness=2 * _THICKNESS - 1, noise=noise)
    return jnp.maximum(thin, jnp.minimum(near, 1) * wide)


def opacity_between(
    rainy: jax.Array, restored: jax.Array, *, thickness: int, noise: float
) -> jax.Array:
    """Returns opacities [N, H, W, 1] in [0, 1] of the streaks that were removed.

    Rain has no colour, so only a decrease in all three channels counts. A white top-hat
    keeps the bright and thin parts of the decrease, without veils or changed exposure. A
    streak of opacity a in front of a scene x has the value x + a (1 - x).

    Args:
      rainy: Images [N, H, W, 3] in [0, 1].
      restored: The same images without rain.
      thickness: Side in pixels. An object that is at least this large in both directions
        is not a streak.
      noise: Differences at or below this value are ignored, in [0, 1].
    """
    taken = jnp.maximum((rainy - restored).min(axis=-1, keepdims=True), 0)
    opened = _windowed(lax.max, _windowed(lax.min, taken, thickness), thickness)
    streaks = jnp.maximum(taken - opened - noise, 0)
    room = 1 - restored.mean(axis=-1, keepdims=True)
    # On white, a streak is invisible and its opacity unknown, so the divisor is bounded.
    return jnp.minimum(streaks / jnp.maximum(room, 0.1), 1)


def vary(
    key: jax.Array, opacity: jax.Array, *, gain: tuple[float, float], zoom: float
) -> jax.Array:
    """Returns streaks [N, H, W, 1] to add, drawn from those found in N images.

    Images are drawn with replacement, in proportion to the streaks found in them. Many
    photographs of a rainy day show rain in one part only. From crops without streaks,
    the network would learn to leave rain unchanged. Small batches, such as
    micro-batches, offer little choice.

    Args:
      opacity: Streaks found [N, H, W, 1].
      gain: Smallest and largest factor of the opacity, drawn uniformly per image.
      zoom: Largest enlargement; drawn per image from [1, zoom], log-uniformly.
    """
    keys = jax.random.split(key, 3)
    count = len(opacity)
    amounts = opacity.mean(axis=(1, 2, 3)) + 1e-6  # all images may be without streaks
    drawn = jax.random.categorical(keys[0], jnp.log(amounts), shape=(count,))
    factors = jax.random.uniform(keys[1], (count,), minval=gain[0], maxval=gain[1])
    zooms = 2 ** jax.random.uniform(keys[2], (count,), maxval=math.log2(zoom))
    return factors[:, None, None, None] * enlarge(opacity[drawn], zooms)


def enlarge(images: jax.Array, factors: jax.Array) -> jax.Array:
    """Returns the centres of images [N, H, W, C], enlarged to full size by factors [N]."""

    def enlarge_one(image, factor):
        shift = (1 - factor) * jnp.array(image.shape[:2], image.dtype) / 2
        return jax.image.scale_and_translate(
            image, image.shape, (0, 1), jnp.full(2, factor), shift, method="linear"
        )

    return jax.vmap(enlarge_one)(images, factors)


def add_streaks(opacity: jax.Array, clean: jax.Array) -> jax.Array:
    """Returns clean images [N, H, W, 3] with streaks of an opacity [N, H, W, 1] added."""
    return clean + jnp.minimum(opacity, 1) * (1 - clean)


def _resize(images, height, width):
    shape = len(images), height, width, images.shape[-1]
    return jax.image.resize(images, shape, "linear")


def _windowed(extremum, images, size):
    """Returns the extremum (lax.min or lax.max) of a square window around each pixel."""
    start = {lax.min: jnp.inf, lax.max: -jnp.inf}[extremum]
    strides = (1, 1, 1, 1)
    for window in ((1, size, 1, 1), (1, 1, size, 1)):
        images = lax.reduce_window(images, start, extremum, window, strides, "SAME")
    return images


def _check(config) -> None:
    gain, zoom = config.streak_gain, config.streak_zoom
    are_two = len(gain) == 2 and all(isinstance(one, int | float) for one in gain)
    if not are_two or not 0 < gain[0] <= gain[1] < math.inf:
        raise ValueError(
            f"config.streak_gain={gain!r} must be the smallest and the largest factor "
            "of the streaks, for example (0.5, 1.5)."
        )
    if not 1 <= zoom < math.inf:
        raise ValueError(
            f"config.streak_zoom={zoom} must be at least 1, and finite; it is the largest "
            "enlargement of streaks."
        )
