"""A training stage as a value: its modules, which of them learn, their start, the loss.

The training loop knows nothing else about a task. A new task is one module with a
function `make_stage(config) -> Stage` and one config that names it.
"""

import dataclasses
import functools
import importlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

RESTORE = "derain PHOTOS --checkpoint {run} --output restored"  # a `next_command`
Modules = Mapping[str, Callable[..., Any]]
Batch = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Origin:
    """Origin of a module's initial values.

    Attributes:
      run: Folder of the earlier run in the working directory, or another path of trained
        weights.
      module: Name of the module in that run.
      command: Flags of `ttl_jax.main` that train the run, for the message if it is
        missing; empty if no command is known.
    """

    run: str
    module: str
    command: str = dataclasses.field(compare=False)


def origins_at(path: str, modules: Sequence[str]) -> dict[str, Origin]:
    """Returns sources for modules that start from the weights at a path."""
    return {module: Origin(path, module, command="") for module in modules}


def check_shares(config, *fields: str) -> None:
    """Raises ValueError if a field of a config is outside [0, 1]; the message names it."""
    for field in fields:
        if not 0 <= config[field] <= 1:
            raise ValueError(
                f"config.{field}={config[field]} is out of range; use 0 to 1."
            )


def check_dataset(config, *kinds: str) -> None:
    """Raises ValueError unless `config.dataset` is of a kind that the stage reads."""
    if config.dataset not in kinds:
        raise ValueError(
            f"config.dataset={config.dataset!r}: stage {config.stage!r} reads "
            f"{' or '.join(kinds)}."
        )


def check_weights(config, *fields: str) -> None:
    """Raises ValueError if a field of a config is negative or not finite."""
    for field in fields:
        if not 0 <= config[field] < math.inf:
            raise ValueError(
                f"config.{field}={config[field]} must be zero or more, and finite."
            )


@dataclasses.dataclass(frozen=True)
class Stage:
    """One complete task.

    Attributes:
      run: Default name of the run's folder.
      modules: Factories `make(rngs=...)` by module name, each a `functools.partial` of a
        function of `ttl_jax.models`; the names are the top level of the checkpoint.
      trainable: Names of the modules that learn. The others are frozen: no gradient, no
        optimizer state, not saved.
      learning_rates: Initial learning rate by trainable module.
      loss_fn: `(modules, batch, key) -> (loss, scalars)`; images arrive as float in
        [0, 1], other arrays as they are.
      eval_fn: `(modules, batch, key) -> {metric: [N] per image}`.
      init_from: Sources of the initial values, by module name.
      summaries: Metrics of a whole evaluation set by name, each a function of the
        per-image metrics; empty: the mean of each metric.
      images_fn: `(modules, batch, key) -> {name: [N, H, W, 3]}`; or None. It gets the
        batch and key of `eval_fn`. Its images are clipped to [0, 1] and shown side by
        side in this order.
      next_command: Command of `ttl-jax` that uses the result, for the end of the log.
        {run} stands for the run's folder, {workdir} for the folder of all runs. Empty: no
        command is known.

    Raises:
      ValueError: If the names contradict each other, a frozen module has no source, a
        learning rate is not positive and finite, or a checkpoint cannot describe a factory.
    """

    run: str
    modules: Mapping[str, functools.partial]
    trainable: Sequence[str]
    learning_rates: Mapping[str, float]
    loss_fn: Callable[[Modules, Batch, jax.Array], tuple[jax.Array, dict]]
    eval_fn: Callable[[Modules, Batch, jax.Array], dict[str, jax.Array]]
    init_from: Mapping[str, Origin] = dataclasses.field(default_factory=dict)
    summaries: Mapping[str, Callable[[Mapping[str, np.ndarray]], float]] = (
        dataclasses.field(default_factory=dict)
    )
    images_fn: Callable[[Modules, Batch, jax.Array], dict[str, jax.Array]] | None = None
    next_command: str = ""

    def __post_init__(self):
        where = f"Stage {self.run!r}"
        for field in ("trainable", "init_from", "learning_rates"):
            if unknown := sorted(set(getattr(self, field)) - set(self.modules)):
                raise ValueError(
                    f"{where}: {field} names {unknown}, but its modules are "
                    f"{sorted(self.modules)}."
                )
        if set(self.learning_rates) != set(self.trainable):
            raise ValueError(
                f"{where} trains {sorted(self.trainable)} but has learning rates for "
                f"{sorted(self.learning_rates)}; give one for each."
            )
        for name, rate in self.learning_rates.items():
            if not 0 < rate < math.inf:
                raise ValueError(
                    f"{where}: the learning rate of {name!r} is {rate}; it must be "
                    "greater than zero, and finite."
                )
        # Otherwise a student would silently be distilled from random teachers.
        if orphans := sorted(set(self.frozen) - set(self.init_from)):
            raise ValueError(
                f"{where} freezes {orphans}, which nothing loads: a frozen module needs "
                "an entry in init_from, or to be trainable."
            )
        for name in self.trainable:
            # Otherwise the first checkpoint would fail, perhaps after hours of training.
            try:
                self.describe_module(name)
            except (AttributeError, TypeError) as error:
                raise ValueError(
                    f"{where} cannot save the factory of {name!r} ({error}); it must be a "
                    "functools.partial of a function, with keyword arguments that JSON "
                    "can store."
                ) from error

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the modules that do not learn."""
        return tuple(name for name in self.modules if name not in self.trainable)

    def summarize(self, per_image: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Returns the metrics of an evaluation set from its per-image metrics [N]."""
        if self.summaries:
            return {name: float(fn(per_image)) for name, fn in self.summaries.items()}
        return {name: float(np.mean(values)) for name, values in per_image.items()}

    def describe_module(self, name: str) -> dict[str, Any]:
        """Returns the factory and the arguments of a module, as values of JSON."""
        make = self.modules[name]
        description = {"factory": make.func.__name__, **make.keywords}
        return json.loads(json.dumps(description))


# Stages whose file has another name, so that `derain` only names the command.
_FILES = {"derain": "rain_removal"}


def make_stage(config) -> Stage:
    """Returns the stage that `config.stage` names.

    The field is the name of a module in `ttl_jax.stages`, or the dotted path of any
    importable module with a `make_stage(config)`.

    Raises:
      ValueError: If there is no such module, or it has no `make_stage`.
    """
    path = config.stage
    if "." not in path:
        path = f"{__package__}.{_FILES.get(path, path)}"
    make = find_function(path, "make_stage", f"config.stage={config.stage!r}")
    return make(config)


def find_function(path: str, name: str, field: str) -> Callable[..., Any]:
    """Returns a function of a module that a config names by its dotted path.

    Args:
      field: Field and value of the config, for error messages.

    Raises:
      ValueError: If there is no such module, or it has no such function.
    """
    fault = ValueError(
        f"{field} names no module {path!r}. Give the dotted path of a module; for a stage, "
        "the name of a file in ttl_jax/stages is enough."
    )
    if path == __name__ or not all(map(str.isidentifier, path.split("."))):
        raise fault
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        # A module that this one imports may be missing, too.
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise
        raise fault from None
    if not hasattr(module, name):
        raise ValueError(f"{field}: {module.__file__} has no function {name}(config).")
    return getattr(module, name)
