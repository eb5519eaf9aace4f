"""A further transfer task: classify the kind and the level of a degradation.

Instead of rain or no rain, the classes are real rain, rendered rain, blur, noise, JPEG
artefacts and veil, each in bins, and clear photographs. No image is labelled by hand.
MaskDCPT (arXiv 2510.13282) reports that the accuracy in such a task and the PSNR of
restored images rise together.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ttl_jax import losses
from ttl_jax.metrics import classification
from ttl_jax.stages import image_degradations, networks
from ttl_jax.stages.stage import Stage, check_dataset, check_shares

_REAL_RAIN, _CLEAR = 0, 1
Degrade = Callable[[jax.Array, jax.Array, float, float], jax.Array]
# Bins of each kind; with real rain and clear photographs, they are the classes.
BINS: tuple[tuple[Degrade, float, float], ...] = (
    (image_degradations.streaks, 0.002, 0.006), (image_degradations.streaks, 0.006, 0.02), (image_degradations.streaks, 0.02, 0.06),
    (image_degradations.blur, 0.8, 1.5), (image_degradations.blur, 1.5, 3.0),
    (image_degradations.noise, 0.02, 0.06), (image_degradations.noise, 0.06, 0.15),
    (image_degradations.jpeg, 30, 60), (image_degradations.jpeg, 8, 30),
    (image_degradations.veil, 0.1, 0.35), (image_degradations.veil, 0.35, 0.7),
)  # fmt: skip
NUM_CLASSES = 2 + len(BINS)


def degrade(
    images: jax.Array, is_rainy: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Degrades the rain-free images at random.

    Args:
      images: Float [N, H, W, 3] in [0, 1].
      is_rainy: Whether it rains in an image, [N]; such an image stays as it is.

    Returns:
      The images, and their classes [N], int32: 0 real rain, 1 clear, 2 + i is `BINS[i]`.
    """
    keys = jax.random.split(key, len(BINS) + 1)
    drawn = jax.random.randint(keys[0], (len(images),), _CLEAR, NUM_CLASSES)
    classes = jnp.where(is_rainy == 1, _REAL_RAIN, drawn)
    spoiled = images
    for i, (function, low, high) in enumerate(BINS):
        chosen = (classes == 2 + i)[:, None, None, None]
        spoiled = jnp.where(chosen, function(images, keys[1 + i], low, high), spoiled)
    return spoiled, classes


def make_stage(config) -> Stage:
    """Returns the task: E_recog and a classifier of `NUM_CLASSES`, from random weights.

    Batches are those of `recog`. The run takes the place of `recog` in the distillation:
    `distill.teacher_runs={"recog": "degradations"}` and `distill.num_classes=13`.
    """
    check_dataset(config, "couples")
    if config.num_classes != NUM_CLASSES:
        raise ValueError(
            f"config.num_classes={config.num_classes}; this task has {NUM_CLASSES}."
        )
    check_shares(config, "masked_share")

    def loss_fn(modules, batch, key):
        keys = jax.random.split(key)
        image, classes = degrade(batch["image"], batch["label"], keys[0])
        image = networks.mask_patches(image, config.masked_share, keys[1])
        logits = modules["decoder"](modules["encoder"](image))
        loss = losses.classification(logits, classes)
        return loss, {"accuracy": (logits.argmax(-1) == classes).mean()}

    def eval_fn(modules, batch, key):
        image, classes = degrade(batch["image"], batch["label"], key)
        logits = modules["decoder"](modules["encoder"](image))
        return {
            "correct": (logits.argmax(-1) == classes).astype(jnp.float32),
            "score": jax.nn.log_softmax(logits)[:, _REAL_RAIN],
            "label": batch["label"],
        }

    return Stage(
        run="degradations",
        modules=networks.recognizer(config),
        trainable=("encoder", "decoder"),
        learning_rates=dict.fromkeys(("encoder", "decoder"), config.learning_rate),
        loss_fn=loss_fn,
        eval_fn=eval_fn,
        summaries={
            "accuracy": lambda m: m["correct"].mean(),
            "auc": lambda m: classification.roc_auc(m["score"], m["label"]),
        },
        next_command=f"main --config=recon:{config.preset} --workdir={{workdir}}",
    )
