"""Restoring arrays of any size by a function of windows, without JAX."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ttl_jax.data.files import transparency
from ttl_jax.inference import pixels, window_batches, windows


class WindowedRestorer:
    """Removes rain: `restorer.restore(image)`. Threads may share it.

    Attributes:
      name: Name of the weights, for messages.
      digest: Fingerprint of the weights, 16 hex digits.
      batch_size: Number of windows that are computed together.
    """

    def __init__(
        self,
        compute: Callable[[np.ndarray], np.ndarray],
        *,
        name: str,
        digest: str,
        grid: int | None,
        side: int = windows.SIDE,
        overlap: int = windows.OVERLAP,
        batch_size: int = 1,
    ):
        """Takes the network as a function.

        Args:
          compute: Function from images [N, H, W, 3] in [0, 1] to restored ones, which
            may leave [0, 1]; float32.
          grid: Windows start at multiples of this number of pixels, see `windows.plan`.
          side: Largest side of a window, in pixels, see `windows.plan`.
          overlap: Pixels that neighbouring windows share, see `windows.plan`.
          batch_size: Number of windows computed together. Results do not depend on it.
        """
        self.name, self.digest = name, digest
        self._grid, self._side, self._overlap = grid, side, overlap
        self.batch_size = batch_size
        self._batches = window_batches.Batches(compute, batch_size)
        # Images that are restored at once: enough to fill each batch even with one
        # window per image. More images would need more memory, a band of rows each.
        self._places = threading.BoundedSemaphore(2 * batch_size)

    def restore(
        self,
        image: np.ndarray,
        *,
        strength: float = 1.0,
        ensemble: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> np.ndarray:
        """Returns the image without rain, of the same shape and type.

        An image that `is_too_small` is returned as a copy.

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
        if strength == 0 or self.is_too_small(*stored.shape[:2]):
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
        """Restores the windows of an image, as for `restore`, without blending them.

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

    def is_too_small(self, height: int, width: int) -> bool:
        """Whether an image has too few pixels to be restored, see `windows`."""
        return windows.is_too_small(height, width, self._grid)

    def check_pixels(self, num_pixels: int) -> None:
        """Raises ValueError if an image has too many pixels; here there is no limit."""

    def _restore_rows(
        self,
        plan: windows.Plan,
        views: Sequence[np.ndarray],
        progress: Callable[[int, int], None],
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yields rows of the image and their values in [0, 1], means over the views."""
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
