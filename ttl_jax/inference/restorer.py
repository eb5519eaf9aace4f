"""Removes rain from images with a trained network, rebuilt from its checkpoint alone."""

import math
import pathlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import numpy as np
from flax import nnx

from ttl_jax import models
from ttl_jax.inference import pixels, programs, windows
from ttl_jax.inference.batches import Batches
from ttl_jax.models.attention import DenseAttention
from ttl_jax.weights import rebuild, shipped, weight_sources

# Windows of a batch. On a CPU more take more memory and no less time.
_BATCH_SIZES = {"cpu": 1}
_DEFAULT_BATCH_SIZE = 8

# Bounds the images of networks that need the whole image at once.
_MEMORY_LIMIT = 8 * 2**30  # bytes
# Temporary memory of restoring, by the compiler's account on a CPU: in tensors of the
# features' size, by the stem's stride (12.1 with `paper`; 20.8 to 22.7 with the other
# presets), and in maps of dense attention (2.7 to 2.8).
_FEATURES_HELD = {1: 13, 2: 23}
_MAPS_HELD = 3


class Restorer:
    """A rain remover: `restorer.restore(image)`. Threads may share it.

    Attributes:
      name: Name of the run it comes from.
      step: Updates that run had done.
      max_pixels: Number of pixels that an image may have, None for any number.
      batch_size: Number of windows that are computed together.
    """

    def __init__(
        self,
        encoder: nnx.Module,
        decoder: nnx.Module,
        *,
        name: str,
        step: int,
        side: int = windows.SIDE,
        overlap: int = windows.OVERLAP,
        batch_size: int | None = None,
    ):
        """Takes a network.

        Args:
          encoder: As `models.make_encoder` makes it.
          decoder: As `models.make_image_decoder` makes it.
          name: Name of the run it comes from.
          step: Updates that run had done.
          side: Largest side of a window, in pixels, as of `windows.plan`.
          overlap: Pixels that neighbouring windows share, as of `windows.plan`.
          batch_size: Number of windows computed together; None for what suits the
            device. Results do not depend on it.
        """
        self.name = name
        self.step = step
        self._grid = encoder.grid and math.lcm(encoder.grid, decoder.grid)
        self.max_pixels = None if self._grid else _count_fitting_pixels(encoder)
        self._side, self._overlap = side, overlap
        parts = programs.Part.of(encoder), programs.Part.of(decoder)
        self.batch_size = batch_size or _choose_batch_size(encoder)
        self._batches = Batches(
            lambda images: np.asarray(programs.restore(*parts, images)), self.batch_size
        )
        # Images with the network at once: enough to fill each batch, even if an image
        # has but one window, and no more, since each takes a band of memory.
        self._places = threading.BoundedSemaphore(2 * self.batch_size)

    @classmethod
    def from_checkpoint(cls, path: str | pathlib.Path | None = None) -> "Restorer":
        """Loads the encoder and image decoder of a run.

        Args:
          path: As of `weight_sources`, for example `runs/derain` for its last step or
            `runs/derain/best`. None or "shipped" means the package's own weights.

        Raises:
          ValueError: If there is no checkpoint, or it does not restore images.
        """
        path = shipped.find_derain(path)
        modules, metadata = rebuild.load(
            path,
            ("encoder", "decoder"),
            factory=models.make_image_decoder.__name__,
            purpose="restoring takes a run of the stage derain",
        )
        name = weight_sources.find_name(path)
        return cls(**modules, name=name, step=metadata["step"])

    def restore(
        self,
        image: np.ndarray,
        *,
        strength: float = 1.0,
        ensemble: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> np.ndarray:
        """Returns the image without rain, of the same shape and type.

        Args:
          image: uint8, uint16, or float in [0, 1]; [H, W] or [H, W, C] with C = 1
            (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha). Grey is restored
            as RGB of three equal channels; alpha is returned as it is.
          strength: Share of the change that is made, in [0, 1]; 0 returns the image.
          ensemble: Whether to take the mean with the restoration of the mirrored image,
            mirrored back, at twice the time.
          progress: Called with the number of windows done and of all, from (0, all) on,
            several times a second; an exception of it ends the restoration.

        Raises:
          ValueError: If the shape, type or strength is invalid, the image has too many
            pixels for this network, or the network returned NaN.
        """
        image = np.asarray(image)
        colour, _ = pixels.split_alpha(image)
        if not 0 <= strength <= 1:  # NaN neither
            raise ValueError(f"strength={strength} is out of range; use 0 to 1.")
        plan = self.plan(*colour.shape[:2])
        restored = image.copy()
        if strength == 0:
            return restored
        target, _ = pixels.split_alpha(restored)
        views = [colour, colour[:, ::-1]] if ensemble else [colour]
        with self._places:
            for rows, values in self._restore_rows(plan, views, progress):
                original = pixels.to_unit_range(colour[rows])
                if colour.shape[-1] == 1:
                    values = values.mean(axis=-1, keepdims=True)
                changed = original + np.float32(strength) * (values - original)
                target[rows] = pixels.from_unit_range(changed, image.dtype)
        return restored

    def restore_windows(
        self, image: np.ndarray
    ) -> Iterator[tuple[windows.Window, np.ndarray]]:
        """Each window of an image and what it is restored to, before blending.

        Args:
          image: As of `restore`.

        Yields:
          The window, and float32 [h, w, 3], not clipped; row by row.
        """
        colour, _ = pixels.split_alpha(np.asarray(image))
        plan = self.plan(*colour.shape[:2])
        return zip(plan, self._restore_windows(plan, colour, lambda: None))

    def plan(self, height: int, width: int) -> windows.Plan:
        """The windows of an image of this size.

        Raises:
          ValueError: If it has too many pixels for this network.
        """
        self.check_pixels(height * width)
        return windows.plan(
            height, width, grid=self._grid, side=self._side, overlap=self._overlap
        )

    def check_pixels(self, num_pixels: int) -> None:
        """Raises ValueError if an image has too many pixels for this network."""
        if self.max_pixels is not None and num_pixels > self.max_pixels:
            raise ValueError(
                f"{num_pixels:,} pixels are more than {self.max_pixels:,}, the most that "
                f"{self.name} restores within {_MEMORY_LIMIT / 2**30:.0f} GiB: its "
                "attention needs the whole image at once; use weights with local sums, "
                "such as those of the package"
            )

    def _restore_rows(
        self,
        plan: windows.Plan,
        views: Sequence[np.ndarray],
        progress: Callable[[int, int], None],
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows of the image and their values in [0, 1], means over the views.

        Args:
          plan: The windows of each view.
          views: The image, and perhaps the mirrored one.
          progress: As of `restore`.
        """
        watch = _Progress(len(views) * len(plan), progress)
        watch()
        blended = [
            windows.blend(plan, watch.count(self._restore_windows(plan, view, watch)))
            for view in views
        ]
        for (rows, values), *mirrored in zip(*blended):
            values = np.clip(values, 0, 1)
            for _, other in mirrored:
                values = (values + np.clip(other[:, ::-1], 0, 1)) / 2
            yield rows, values

    def _restore_windows(
        self, plan: windows.Plan, colour: np.ndarray, check: Callable[[], None]
    ) -> Iterator[np.ndarray]:
        """Restored windows, float32 [h, w, 3], in the order of the plan."""

        def read(window):
            values = pixels.to_unit_range(windows.read(colour, window))
            return np.broadcast_to(values, (*values.shape[:2], 3))

        return self._batches.map(map(read, plan), check)


class _Progress:
    """Windows done, of all; called, it reports them.

    Attributes:
      total: Number of all windows.
    """

    def __init__(self, total: int, report: Callable[[int, int], None]):
        self.total = total
        self._done, self._report = 0, report

    def __call__(self) -> None:
        self._report(self._done, self.total)

    def count(self, windows_done: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same windows; each is reported."""
        for window in windows_done:
            self._done += 1
            self()
            yield window


def _choose_batch_size(encoder: nnx.Module) -> int:
    if encoder.grid is None:  # whole images have sizes of their own
        return 1
    return _BATCH_SIZES.get(jax.default_backend(), _DEFAULT_BATCH_SIZE)


def _count_fitting_pixels(encoder: nnx.Module) -> int:
    """The pixels of an image whose restoring takes `_MEMORY_LIMIT` bytes, on a CPU.

    Dense attention holds a map of all pairs of positions for each head, beside features.
    """
    stride = encoder.stem_stride
    linear = (
        4 * _FEATURES_HELD[min(stride, 2)] * encoder.width / stride**2
    )  # bytes per pixel
    square = sum(
        4 * _MAPS_HELD * branch.num_heads / (branch.pool * stride) ** 4
        for branch in [block.global_branch for block in encoder.blocks][:1]
        if isinstance(branch, DenseAttention)
    )  # bytes per pixel²
    if not square:
        return int(_MEMORY_LIMIT / linear)
    root = math.sqrt(linear**2 + 4 * square * _MEMORY_LIMIT)
    return int((root - linear) / (2 * square))
