"""Checks of a run's config, and against the run it goes on with."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jax.sharding import Mesh

from ttl_jax.training import optimizer, sharding

# Fields that may differ when a run goes on: they do not change what an update computes
# from its batch, or (num_steps) are there to be raised.
SAFE_FIELDS = (
    "num_steps",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "keep_checkpoints",
    "num_samples",
    "num_threads",
    "num_workers",
    "prefetch",
    "cache_gib",
    "max_replaced",
    "skip_bad_batches",
    "fsdp",
)
# Safe too, unless they decide which step is the best from here on.
EVALUATION_FIELDS = (
    "best_metric",
    "eval_rainy",
    "eval_clean",
    "eval_pairs",
    "eval_batch_size",
    "num_eval",
)
_POSITIVE = (
    "num_steps",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "keep_checkpoints",
    "batch_size",
    "eval_batch_size",
    "crop_size",
    "num_micro_batches",
    "learning_rate",
    "encoder_learning_rate",
    "patience",
    "min_window",
)
_NOT_NEGATIVE = (
    "num_pairs",
    "num_eval",
    "num_samples",
    "clip_norm",
    "ema_decay",
    "warmup_steps",
    "seed",
    "num_threads",
    "num_workers",
    "prefetch",
    "cache_gib",
    "max_replaced",
    "skip_bad_batches",
)
_SOURCES = ("rainy", "clean", "pairs", "eval_rainy", "eval_clean", "eval_pairs")
_CHOICES = {
    "compute_dtype": ("float32", "bfloat16"),
    "schedule": optimizer.KINDS,
}


def check(config) -> None:
    """Checks the values that every stage reads.

    Raises:
      ValueError: Naming the field, its value and what was expected.
    """
    for field in _POSITIVE:
        if field in config and not config[field] > 0:
            raise ValueError(
                f"config.{field}={config[field]} must be greater than zero."
            )
    for field in _NOT_NEGATIVE:
        if config[field] < 0:
            raise ValueError(f"config.{field}={config[field]} must not be negative.")
    if not 0 <= config.whole_share <= 1:
        raise ValueError(
            f"config.whole_share={config.whole_share} is out of range; use 0 to 1."
        )
    for field in _SOURCES:
        names = config[field]
        if not isinstance(names, tuple) or not all(isinstance(n, str) for n in names):
            raise ValueError(
                f"config.{field}={names!r} must be names of sources, for example "
                f"--config.{field}=folder:PATH or \"('folder:A','folder:B')\"."
            )
    if not all(isinstance(name, str) for name in config.exclude):
        raise ValueError(
            f"config.exclude={config.exclude!r} must be paths of text files, for "
            "example --config.exclude=duplicates.txt."
        )
    for field, choices in _CHOICES.items():
        if config[field] not in choices:
            raise ValueError(
                f"config.{field}={config[field]!r}; choose one of {choices}."
            )


def check_batches(config, mesh: Mesh) -> None:
    """Checks that training and evaluation batches divide over the devices.

    Raises:
      ValueError: If one does not.
    """
    sharding.check_batch_size(
        mesh,
        config.batch_size,
        field="config.batch_size",
        multiple=config.num_micro_batches,
    )
    sharding.check_batch_size(
        mesh, config.eval_batch_size, field="config.eval_batch_size"
    )


def as_json(config) -> dict[str, Any]:
    """Returns a config as JSON stores it: plain values, tuples as lists."""
    return json.loads(json.dumps(config.to_dict()))


def check_unchanged(config, saved: Mapping[str, Any], *, run: str) -> None:
    """Checks that a run goes on with the config it was started with.

    A field that there was not yet is the same where it is off: zero, empty or False.

    Raises:
      ValueError: Naming each field that differs and is not one of `SAFE_FIELDS`, nor of
        `EVALUATION_FIELDS` where they choose no best step.
    """
    safe = SAFE_FIELDS + (() if config.best_metric else EVALUATION_FIELDS)
    old, new = _flatten(saved), _flatten(as_json(config))
    changes = [
        f"{field} was {old.get(field)!r}, is {new.get(field)!r}"
        for field in sorted(set(old) | set(new))
        if old.get(field) != new.get(field)
        and (field in old or new[field])
        and field.split(".")[0] not in safe
    ]
    _refuse(changes, run, "its config")


def check_same_listing(new: Sequence[str], old: Sequence[str], *, run: str) -> None:
    """Checks that a run goes on with the images it was started with.

    Raises:
      ValueError: Naming up to five images that came, went or changed.
    """
    old = [str(line) for line in old] if isinstance(old, list) else []
    added, removed = sorted(set(new) - set(old)), sorted(set(old) - set(new))
    changes = [f"new: {line}" for line in added] + [f"gone: {line}" for line in removed]
    if not changes and list(new) != list(old):
        changes = ["their order"]
    _refuse(changes, run, "its training images")


def check_same_origins(
    new: Mapping[str, Mapping], old: Mapping[str, Mapping], *, run: str
) -> None:
    """Checks that the earlier runs a run was started from are still the same.

    Raises:
      ValueError: Naming each module whose source was trained again meanwhile.
    """
    changes = [
        f"{module} came from {old.get(module)}, now {new.get(module)}"
        for module in sorted(set(old) | set(new))
        if old.get(module) != new.get(module)
    ]
    _refuse(changes, run, "an earlier run it started from")


def _refuse(changes: list[str], run: str, what: str) -> None:
    if not changes:
        return
    shown = "; ".join(changes[:5])
    more = f"; and {len(changes) - 5} more" if len(changes) > 5 else ""
    raise ValueError(
        f"{run} cannot go on: {what} changed since it was started ({shown}{more}). "
        "Restore that, or train in another --workdir."
    )


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
