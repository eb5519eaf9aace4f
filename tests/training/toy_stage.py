"""The smallest stage: a 1x1 projection of the image learns to darken it.

It compiles in a second, for tests of the loop and not of a network.
"""

import functools

import jax.numpy as jnp

from configs import common
from ttl_jax import losses, models
from ttl_jax.stages.stage import Source, Stage

SOURCE = Source("teacher", "encoder", "python -m ttl_jax.main --config=teacher.py")


def get_config(photographs, **changes):
    """The stage's config, on a folder of photographs."""
    config = common.get_config("smoke")
    config.stage = __name__
    config.dataset = "clean"
    config.clean = config.eval_clean = (f"folder:{photographs}",)
    config.crop_size = 8
    config.num_steps = 6
    config.eval_every = 3
    config.frozen_teacher = False
    config.schedule = "plateau"
    config.min_window = 2
    config.patience = 1
    config.update(changes)
    return config


def make_stage(config) -> Stage:
    def loss_fn(modules, batch, key):
        darker = modules["encoder"](batch["image"])
        return losses.distance(darker, batch["image"] / 2), {}

    def eval_fn(modules, batch, key):
        return {"mean": jnp.mean(modules["encoder"](batch["image"]), axis=(1, 2, 3))}

    network = functools.partial(models.make_projection, width=3)
    teachers = {"teacher": network} if config.frozen_teacher else {}
    return Stage(
        run="toy",
        modules={"encoder": network, **teachers},
        trainable=("encoder",),
        learning_rates={"encoder": config.learning_rate},
        init_from=dict.fromkeys(teachers, SOURCE),
        loss_fn=loss_fn,
        eval_fn=eval_fn,
    )
