"""Base of the classes that can be loaded from a checkpoint without a config."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from ttl_jax.data.files import decoding
from ttl_jax.weights import shipped, trained


class TrainedNetwork:
    """The networks of a run. Subclasses take the modules as arguments, by their names.

    Attributes:
      name: Name of the run, printable, for tables and messages.
      step: Number of updates of the run; 0 if there is no run.
      path: Resolved folder of the run, or packed file; None if there is no run.
    """

    factories: ClassVar[Mapping[str, Sequence[str]]]  # names in `models.FACTORIES`
    purpose: ClassVar[str]  # use of the network and its stage, for error messages
    recognizes = False  # whether "shipped" means the weights that recognize rain

    name: str
    step: int = 0
    path: pathlib.Path | None = None

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike | None = None) -> Self:
        """Loads the networks of a run.

        Args:
          path: Weights as for `trained.load`, such as `runs/derain` for the last step or
            `runs/derain/best`. None or "shipped" means the weights in the package.

        Raises:
          ValueError: If there are no such weights, they are damaged, or the run is of
            another stage.
        """
        if path is not None and os.fspath(path).endswith(".onnx"):
            raise ValueError(
                f"{path} is for onnxruntime; load it by ttl_jax.lite.load, or name the run "
                "that it was exported from."
            )
        path = shipped.find(path, recognizes=cls.recognizes)
        networks, metadata = trained.rebuild(path, cls.factories, purpose=cls.purpose)
        arguments = {**networks, "name": decoding.printable(trained.find_name(path))}
        network = cls(**arguments)
        network.step, network.path = metadata["step"], trained.find_run(path)
        return network
