"""The smallest stage: a 1x1 projection of the image learns to darken it.

It compiles in a second, for tests of the loop and not of a network. The file is also a
config: --config=tests/training/toy_stage.py:FOLDER, with photographs in FOLDER.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from configs import common
from ttl_jax import losses
from ttl_jax.models import layers
from ttl_jax.stages.stage import Origin, Stage
from ttl_jax.training import run


class Dimmer(nnx.Module):
    """A 1x1 convolution of an image that is brightened first; with `hidden`, two."""

    def __init__(self, *, brightness: float, hidden: int, rngs: nnx.Rngs):
        self.brightness = brightness
        if hidden:
            self.expand = layers.Pointwise(3, hidden, rngs=rngs)
        self.linear = layers.Pointwise(hidden or 3, 3, rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        x = self.brightness * image
        if hasattr(self, "expand"):
            x = nnx.tanh(self.expand(x))
        return self.linear(x)


SOURCE = Origin("teacher", "encoder", "--config=teacher.py")


def get_config(photographs, **changes):
    """The stage's config, on a folder of photographs."""
    config = common.get_config("smoke")
    config.stage = "tests.training.toy_stage"  # the name under any loader of this file
    config.dataset = "clean"
    config.clean = config.eval_clean = (f"folder:{photographs}",)
    config.crop_size = 8
    config.num_steps = 6
    config.eval_every = 3
    config.frozen_teacher = False
    config.start_from = ""  # run whose encoder learns further
    config.brightness = 1.0
    config.hidden = 0  # channels
    config.bad_steps = ()  # steps with a loss of NaN
    config.schedule = "plateau"
    config.min_window = 2
    config.patience = 1
    config.update(changes)
    return config


def train(config, workdir) -> dict[str, float]:
    """Trains a run; returns its last evaluation."""
    return run.open_run(config, workdir).train().evaluation


def make_stage(config) -> Stage:
    def is_bad(key):
        """Whether a step's key is that of one of the bad ones."""
        run = jax.random.key(config.seed)
        bad = [jax.random.fold_in(run, step) for step in config.bad_steps]
        return jnp.any(jnp.stack(bad) == key)

    def loss_fn(modules, batch, key):
        darker = modules["encoder"](batch["image"])
        distance = losses.distance(darker, batch["image"] / 2)
        if not config.bad_steps:
            return distance, {}
        fault = jnp.where(is_bad(key), jnp.nan, 0.0)
        return distance + fault, {"distance": distance, "fault": fault}

    def eval_fn(modules, batch, key):
        return {"mean": jnp.mean(modules["encoder"](batch["image"]), axis=(1, 2, 3))}

    def images_fn(modules, batch, key):
        return {"input": batch["image"], "dark": modules["encoder"](batch["image"])}

    network = functools.partial(
        Dimmer, brightness=config.brightness, hidden=config.hidden
    )
    teachers = {"teacher": network} if config.frozen_teacher else {}
    init_from = dict.fromkeys(teachers, SOURCE)
    if config.start_from:
        init_from["encoder"] = Origin(config.start_from, "encoder", "")
    return Stage(
        run="toy",
        modules={"encoder": network, **teachers},
        trainable=("encoder",),
        learning_rates={"encoder": config.learning_rate},
        init_from=init_from,
        loss_fn=loss_fn,
        eval_fn=eval_fn,
        images_fn=images_fn,
    )
