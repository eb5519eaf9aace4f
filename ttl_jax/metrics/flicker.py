"""Flicker of restored video: changes between frames that the scene does not explain."""

import numpy as np
import scipy.ndimage

_ROUNDING = 1e-3  # levels; splines change frames that are equal by up to 1e-13


def flicker(
    restored: np.ndarray,
    rainy: np.ndarray,
    *,
    positions: np.ndarray | None = None,
    still: np.ndarray | None = None,
) -> float:
    """Returns the ratio of the changes between restored frames to those of the input.

    A change is the absolute difference of a frame and the next frame, warped onto it,
    summed over all frames. Frames that hardly change therefore count little. 0 means no
    flicker; 1 means that the result flickers as much as the input.

    Args:
      restored: Restored frames [T, H, W, C], T > 1, in levels of 255 or 65535.
      rainy: Frames of the input, of the same shape.
      positions: Position (x, y) in frame t + 1 of each pixel of frame t,
        [T - 1, H, W, 2]; None for a camera that does not move.
      still: Pixels to include, bool [T - 1, H, W]; False where something moves in the
        scene, or where the position is unknown or outside. None means all.

    Returns:
      A number of at least 0.

    Raises:
      ValueError: If shapes differ, there are fewer than two frames, no pixel is included,
        or the input does not change.
    """
    if restored.shape != rainy.shape or restored.ndim != 4 or len(restored) < 2:
        raise ValueError(
            f"Flicker compares videos of one shape [T > 1, H, W, C], not {restored.shape} "
            f"and {rainy.shape}."
        )
    shape = (len(rainy) - 1, *rainy.shape[1:3])
    for name, value, expected in (
        ("positions", positions, (*shape, 2)), ("still", still, shape),
    ):  # fmt: skip
        if value is not None and value.shape != expected:
            raise ValueError(f"{name} has shape {value.shape}; expected {expected}.")
    if still is not None and not still.any():
        raise ValueError("No pixel is included: all of `still` is False.")
    of_result, of_input = (
        change(video, positions=positions, still=still) for video in (restored, rainy)
    )
    if of_input == 0:
        raise ValueError("The input does not change, so the ratio is undefined.")
    return of_result / of_input


def change(
    frames: np.ndarray,
    *,
    positions: np.ndarray | None = None,
    still: np.ndarray | None = None,
) -> float:
    """Returns the absolute difference of each frame to the next one, warped onto it.

    The difference is averaged over the channels and summed over the included pixels of
    all frames. Results for the parts of a video can be added. Differences below 1e-3 are
    the rounding of splines, and ignored.

    Args:
      frames: Frames [T, H, W, C], T > 1, in levels of 255 or 65535.
      positions: As for `flicker`.
      still: As for `flicker`; the result is 0 if no pixel is included.
    """
    frames = frames.astype(np.float32)
    following = frames[1:] if positions is None else warp(frames[1:], positions)
    difference = np.abs(following - frames[:-1]).mean(axis=-1)
    is_change = difference >= _ROUNDING
    where = is_change if still is None else is_change & still
    return float(difference.sum(dtype=np.float64, where=where))


def warp(frames: np.ndarray, positions: np.ndarray, order: int = 3) -> np.ndarray:
    """Returns the values of each frame at positions, by splines.

    Args:
      frames: Frames [T, H, W, C].
      positions: Positions (x, y), [T, rows, columns, 2].
      order: Order of the splines, 0 to 5.

    Returns:
      Array [T, rows, columns, C] of the frames' type, not rounded.
    """
    shape = (*positions.shape[:3], frames.shape[-1])
    warped = np.empty(shape, frames.dtype)
    for t, channel in np.ndindex(len(frames), frames.shape[-1]):
        scipy.ndimage.map_coordinates(
            frames[t, ..., channel],
            positions[t, ..., ::-1].transpose(2, 0, 1),
            output=warped[t, ..., channel],
            order=order,
            mode="nearest",
        )
    return warped
