"""Temporal consistency: neighbouring frames vote on what is rain.

Rain moves relative to the scene. Each frame and its six nearest neighbours are aligned by
optical flow. The result of a pixel is the median of the seven restored values. Detail that
the network removed is put back where it stays in the aligned rainy frames: rain would not.
Where a neighbour cannot be aligned (occlusion, people, water), the frame itself votes in
its place. A change of the scene, or a broken frame, ends the neighbourhood.

This works with frames restored by any method.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

_COUNT = 7  # frames that vote
REACH = _COUNT - 1  # frames on either side that a result may depend on
_CUT = 20.0  # mean difference of small grey frames, of 255 levels
_SMALL = (32, 32)  # pixels
_CAMERA = 1.0  # levels by which the camera's motion may explain less than flow
_MOST_ROUND_TRIP = 1.0  # pixels between a point and its image, there and back
_ROUND_TRIP_SHARE = 0.05  # of the motion, which is allowed in addition
_MOST_DIFFERENCE = 20.0  # of 255 levels, mean over the surroundings
# Comparisons after which the fourth of seven values is their median.
_NETWORK = (
    (0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6), (2, 3), (3, 6), (4, 5),
    (1, 4), (1, 3), (3, 4),
)  # fmt: skip
_DETAIL = 3.0  # pixels, standard deviation; coarser differences are light, not detail


class Frame(NamedTuple):
    """A frame of a video.

    Attributes:
      rainy: uint8 or uint16 [H, W, 3]; None if the frame could not be decoded.
      restored: Restored frame, of the same shape and type.
      tag: Any value, which is yielded with the result.
      is_broken: Whether the frame is damaged; it is left unchanged and does not vote.
    """

    rainy: Any
    restored: Any
    tag: Any = None
    is_broken: bool = False


def vote(frames: Iterable[Frame]) -> Iterator[tuple[Any, Any]]:
    """Yields the tag and the result of each frame, in order, at most `REACH` frames later.

    A result depends on at most `REACH` frames before and after, so that work can resume in
    the middle of a video. Memory does not grow with the number of frames.
    """
    shot: list[Frame] = []  # the last frames since the last cut
    num_done = 0  # number of them that were yielded
    for frame in itertools.chain(frames, [None]):
        if frame is None or frame.is_broken or (shot and _is_cut(shot[-1], frame)):
            for index in range(num_done, len(shot)):
                yield shot[index].tag, _vote_on(shot, index)
            shot, num_done = [], 0
        if frame is None:
            return
        if frame.is_broken:
            yield frame.tag, frame.rainy
            continue
        shot.append(frame)
        while len(shot) >= _COUNT and num_done < len(shot) - _COUNT // 2:
            yield shot[num_done].tag, _vote_on(shot, num_done)
            num_done += 1
        if num_done > _COUNT - 1:
            del shot[0]
            num_done -= 1


def align(target: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimates the positions of the pixels of one frame in another frame.

    Args:
      target: uint8 or uint16 [H, W, 3].
      source: Another frame of the scene, of the same shape and type.

    Returns:
      Position (x, y) in `source` of each pixel of `target`, float32 [H, W, 2]; and
      whether it is reliable, bool [H, W]. A reliable position is within the frame, the
      flow there and back ends at the same pixel, and the surroundings look the same.
    """
    height, width = target.shape[:2]
    columns, rows = np.meshgrid(
        np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    )
    place = np.dstack([columns, rows])
    if min(height, width) < 16:  # too small for optical flow
        return place, np.ones((height, width), bool)
    images = target, source
    grey = [_grey(image) for image in images]
    # Faster presets are worse, and flow takes much less time than a network.
    estimate = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # pyright: ignore[reportAttributeAccessIssue]
    (there, difference), (back, _) = (
        _follow_camera(place, estimate.calc(*grey[::step], None), *images[::step])
        for step in (1, -1)
    )
    position = place + there
    round_trip = np.linalg.norm(there + _look_up(back, position), axis=-1)
    motion = np.linalg.norm(there, axis=-1)
    is_inside = (position >= 0) & (position <= (width - 1, height - 1))
    reliable = (
        (round_trip < _MOST_ROUND_TRIP + _ROUND_TRIP_SHARE * motion)
        & (difference < _MOST_DIFFERENCE)
        & is_inside.all(axis=-1)
    )
    return position, reliable


def _follow_camera(
    place: np.ndarray, flow: np.ndarray, target: np.ndarray, source: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Replaces flow by the camera's motion where that explains the frames as well.

    The camera's motion is a homography. Rain disturbs the flow of single pixels.
    Objects that are near or move by themselves keep their own flow. Also returns the
    difference that remains, in levels, [H, W].
    """
    difference = _difference(target, source, place + flow)
    some = place[4::8, 4::8].reshape(-1, 2), (place + flow)[4::8, 4::8].reshape(-1, 2)
    matrix, _ = cv2.findHomography(*some, cv2.RANSAC, 0.7)
    if matrix is None:
        return flow, difference
    points = cv2.perspectiveTransform(place.reshape(-1, 1, 2), matrix)
    camera = points.reshape(place.shape)
    remaining = _difference(target, source, camera)
    explains = remaining <= difference + _CAMERA
    return (
        np.where(explains[..., None], camera - place, flow).astype(np.float32),
        np.where(explains, remaining, difference),
    )


def _difference(target: np.ndarray, source: np.ndarray, position: np.ndarray):
    """Returns the mean difference of two frames around each pixel, of 255 levels."""
    found = cv2.absdiff(target, _look_up(source, position)).mean(axis=-1)
    level = np.iinfo(target.dtype).max / 255
    return cv2.GaussianBlur((found / level).astype(np.float32), (0, 0), 2)


def warp(image: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Returns the values of an image at the positions (x, y), [H, W, ...]."""
    return _look_up(image, position, cv2.INTER_LANCZOS4)


def _look_up(
    image: np.ndarray, position: np.ndarray, interpolation: int = cv2.INTER_LINEAR
) -> np.ndarray:
    """As `warp`, but quick: for measuring, not for results."""
    nothing: Any = None  # the positions are in one array
    return cv2.remap(
        image, position, nothing, interpolation, borderMode=cv2.BORDER_REPLICATE
    )


def _vote_on(shot: Sequence[Frame], index: int) -> np.ndarray:
    """Returns the result of a frame from itself and its nearest frames of the scene."""
    own = shot[index]
    start = max(0, min(index - _COUNT // 2, len(shot) - _COUNT))
    restored, rainy = [own.restored], [own.rainy]
    num_votes = np.ones(own.restored.shape[:2], np.float32)
    for neighbour in shot[start : start + _COUNT]:
        if neighbour is own:
            continue
        position, reliable = align(own.restored, neighbour.restored)
        for votes, ours, theirs in (
            (restored, own.restored, neighbour.restored),
            (rainy, own.rainy, neighbour.rainy),
        ):
            votes.append(np.where(reliable[..., None], warp(theirs, position), ours))
        num_votes += reliable
    missing = _COUNT - len(restored)
    result = _median(restored + [own.restored] * missing).astype(np.float32)
    detail = _find_detail(result, rainy + [own.rainy] * missing)
    detail[num_votes < _COUNT // 2 + 2] = 0  # the frame itself would have the majority
    largest = np.iinfo(own.rainy.dtype).max
    return np.clip(np.rint(result + detail), 0, largest).astype(own.rainy.dtype)


def _find_detail(result: np.ndarray, rainy: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the detail that all rainy frames have and the result lacks.

    It is weighted as by a Wiener filter, with the spread of the frames as noise.
    """
    removed = [frame - result for frame in rainy]
    common = _median(removed)
    spread = _median([np.abs(one - common) for one in removed])
    detail = common - cv2.GaussianBlur(common, (0, 0), _DETAIL)
    power, noise = (
        cv2.GaussianBlur((values**2).mean(axis=-1), (0, 0), _DETAIL / 2)[..., None]
        for values in (detail, spread)
    )
    return detail * power / (power + noise + 0.1)


def _median(images: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the pixelwise median of seven images; much faster than `np.median`."""
    images = list(images)
    for i, j in _NETWORK:
        images[i], images[j] = (
            np.minimum(images[i], images[j]),
            np.maximum(images[i], images[j]),
        )
    return images[3]


def _is_cut(before: Frame, after: Frame) -> bool:
    small = [
        cv2.resize(_grey(one.restored), _SMALL, interpolation=cv2.INTER_AREA)
        for one in (before, after)
    ]
    return bool(cv2.absdiff(*small).mean() > _CUT)


def _grey(image: np.ndarray) -> np.ndarray:
    """Returns the brightness of a frame, uint8 [H, W]."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
