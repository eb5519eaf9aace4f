"""Removes rain from images with a trained network, rebuilt from its checkpoint alone."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ttl_jax import models
from ttl_jax.training import checkpoint

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
        encoder_graph, encoder_params = checkpoint.split_module(encoder)
        decoder_graph, decoder_params = checkpoint.split_module(decoder)
        self._params = encoder_params, decoder_params

        def restore(params, image):
            features = checkpoint.merge_module(encoder_graph, params[0])(image)
            restored = checkpoint.merge_module(decoder_graph, params[1])(
                features, image
            )
            return jnp.clip(restored, 0, 1)

        self._restore = jax.jit(restore)
        self._programs: dict[tuple[int, ...], Any] = {}  # compiled, by shape

    @classmethod
    def from_checkpoint(cls, path: str | pathlib.Path | None = None) -> "Restorer":
        """Loads the encoder and image decoder of a run.

        Args:
          path: A run's folder such as `runs/derain`, or one step's folder inside its
            `checkpoints`. None means `DEFAULT_CHECKPOINT`.

        Raises:
          ValueError: If there is no checkpoint, or it does not restore images.
        """
        if path is None:
            path = DEFAULT_CHECKPOINT
            if not checkpoint.saved_steps(path):
                raise ValueError(
                    f"No checkpoint is named, and there is none in {path}. Train one "
                    "(python -m ttl_jax.main --config=configs/pipeline.py) or name a "
                    "run's folder, such as the runs/quickstart/derain that bash "
                    "launch/quickstart.sh makes."
                )
        params, metadata = checkpoint.load_modules(path)
        if not {"encoder", "decoder"} <= params.keys():
            raise ValueError(
                f"{path} holds {sorted(params)}, but restoring takes an encoder and a "
                "decoder; name a run of the stage derain."
            )
        factory = metadata["modules"]["decoder"]["factory"]
        if factory != models.make_image_decoder.__name__:
            raise ValueError(
                f"The decoder of {path} comes from {factory}, which does not restore "
                "images; name a run of the stage derain."
            )
        networks = {
            name: rebuild(metadata["modules"][name], params[name], path, name)
            for name in ("encoder", "decoder")
        }
        name = checkpoint.find_run(path).resolve().name
        return cls(**networks, name=name, step=metadata["step"])

    def restore(self, image: np.ndarray) -> np.ndarray:
        """Returns the image without rain, of the same shape and type.

        Args:
          image: uint8, uint16, or float in [0, 1]; [H, W] or [H, W, C] with C = 1
            (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha). Grey is restored
            as RGB of three equal channels; alpha is returned as it is.

        Raises:
          ValueError: If the shape or type is another.
        """
        image = np.asarray(image)
        colour, alpha = _split_alpha(image)
        peak = _peak_of(image.dtype)
        rgb = np.repeat(colour, 3, axis=-1) if colour.shape[-1] == 1 else colour
        batch = jnp.asarray(rgb[None].astype(np.float32) / np.float32(peak))
        program = self._program_for(batch)
        restored = np.asarray(program(self._params, batch))[0]
        if colour.shape[-1] == 1:
            restored = restored.mean(axis=-1, keepdims=True)
        if np.issubdtype(image.dtype, np.integer):
            restored = np.round(restored * peak)
        restored = np.concatenate([restored.astype(image.dtype), alpha], axis=-1)
        return restored.reshape(image.shape)

    def _program_for(self, batch: jax.Array):
        """The program for images of a size, compiled once."""
        if batch.shape not in self._programs:
            program = self._restore.lower(self._params, batch).compile()
            _check_memory(program.memory_analysis(), batch)
            self._programs[batch.shape] = program
        return self._programs[batch.shape]


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


def rebuild(description: dict[str, Any], params, path, name: str) -> nnx.Module:
    """The network that a checkpoint describes, with its params.

    Args:
      description: A module's entry in the metadata, as `checkpoint.load_modules` has it.
      params: The module's own.
      path: Of the checkpoint, for the message.
      name: Of the module, likewise.

    Raises:
      ValueError: If no factory makes it, or the params are not its own.
    """
    arguments = {k: v for k, v in description.items() if k != "factory"}
    if description["factory"] not in models.FACTORIES:
        raise ValueError(
            f"{path}: {name!r} comes from {description['factory']}, which is none of "
            f"{', '.join(models.FACTORIES)}; restore with the code that trained it."
        )
    factory = models.FACTORIES[description["factory"]]
    graph, initial = checkpoint.split_module(factory(**arguments, rngs=nnx.Rngs(0)))
    checkpoint.verify_params(params, initial, source=str(path), module=name)
    return checkpoint.merge_module(graph, jax.tree.map(jnp.asarray, params))


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
