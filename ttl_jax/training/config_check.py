"""Checks the config of a run: by itself, and against the earlier part of a resumed run."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from flax.traverse_util import flatten_dict
from jax.sharding import Mesh

from ttl_jax import config_fields, suggestions
from ttl_jax.data.loading.crop_sizes import find_crop_sizes
from ttl_jax.stages.stage import Stage
from ttl_jax.weights import flat_params

# Bytes of activations of a block, per channel and pixel of the features. This is half of
# what was measured on a CPU with `small` and four crops of 192 pixels (3.9 GiB).
_BYTES_PER_CHANNEL = 130


def check(config) -> None:
    """Checks the fields that every stage has.

    Raises:
      ValueError: If a value is invalid.
    """
    for name, field in config_fields.FIELDS.items():
        if name in config and field.rule and not field.rule.holds(config[name]):
            raise ValueError(f"config.{name}={config[name]!r}{field.rule.message}")


def check_start(config, stage: Stage) -> None:
    """Checks that a stage which keeps a share of its initial weights has such weights.

    Raises:
      ValueError: If a module that learns starts from random values, or if the best step
        would be chosen, since only the last step has the mean with the initial weights.
    """
    if config.start_share and config.best_metric:
        raise ValueError(
            f"config.start_share={config.start_share} changes the last step only, so "
            f"config.best_metric={config.best_metric!r} would compare it with steps "
            "without the mean; set best_metric='' or start_share=0.0."
        )
    random = sorted(set(stage.trainable) - set(stage.init_from))
    if config.start_share and random:
        raise ValueError(
            f"config.start_share={config.start_share} keeps a share of the initial "
            f"weights, but {random} of stage {stage.run!r} start at random; use 0.0."
        )


def check_modules(config, stage: Stage, checked: Collection[Stage] = ()) -> None:
    """Checks that all networks of a stage can be made; no arrays are allocated.

    Args:
      checked: Stages whose networks were made before; equal ones are not made again.

    Raises:
      ValueError: If a network cannot be made; the message names the field of its sizes.
    """
    made = [make for other in checked for make in other.modules.values()]
    for name, make in stage.modules.items():
        form = make.func, make.keywords
        if any(form == (other.func, other.keywords) for other in made):
            continue
        try:
            flat_params.split_factory(make)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise ValueError(
                f"{_find_fields(config, make.keywords)}the module {name!r} of stage "
                f"{stage.run!r} cannot be made: {error}"
            ) from error
        made.append(make)


def _find_fields(config, arguments: Mapping[str, Any]) -> str:
    """Returns "config.FIELD: " for the field with most of the arguments, or ""."""
    shared = {
        name: sum(arguments.get(key) == value for key, value in field.items())
        for name, field in config.to_dict().items()
        if isinstance(field, dict)
    }
    most = max(shared.values(), default=0)
    fields = [f"config.{name}" for name, count in shared.items() if count == most > 0]
    return f"{' or '.join(fields)}: " if fields else ""


def check_batches(config, mesh: Mesh) -> None:
    """Checks that training and evaluation batches can be divided over the devices.

    Raises:
      ValueError: If one of them cannot.
    """
    fields = {"batch_size": config.num_micro_batches, "eval_batch_size": 1}
    for field, parts in fields.items():
        if config[field] % (mesh.size * parts):
            in_parts = f" in {parts} parts each" if parts > 1 else ""
            raise ValueError(
                f"config.{field}={config[field]} does not divide over {mesh.size} "
                f"devices{in_parts}; choose a multiple of {mesh.size * parts}."
            )


def check_memory(config, mesh: Mesh) -> None:
    """Checks that the activations of an update can fit into the memory of a CPU machine.

    Without this check, the system would kill the process after minutes. The estimate is
    half of what was measured, so that no config that works is rejected.

    Raises:
      ValueError: If they cannot fit; the message names the largest possible crop.
    """
    device = mesh.devices.flat[0]
    is_ours = config.get("architecture", "aglf_vit") == "aglf_vit"
    if device.platform != "cpu" or not is_ours or config.encoder.remat:
        return  # nothing was measured, or the activations are not kept
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    num_images = config.batch_size / config.num_micro_batches
    per_pixel = num_images * config.encoder.num_blocks * _BYTES_PER_CHANNEL
    per_pixel *= config.encoder.width / config.encoder.stem_stride**2
    most = int((memory / per_pixel) ** 0.5)
    # The margin is cut off before the network.
    largest = find_crop_sizes(config).largest - 2 * config.get("crop_margin", 0)
    if largest > most:
        raise ValueError(
            f"Crops of {largest} pixels with config.batch_size={config.batch_size} need "
            f"more than the {memory / 2**30:.0f} GiB of this machine; use crops of at most "
            f"{most} pixels, a smaller batch, more config.num_micro_batches, or "
            "config.encoder.remat=True."
        )


def as_json(config) -> dict[str, Any]:
    """Returns a config as values of JSON, with lists instead of tuples."""
    return json.loads(json.dumps(config.to_dict()))


def check_unchanged(config, saved: Mapping[str, Any], *, run: str) -> None:
    """Checks that a run resumes with the config with which it was started.

    Fields that do not change an update may differ, as `config_fields` marks them. If
    only one of the configs has a field, it counts as unchanged if it is zero, empty or
    False.

    Raises:
      ValueError: If a field changed that must not change; the message names all of them.
    """
    old, new = (flatten_dict(tree, sep=".") for tree in (saved, as_json(config)))
    changes = []
    for name in sorted(old.keys() | new.keys()):
        was, is_now = old.get(name), new.get(name)
        in_both = name in old and name in new
        has_changed = was != is_now if in_both else was or is_now
        if has_changed and not _may_change(name, config):
            changes.append(f"{name} was {was!r}, is {is_now!r}")
    _refuse(changes, run, "its config")


def check_start_share(config, step: int, saved: Mapping[str, Any], *, run: str) -> None:
    """Checks that the mean with the initial weights is taken once, after the last update.

    Args:
      step: Last saved step of the run.
      saved: Config of that step.

    Raises:
      ValueError: If `start_share` would be applied a second time, or never.
    """
    if not config.start_share:
        return
    is_mixed = step == saved["num_steps"]
    if is_mixed and step < config.num_steps:
        raise ValueError(
            f"{run} ended at step {step} with start_share={config.start_share}: its "
            "weights are a mean with those from which it started, which cannot be trained "
            f"further to num_steps={config.num_steps}. Train another --config.run=NAME."
        )
    if not is_mixed and step >= config.num_steps:
        raise ValueError(
            f"{run} is at step {step}: with num_steps={config.num_steps} no update is left, "
            f"after which start_share={config.start_share} takes a mean with the initial "
            f"weights. Use num_steps above {step}, or train another --config.run=NAME."
        )


def _may_change(name: str, config) -> bool:
    if name == "encoder.remat":  # recomputes the same values
        return True
    field = config_fields.FIELDS.get(name.split(".")[0])
    resume = field.resume if field else config_fields.FIXED
    if resume == config_fields.EVALUATION:
        return not config.best_metric
    return resume == config_fields.SAFE


def check_same_listing(new: Sequence[str], old: Sequence[str], *, run: str) -> None:
    """Checks that a run resumes with the images with which it was started.

    Raises:
      ValueError: If images were added, removed or changed; the message names up to five.
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
    """Checks that the earlier runs from which a run started have not changed.

    Raises:
      ValueError: If the source of a module was trained again; the message names each.
    """
    changes = [
        f"{module} came from {old.get(module)}, now {new.get(module)}"
        for module in sorted(set(old) | set(new))
        if old.get(module) != new.get(module)
    ]
    _refuse(changes, run, "an earlier run that it uses")


def _refuse(changes: list[str], run: str, what: str) -> None:
    if not changes:
        return
    shown = suggestions.name_some(changes, "; ", most=5)
    raise ValueError(
        f"{run} cannot resume: {what} changed since it was started ({shown}). "
        "Undo the change, or train in another --workdir."
    )
