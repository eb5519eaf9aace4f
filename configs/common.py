"""Fields that all stages share, and the presets `:smoke :tiny :small :base :paper`.

A preset is the argument after the colon of --config=configs/STAGE.py:PRESET. `paper`
follows the paper, and `smoke` is for tests. `tiny`, `small` and `base` are for use, the
smallest network first. The default is `small`. `ttl_jax/config_fields.py` lists all
fields with their defaults. A stage's config starts from `get_config(preset)` and
changes fields. After that, --config.FIELD=VALUE changes any field.
"""

from collections.abc import Collection
from typing import Any

from ml_collections import ConfigDict

from ttl_jax import suggestions
from ttl_jax.config_fields import FIELDS
from ttl_jax.presets import DEFAULT_PRESET, PRESETS

# Fields that name photographs, their shares and their evaluation sets.
DATA_FIELDS = tuple(
    form.format(kind)
    for kind in ("rainy", "clean", "pairs")
    for form in ("{}", "{}_weights", "eval_{}")
)

_CHANGES = {
    # Values of the paper's section Training details. Where the paper leaves something
    # open, a `Note:` in the code says what we chose.
    "paper": {
        "crop_size": 256,
        "mirror": False,
        "learning_rate": 4e-4,
        "schedule": "plateau",
        "clip_norm": 0.0,
        "ema_decay": 0.0,
    },
    # For tests only.
    "smoke": {
        "crop_size": 16,
        "batch_size": 4,
        "eval_batch_size": 4,
        "num_eval": 4,
        "num_steps": 2,
        "warmup_steps": 0,
        "log_every": 1,
        "eval_every": 2,
        "num_samples": 0,
        "checkpoint_every": 2,
    },
}


def get_config(preset: str | None = None) -> Any:
    """Returns a `ConfigDict` with the shared fields of a preset.

    Args:
      preset: smoke, tiny, small, base or paper; None or "" means small.

    Raises:
      ValueError: If the preset is unknown.
    """
    preset = preset or DEFAULT_PRESET
    if preset not in PRESETS:
        raise ValueError(f"Unknown preset {preset!r}; choose from {list(PRESETS)}.")
    config = ConfigDict({name: field.default for name, field in FIELDS.items()})
    config.preset = preset
    for name in ("encoder", "decoder", "recon_decoder"):
        config[name] = ConfigDict(PRESETS[preset][name.removeprefix("recon_")])
    config.update(_CHANGES.get(preset, {}))
    return config


def use_lists(config) -> list[str]:
    """Makes a config evaluate on the lists that `launch/lists_by_scene.py` writes.

    Returns:
      Sources of rainy and clean photographs and of pairs, to train on.
    """
    kinds = ("rainy", "clean", "pairs")
    for kind in kinds:
        config[f"eval_{kind}"] = (f"list:runs/lists/{kind}_validation.txt",)
    return [f"list:runs/lists/{kind}_train.txt" for kind in kinds]


def check_choices(config, field: str, known: Collection[str] | None = None) -> None:
    """Raises ValueError unless a field is a tuple of different values, not empty.

    Args:
      known: Possible values; None allows all.
    """
    values = config[field]
    if not isinstance(values, tuple) or not values or len(set(values)) < len(values):
        raise ValueError(
            f"config.{field}={values!r} must be a tuple of different values, not empty."
        )
    if known is None:
        return
    for value in values:
        if value not in known:
            hint = suggestions.known_and_hint(value, known)
            raise ValueError(
                f"config.{field}={values!r}: {value!r} is unknown; choose from {hint}"
            )


def check_stages(config, stages: tuple[str, ...]) -> None:
    """Raises ValueError if `stages` was changed, for a planner that does not read it."""
    if config.stages != stages:
        raise ValueError(
            f"config.stages={config.stages!r}: this config needs {stages}. Leave the "
            "field as it is, or train one stage by its own config."
        )


def without_data(run) -> None:
    """Sets the fields of a config that name data to their defaults, adding missing ones."""
    with run.unlocked():
        run.update({field: FIELDS[field].default for field in DATA_FIELDS})


def follow(config, other, but: tuple[str, ...] = ()) -> None:
    """Makes the fields of a config follow those of another, until they are set.

    Args:
      config: Config of a stage.
      other: Config to follow, in all fields that both have.
      but: Fields that do not follow.
    """
    for field in set(config) & set(other) - set(but):
        if isinstance(other[field], ConfigDict):
            follow(config[field], other[field])
        else:
            config[field] = other.get_oneway_ref(field)
