"""Weights that remove rain, adapted to photographs of one's own, of which none are pairs."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from ttl_jax import losses
from ttl_jax.metrics import image_quality
from ttl_jax.stages import networks
from ttl_jax.stages.stage import Stage, sources_at

_TRAINED = ("encoder", "decoder")
_SURE = 0.05  # opacity of a wide streak that is surely one


def make_stage(config) -> Stage:
    """Returns the adaptation of trained weights, those of `config.start_from`.

    The weights as they were, frozen, take the rain off one's own rainy photographs. The
    streaks among what they took off are rain of the place and the camera without a scene:
    laid on one's own clean photographs, stronger and larger than they were, they make
    pairs (Eq. 2). The clean photographs are wanted of themselves too, with the weight
    `config.clean_weight`.
    Note: the paper adapts nothing. What the frozen weights see as rain in neither size
    (see `find_streaks`) is never laid, and what they wrongly take for it, such as a
    lamp post, is.
    """
    losses.check_kind(config.image_loss, "config.image_loss")
    _check(config)

    def distance(modules, image, wanted):
        return losses.reconstruction(
            _restore(modules, image),
            wanted,
            kind=config.image_loss,
            gradient_weight=config.gradient_weight,
        )

    def loss_fn(modules, batch, key):
        """Eq. 2 of clean photographs under streaks, and of the same without."""
        opacity = lax.stop_gradient(_find_streaks(modules, batch["rainy"], "frozen_"))
        streaks = vary(key, opacity, gain=config.streak_gain, zoom=config.streak_zoom)
        laid = distance(modules, lay(streaks, batch["clean"]), batch["clean"])
        clean = distance(modules, batch["clean"], batch["clean"])
        scalars = {"laid": laid, "clean": clean, "opacity": opacity.mean()}
        return laid + config.clean_weight * clean, scalars

    made = {
        "encoder": networks.encoder(config),
        "decoder": networks.image_decoder(config, config.decoder),
    }
    sources = sources_at(config.start_from, _TRAINED)
    return Stage(
        run="adapt",
        modules=made | {f"frozen_{name}": make for name, make in made.items()},
        trainable=_TRAINED,
        learning_rates=dict.fromkeys(_TRAINED, config.learning_rate),
        init_from=sources | {f"frozen_{name}": of for name, of in sources.items()},
        loss_fn=loss_fn,
        eval_fn=_evaluate,
        images_fn=_show,
    )


def _evaluate(modules, batch, key):
    """How far clean photographs stay, and the streaks taken off rainy ones.

    Each also as the frozen weights do it, "_before". More streaks may be more rain, or
    damage: look at the images.
    """
    del key
    scores = {}
    for prefix, suffix in (("frozen_", "_before"), ("", "")):
        clean = jnp.clip(_restore(modules, batch["clean"], prefix), 0, 1)
        opacity = _find_streaks(modules, batch["rainy"], prefix)
        scores[f"clean_psnr{suffix}"] = image_quality.psnr(clean, batch["clean"])
        scores[f"opacity{suffix}"] = opacity.mean(axis=(1, 2, 3))
    return scores


def _show(modules, batch, key):
    del key
    before = _restore(modules, batch["rainy"], "frozen_")
    restored = _restore(modules, batch["rainy"])
    return {"rainy": batch["rainy"], "before": before, "restored": restored}


def _restore(modules, image, prefix=""):
    features = modules[f"{prefix}encoder"](image)
    return modules[f"{prefix}decoder"](features, image)


def _find_streaks(modules, rainy, prefix):
    def restore(image):
        return jnp.clip(_restore(modules, image, prefix), 0, 1)

    return find_streaks(rainy, restore)


def find_streaks(
    rainy: jax.Array,
    restore: Callable[[jax.Array], jax.Array],
    *,
    thickness: int = 11,
    noise: float = 3 / 255,
) -> jax.Array:
    """Streaks in rainy images, thin and wide: how much each hides of the scene.

    Those that are taken off the images, and those that are taken off the images at half
    their size: a network that was trained on thin streaks leaves wide ones, which are
    thin there.

    Args:
      rainy: Images [N, H, W, 3] in [0, 1].
      restore: Takes rain off images of any size, into [0, 1].
      thickness: In pixels, of either size; what is as thick in both directions is no
        streak.
      noise: Of less nothing is a streak.

    Returns:
      Opacities [N, H, W, 1] in [0, 1].
    """
    height, width = rainy.shape[1:3]
    thin = opacity_between(rainy, restore(rainy), thickness=thickness, noise=noise)
    small = _resize(rainy, height // 2, width // 2)
    restored = restore(small)
    wide = opacity_between(small, restored, thickness=thickness, noise=noise)
    # Enlarged again, what was found is blurred. What the image has more than the enlarged
    # scene is sharp, but detail of the scene too where no streak is near.
    near = _resize(_windowed(lax.max, wide, 3), height, width) / _SURE
    wide = opacity_between(
        rainy,
        _resize(restored, height, width),
        thickness=2 * thickness - 1,
        noise=noise,
    )
    return jnp.maximum(thin, jnp.minimum(near, 1) * wide)


def opacity_between(
    rainy: jax.Array, restored: jax.Array, *, thickness: int, noise: float
) -> jax.Array:
    """Opacities [N, H, W, 1] in [0, 1] of the streaks that images had before.

    Of what all three channels lost, for rain has no colour of its own, the parts that are
    bright and thin: a white top-hat leaves veils and changed exposure out. A streak that
    hides the share a of a scene x shows x + a (1 - x).
    """
    taken = jnp.maximum((rainy - restored).min(axis=-1, keepdims=True), 0)
    opened = _windowed(lax.max, _windowed(lax.min, taken, thickness), thickness)
    streaks = jnp.maximum(taken - opened - noise, 0)
    room = 1 - restored.mean(axis=-1, keepdims=True)
    # On white nothing can be told: a streak there hides as little as it shows.
    return jnp.minimum(streaks / jnp.maximum(room, 0.1), 1)


def vary(
    key: jax.Array, opacity: jax.Array, *, gain: tuple[float, float], zoom: float
) -> jax.Array:
    """Streaks [N, H, W, 1] to lay, of those that were found in as many images.

    Images are drawn with replacement, by how much was found in them: many a photograph of
    a rainy day has rain in a part of it only, and streaks that are not there teach to
    leave rain alone. With few images there is little to choose from, as in micro-batches.
    Each is multiplied by a factor of `gain`, evenly between the two, and enlarged by one of
    1 to `zoom`, evenly in the logarithm.
    """
    keys = jax.random.split(key, 3)
    count = len(opacity)
    amounts = opacity.mean(axis=(1, 2, 3)) + 1e-6  # none may be found in any
    drawn = jax.random.categorical(keys[0], jnp.log(amounts), shape=(count,))
    factors = jax.random.uniform(keys[1], (count,), minval=gain[0], maxval=gain[1])
    zooms = 2 ** jax.random.uniform(keys[2], (count,), maxval=math.log2(zoom))
    return factors[:, None, None, None] * enlarge(opacity[drawn], zooms)


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


def _resize(images, height, width):
    shape = len(images), height, width, images.shape[-1]
    return jax.image.resize(images, shape, "linear")


def _windowed(least_or_greatest, images, size):
    """The least or greatest value of a square window around each pixel."""
    start = {lax.min: jnp.inf, lax.max: -jnp.inf}[least_or_greatest]
    for window in ((1, size, 1, 1), (1, 1, size, 1)):
        images = lax.reduce_window(
            images, start, least_or_greatest, window, (1, 1, 1, 1), "SAME"
        )
    return images


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
