"""Removal of rain from images with a trained network."""

import math
import pathlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar

import jax
import numpy as np

from ttl_jax import models
from ttl_jax.data.files import transparency
from ttl_jax.inference import network, pixels, programs, window_batches, windows
from ttl_jax.models.attention import DenseAttention
from ttl_jax.weights import fingerprints, flat_params

# Windows of a batch. On a CPU larger batches take more memory and no less time.
_BATCH_SIZES = {"cpu": 1}
_DEFAULT_BATCH_SIZE = 8

# Memory for networks that need the whole image at once, in bytes: it bounds their images.
MEMORY_LIMIT = 8 * 2**30
_MAPS_HELD = 3  # of dense attention, at the peak of a restoration on a CPU, measured


class Restorer(network.TrainedNetwork):
    """Removes rain: `restorer.restore(image)`. Threads may share it.

    Attributes:
      digest: Fingerprint of the weights, 16 hex digits.
      max_pixels: Largest number of pixels of an image, None for no limit.
      batch_size: Number of windows that are computed together.
    """

    factories: ClassVar = {
        "encoder": ("make_encoder", "make_restormer", "make_nafnet"),
        "decoder": ("make_image_decoder", "make_output_decoder"),
    }
    purpose = "restoring takes a run of the stage derain"

    def __init__(
        self,
        encoder: models.RestoringEncoder,
        decoder: models.ImageDecoder | models.OutputDecoder,
        *,
        name: str,
        step: int,
        path: pathlib.Path | None = None,
        side: int = windows.SIDE,
        overlap: int = windows.OVERLAP,
        batch_size: int | None = None,
    ):
        """Takes an encoder and an image decoder.

        Args:
          encoder: Network of `models.make_encoder`, `make_restormer` or `make_nafnet`.
          decoder: Network of `models.make_image_decoder` or `make_output_decoder`.
          name: Name of the run.
          step: Number of updates that the run had done.
          path: Folder or file of the run.
          side: Largest side of a window, in pixels, see `windows.plan`.
          overlap: Pixels that neighbouring windows share, see `windows.plan`.
          batch_size: Number of windows computed together; None chooses by the device.
            Results do not depend on it.
        """
        super().__init__(name=name, step=step, path=path)
        params = {
            f"{part}.{param}": value
            for part, module in (("encoder", encoder), ("decoder", decoder))
            for param, value in flat_params.split_module(module)[1].items()
        }
        self.digest = fingerprints.digest(params)
        self._grid = encoder.grid and math.lcm(encoder.grid, decoder.grid)
        self.max_pixels = None if self._grid else _count_fitting_pixels(encoder)
        self._side, self._overlap = side, overlap
        if batch_size is None and encoder.grid is None:
            batch_size = 1  # whole images have sizes of their own
        self.batch_size = batch_size or _BATCH_SIZES.get(
            jax.default_backend(), _DEFAULT_BATCH_SIZE
        )
        parts = programs.Part.of(encoder), programs.Part.of(decoder)
        self._batches = window_batches.Batches(
            lambda images: np.asarray(programs.restore(*parts, images)), self.batch_size
        )
        # Images in work at once: enough to fill each batch even with one window per
        # image, and no more, since each image takes a band of memory.
        self._places = threading.BoundedSemaphore(2 * self.batch_size)

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
            as RGB of three equal channels and stays grey, also if it is stored as RGB.
            Alpha is returned as it is; so are colours under alpha 0, which have no
            influence.
          strength: Share of the change to apply, in [0, 1]; 0 returns a copy.
          ensemble: Whether to average with the restoration of the mirrored image,
            mirrored back; takes twice the time.
          progress: Called with the number of finished windows and of all windows, from
            (0, all) on, several times a second; its exceptions end the restoration.

        Raises:
          ValueError: If the shape, type, range or strength is invalid, the image has too
            many pixels for this network, or the network returned NaN.
        """
        image = np.asarray(image)
        stored, alpha = pixels.split_alpha(image)
        if not 0 <= strength <= 1:  # NaN neither
            raise ValueError(f"strength={strength} is out of range; use 0 to 1.")
        pixels.check_range(stored)
        plan = self.plan(*stored.shape[:2])
        restored = image.copy()
        if strength == 0:
            return restored
        target, _ = pixels.split_alpha(restored)
        colour = transparency.fill_hidden(stored, alpha)
        is_grey = bool((colour == colour[..., :1]).all())
        views = [colour, colour[:, ::-1]] if ensemble else [colour]
        with self._places:
            for rows, values in self._restore_rows(plan, views, progress):
                original = pixels.to_unit_range(colour[rows])
                if is_grey:
                    values = values.mean(axis=-1, keepdims=True)
                changed = original + np.float32(strength) * (values - original)
                target[rows] = pixels.from_unit_range(changed, image.dtype)
        if colour is not stored:
            hidden = alpha[..., 0] == 0
            target[hidden] = stored[hidden]
        return restored

    def restore_windows(
        self, image: np.ndarray
    ) -> Iterator[tuple[windows.Window, np.ndarray]]:
        """Restores the windows of an image without blending them.

        Args:
          image: Image as for `restore`.

        Yields:
          Each window and its values, float32 [h, w, 3], not clipped; row by row.
        """
        colour = transparency.fill_hidden(*pixels.split_alpha(np.asarray(image)))
        plan = self.plan(*colour.shape[:2])
        return zip(plan, self._restore_windows(plan, colour, lambda: None))

    def plan(self, height: int, width: int) -> windows.Plan:
        """Returns the windows of an image; raises as `check_pixels`."""
        self.check_pixels(height * width)
        return windows.plan(
            height, width, grid=self._grid, side=self._side, overlap=self._overlap
        )

    def check_pixels(self, num_pixels: int) -> None:
        """Raises ValueError if an image has too many pixels for this network."""
        if self.max_pixels is not None and num_pixels > self.max_pixels:
            raise ValueError(
                f"{num_pixels:,} pixels are more than {self.max_pixels:,}, the limit of "
                f"{self.name} within {MEMORY_LIMIT / 2**30:.0f} GiB: its attention needs the whole image at once; use weights "
                "with local sums, such as the shipped ones"
            )

    def _restore_rows(
        self,
        plan: windows.Plan,
        views: Sequence[np.ndarray],
        progress: Callable[[int, int], None],
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yields rows of the image and their values in [0, 1], means over the views.

        Args:
          plan: Windows of each view.
          views: The image, and for ensembles the mirrored image.
          progress: Callback of `restore`.
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
        """Yields restored windows, float32 [h, w, 3], in the order of the plan."""

        def read(window):
            values = pixels.to_unit_range(windows.read(colour, window))
            return np.broadcast_to(values, (*values.shape[:2], 3))

        return self._batches.map(map(read, plan), check)


class _Progress:
    """Counts finished windows, and reports them when called."""

    def __init__(self, total: int, report: Callable[[int, int], None]):
        self._done, self._total, self._report = 0, total, report

    def __call__(self) -> None:
        self._report(self._done, self._total)

    def count(self, windows_done: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields the same windows, and reports each."""
        for window in windows_done:
            self._done += 1
            self()
            yield window


def _count_fitting_pixels(encoder: models.RestoringEncoder) -> int:
    """Returns the size of an image that takes `MEMORY_LIMIT` to restore, in pixels.

    Features grow with the pixels. Dense attention also holds a map of all pairs of its
    positions for each head, which grows with their square.
    """
    stride = encoder.stem_stride
    features = 4 * encoder.features_held * encoder.width / stride**2
    is_ours = isinstance(encoder, models.AGLFEncoder)
    branch = encoder.blocks[0].global_branch if is_ours else None
    if not isinstance(branch, DenseAttention):
        return int(MEMORY_LIMIT / features)
    maps = 4 * _MAPS_HELD * branch.num_heads / (branch.pool * stride) ** 4
    root = math.sqrt(features**2 + 4 * maps * MEMORY_LIMIT)
    return int((root - features) / (2 * maps))
