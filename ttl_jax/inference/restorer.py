"""Removes rain from images with a trained network, rebuilt from its checkpoint alone."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ttl_jax import models
from ttl_jax.inference import networks
from ttl_jax.training import flat_params, saved_runs

# Where `python -m ttl_jax.main` leaves the last stage's run.
DEFAULT_CHECKPOINT = pathlib.Path("runs/derain")


class Restorer:
    """A rain remover: `restorer.restore(image)`.

    An image is restored whole, so each size is compiled once, on its first image, and
    one whose activations do not fit into memory is refused.

    Attributes:
      name: Name of the run it comes from.
      step: Updates that run had done.
    """

    def __init__(
        self, encoder: nnx.Module, decoder: nnx.Module, *, name: str, step: int
    ):
        self.name = name
        self.step = step
        encoder_graph, encoder_params = flat_params.split_module(encoder)
        decoder_graph, decoder_params = flat_params.split_module(decoder)
        self._params = encoder_params, decoder_params
        self._programs = _programs_of(encoder_graph, decoder_graph)

    @classmethod
    def from_checkpoint(cls, path: str | pathlib.Path | None = None) -> "Restorer":
        """Loads the encoder and image decoder of a run.

        Args:
          path: As of `saved_runs.load_modules`, for example `runs/derain` for its last
            step or `runs/derain/best`. None means `DEFAULT_CHECKPOINT`.

        Raises:
          ValueError: If there is no checkpoint, or it does not restore images.
        """
        if path is None:
            path = DEFAULT_CHECKPOINT
            if not saved_runs.saved_steps(path):
                raise ValueError(
                    f"No checkpoint is named, and there is none in {path}. Train one "
                    "(python -m ttl_jax.main --config=configs/pipeline.py) or name a "
                    "run's folder, such as the runs/quickstart/derain that bash "
                    "launch/quickstart.sh makes."
                )
        modules, metadata = networks.load(
            path,
            ("encoder", "decoder"),
            factory=models.make_image_decoder.__name__,
            purpose="restoring takes a run of the stage derain",
        )
        name = saved_runs.find_run(path).resolve().name
        return cls(**modules, name=name, step=metadata["step"])

    def restore(self, image: np.ndarray) -> np.ndarray:
        """Returns the image without rain, of the same shape and type.

        Args:
          image: uint8, uint16, or float in [0, 1]; [H, W] or [H, W, C] with C = 1
            (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha). Grey is restored
            as RGB of three equal channels; alpha is returned as it is.

        Raises:
          ValueError: If the shape or type is another, or what was restored is no number.
        """
        image = np.asarray(image)
        colour, alpha = _split_alpha(image)
        peak = _peak_of(image.dtype)
        rgb = np.repeat(colour, 3, axis=-1) if colour.shape[-1] == 1 else colour
        batch = jnp.asarray(rgb[None].astype(np.float32) / np.float32(peak))
        program = self._programs.find(self._params, batch)
        restored = np.asarray(program(self._params, batch))[0]
        if np.isnan(restored).any():  # as an integer it would be any level
            raise ValueError(
                f"what {self.name} restores is not a number somewhere: the image or the "
                "network is damaged"
            )
        if colour.shape[-1] == 1:
            restored = restored.mean(axis=-1, keepdims=True)
        if np.issubdtype(image.dtype, np.integer):
            restored = np.round(restored * peak)
        restored = np.concatenate([restored.astype(image.dtype), alpha], axis=-1)
        return restored.reshape(image.shape)


class _Programs:
    """The programs that restore images of one architecture, compiled once per size."""

    def __init__(self, encoder_graph: nnx.GraphDef, decoder_graph: nnx.GraphDef):
        def restore(params, image):
            features = flat_params.merge_module(encoder_graph, params[0])(image)
            restored = flat_params.merge_module(decoder_graph, params[1])(
                features, image
            )
            return jnp.clip(restored, 0, 1)

        self._restore = jax.jit(restore)
        self._compiled: dict[tuple[int, ...], Any] = {}

    def find(self, params, batch: jax.Array) -> Any:
        """The program for images of this size, compiled if it is the first one."""
        if batch.shape not in self._compiled:
            program = self._restore.lower(params, batch).compile()
            _check_memory(program.memory_analysis(), batch)
            self._compiled[batch.shape] = program
        return self._compiled[batch.shape]


# Networks that differ in their weights alone, as an ablation's, share the programs.
_programs_of = functools.cache(_Programs)


def _check_memory(analysis, batch: jax.Array) -> None:
    """Refuses what this machine's memory cannot hold, before the kernel kills us.

    Other backends than the CPU say so themselves, by an exception.
    """
    free = _available_bytes()
    if jax.default_backend() != "cpu" or analysis is None or free is None:
        return
    if analysis.temp_size_in_bytes > free:
        height, width = batch.shape[1:3]
        raise ValueError(
            f"an image of {width} x {height} pixels takes "
            f"{analysis.temp_size_in_bytes / 2**30:.1f} GiB of memory to restore, and "
            f"{free / 2**30:.1f} GiB are free; scale it down or cut it"
        )


def _available_bytes() -> int | None:
    """Memory that can be had without swapping, where the system tells."""
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kilobytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(kilobytes[0]) * 1024 if kilobytes else None


def _split_alpha(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour [H, W, 1 or 3] and alpha [H, W, 0 or 1]."""
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 2, 3, 4) or 0 in image.shape:
        raise ValueError(
            f"An image is [H, W] or [H, W, C] with C from 1 to 4, not {image.shape}."
        )
    num_colours = 1 if image.shape[-1] < 3 else 3
    return image[..., :num_colours], image[..., num_colours:]


def _peak_of(dtype: np.dtype) -> int:
    if dtype in (np.uint8, np.uint16):
        return np.iinfo(dtype).max
    if np.issubdtype(dtype, np.floating):
        return 1
    raise ValueError(f"An image is uint8, uint16 or float in [0, 1], not {dtype}.")
