"""Evaluates a stage on its sets: metrics, and images to look at."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from ttl_jax.training import samples, sharding
from ttl_jax.training.step import make_eval_step


def make_evaluator(
    config, stage, networks, mesh, sets: Mapping[str, Any]
) -> Callable[[Any], tuple[dict[str, float], dict[str, np.ndarray]]]:
    """Returns `evaluate(state) -> (metrics, images)`.

    Metrics are named "<set>/<metric>", images (uint8 [H, W, 3]) "<set>/<names>/<row>".
    """
    eval_step = make_eval_step(config, stage, networks, mesh)
    # Every evaluation uses the same random numbers, for example for the blur.
    key = jax.random.key(config.seed)

    def evaluate_set(state, batches: Iterable):
        """Returns the metrics of a set, and the images of its first batch."""
        parts, shown = [], {}
        for i, rows in enumerate(batches):
            inputs = sharding.place_batch(mesh, rows), jax.random.fold_in(key, i)
            metrics, images = eval_step(state.weights, networks.frozen, *inputs)
            parts.append(metrics)
            shown = shown or images
        whole = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
        is_real = whole.pop("mask") > 0
        numbers = stage.summarize({name: v[is_real] for name, v in whole.items()})
        return numbers, samples.side_by_side(jax.device_get(shown), is_real)

    def evaluate(state):
        metrics, images = {}, {}
        for set_name, dataset in sets.items():
            numbers, shown = evaluate_set(state, dataset.batches())
            metrics |= {f"{set_name}/{name}": value for name, value in numbers.items()}
            images |= {f"{set_name}/{name}": image for name, image in shown.items()}
        return metrics, images

    return evaluate
