"""Task transfer learning for image deraining in JAX.

    import ttl_jax

    restorer = ttl_jax.load()
    restored = restorer.restore(image)

`load` and `load_encoder` return trained networks; `config` and `train` train new ones;
`score` evaluates them. `ttl_jax.models`, `losses`, `metrics` and `data` are the parts. Each
is imported on first use, so that `import ttl_jax` does not import JAX.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_collections import ConfigDict

    from ttl_jax.inference.encoder import Encoder
    from ttl_jax.inference.restorer import Restorer
    from ttl_jax.reports.scores.evaluation import Report
    from ttl_jax.training.run import Trained

__version__ = "0.2.0"
__all__ = [
    "config", "data", "load", "load_encoder", "losses", "metrics", "models", "score",  # pyright: ignore[reportUnsupportedDunderAll]
    "train",
]  # fmt: skip

_ROOMS = ("data", "losses", "metrics", "models")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"ttl_jax.{name}")
    raise AttributeError(f"module 'ttl_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(checkpoint: str | os.PathLike = "shipped") -> Restorer:
    """Returns a network that removes rain from arrays, by `Restorer.restore`.

    Args:
      checkpoint: Folder of a run, `best` inside it, a packed file, or weights included in
        the package: "shipped", "shipped@0.1".

    Raises:
      ValueError: If there are no weights, or they do not restore images.
    """
    from ttl_jax.inference.restorer import Restorer

    return Restorer.from_checkpoint(checkpoint)


def load_encoder(checkpoint: str | os.PathLike = "shipped") -> Encoder:
    """Returns a trained encoder, which computes features of images by `Encoder.embed`.

    Args:
      checkpoint: Weights, as for `load`; the run may be of any stage.

    Raises:
      ValueError: If there are no weights, or they contain no encoder.
    """
    from ttl_jax.inference.encoder import Encoder

    return Encoder.from_checkpoint(checkpoint)


def config(name: str, /, **fields: Any) -> ConfigDict:
    """Returns the config of a stage, a pipeline or an ablation.

    Args:
      name: Name of a config file and, after a colon, of a preset, such as "derain:small".
      **fields: Values of fields. A mapping changes fields within a field:
        `encoder={"attention_cell": 32}`.

    Raises:
      ValueError: If the name, the preset or a field is unknown, or a value has the wrong
        type.
    """
    from ttl_jax import config_files

    return config_files.load(name, fields)


def train(config: ConfigDict | str, workdir: str | os.PathLike = "runs") -> Trained:
    """Trains the runs of a config in order, each from its last saved step.

    Args:
      config: A config, or its name, as for `ttl_jax.config`.
      workdir: Folder of all runs; each has a subfolder.

    Returns:
      The last run, with its networks (`modules`), `evaluation` and `directory`.

    Raises:
      ValueError: If a field, an image or an earlier run is missing or invalid.
      FloatingPointError: If a loss or gradient is not finite.
      ttl_jax.stopping.Stopped: On SIGTERM or Ctrl-C, after the step is saved.
    """
    from ttl_jax import config_files
    from ttl_jax.training import runs

    if isinstance(config, str):
        config = config_files.load(config)
    return runs.train(config, workdir)[-1]


def score(
    methods: Mapping[str, Any] | str | os.PathLike = "shipped",
    data: Mapping[str, str] | str | Sequence[str] = (),
    **options: Any,
) -> Report:
    """Returns the scores that `python -m ttl_jax.evaluate` reports; `print` shows tables.

    Args:
      methods: Weights, or a mapping from names of methods to weights. Weights are the
        folder of a run, a packed file, "shipped", or an object with
        `restore(image) -> image`.
      data: Sources of pairs or of rainy photographs; a mapping gives each set a name.
      **options: Options of `ttl_jax.reports.scores.evaluation.score`, such as
        `protocols`, `baselines`, `niqe`, `recog`, `agreement`, `output`.

    Returns:
      The report. `per_image` is a data frame with one row per set, protocol, image and
      method; `summary` has means and intervals.

    Raises:
      ValueError: If an input is missing, unreadable or does not fit the others.
    """
    from ttl_jax.reports.scores import evaluation

    if not data and options.get("rainy") is None and methods:
        raise ValueError(
            "score needs rainy images: name them by data=..., such as data='sample/test', "
            "or by rainy=... with target=...; to compare results=... with target=... "
            "alone, give methods=()."
        )
    if isinstance(data, Mapping):
        data = [f"{name}={source}" for name, source in data.items()]
    return evaluation.score(methods, data, **options)  # pyright: ignore[reportArgumentType]
