"""Reads the frames of videos, with timestamps and colours."""

import contextlib
import fractions
import heapq
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
import av.codec
import av.error
import numpy as np
from av.video.reformatter import Colorspace

_DURATION = r"(\d+):(\d+):(\d+\.?\d*)"  # of a stream of Matroska
_UNKNOWN = 2  # AVCOL_SPC_UNSPECIFIED
_HD = 720  # rows; a video of this height or more is BT.709 if it has no colour tags
_MATRICES = {
    1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
}  # fmt: skip
COLOUR_TAGS = ("color_primaries", "color_trc", "colorspace", "color_range")


@contextlib.contextmanager
def open_video(path: str | pathlib.Path) -> Iterator[Any]:
    """Opens a video; errors of FFmpeg become ValueError with the path."""
    with (
        read_errors(path),
        av.open(str(path), metadata_errors="replace") as container,
    ):
        if not container.streams.video:
            raise ValueError(f"{path} has no video stream.")
        yield container


@contextlib.contextmanager
def read_errors(path: str | pathlib.Path) -> Iterator[None]:
    """Turns errors of FFmpeg into ValueError with the path."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


def main_stream(container) -> Any:
    """Returns the video stream that players show."""
    return container.streams.best("video")


class Picture(NamedTuple):
    """A decoded frame.

    Attributes:
      pts: Start time, in units of the stream's time base; strictly increasing.
      duration: Duration in these units, from the file or from the frame rate.
      decoded: Frame of PyAV; None if it could not be decoded.
      is_broken: Whether it is damaged.
    """

    pts: int
    duration: int
    decoded: av.VideoFrame | None
    is_broken: bool

    def pixels(self) -> np.ndarray | None:
        """Returns upright RGB, uint8 [H, W, 3], or uint16 for more than 8 bits."""
        if self.decoded is None:
            return None
        deep = max(part.bits for part in self.decoded.format.components) > 8
        rgb = self.decoded.reformat(
            format="rgb48le" if deep else "rgb24", src_colorspace=matrix(self.decoded)
        )
        turns = round(self.decoded.rotation / 90)
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), turns))


class Info(NamedTuple):
    """Properties of a video.

    Attributes:
      num_frames: Number of frames, which may be estimated from the duration; None if
        unknown.
      rate: Frames per second.
      aspect: Ratio of width to height of a pixel; None if unknown.
      num_pixels: Number of pixels of a frame.
      end: End of the last frame by the header, in seconds; None if unknown.
      time_base: Unit of times, in seconds.
    """

    num_frames: int | None
    rate: fractions.Fraction
    aspect: fractions.Fraction | None
    num_pixels: int
    end: fractions.Fraction | None
    time_base: fractions.Fraction

    def count_missing_seconds(self, last: Picture) -> float:
        """Returns how much earlier the video ends than its header says, in seconds.

        Up to 1.5 frames count as 0.
        """
        if self.end is None:
            return 0.0
        missing = self.end - (last.pts + last.duration) * self.time_base
        return float(missing) if missing * self.rate > 1.5 else 0.0


def probe(path: str) -> Info:
    """Returns properties of a video without decoding it.

    Raises:
      ValueError: If the file is not a video.
    """
    with open_video(path) as container:
        stream = main_stream(container)
        rate = stream.average_rate or stream.guessed_rate or fractions.Fraction(25)
        number = stream.frames or None
        if not number and container.duration:
            number = round(container.duration / av.time_base * rate)
        num_pixels = stream.width * stream.height
        return Info(
            number,
            rate,
            stream.sample_aspect_ratio,
            num_pixels,
            _read_end(container, stream),
            stream.time_base,
        )


def _read_end(container, stream) -> fractions.Fraction | None:
    """Returns the end of the last frame that the header names, in seconds.

    It is unknown for containers whose duration FFmpeg estimates from the file's
    content.
    """
    if container.format.name.startswith("mov"):
        if stream.duration:
            return ((stream.start_time or 0) + stream.duration) * stream.time_base
    elif container.format.name.startswith("matroska"):
        if found := re.fullmatch(_DURATION, stream.metadata.get("DURATION", "")):
            hours, minutes, seconds = map(fractions.Fraction, found.groups())
            return 3600 * hours + 60 * minutes + seconds
        if container.duration and len(container.streams) == 1:
            return fractions.Fraction(container.duration, av.time_base)
    return None


def read(path: str) -> Iterator[Picture]:
    """Yields the frames of a video in the order of their timestamps.

    Raises:
      ValueError: If the file is not a video, or the size of its frames changes.
    """
    with open_video(path) as container:
        stream = main_stream(container)
        rate = stream.guessed_rate or stream.average_rate or 25
        step = max(round(1 / (rate * stream.time_base)), 1)
        last, lost, size = None, [], None

        def place(pts: int | None, duration: int | None, *rest) -> Picture:
            nonlocal last
            if last is not None:
                pts = max(last + 1, last + step if pts is None else pts)
            last = pts or 0
            return Picture(last, duration or step, *rest)

        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                if packet.pts is not None:
                    heapq.heappush(lost, packet.pts)
                continue
            for frame in frames:
                size = size or (frame.width, frame.height)
                if (frame.width, frame.height) != size:
                    raise ValueError(f"{path} changes the size of its frames.")
                while lost and frame.pts is not None and lost[0] < frame.pts:
                    # Lost frames at the start repeat the first decoded frame.
                    repeated = frame if last is None else None
                    yield place(heapq.heappop(lost), None, repeated, True)
                broken = frame.is_corrupt or packet.is_corrupt
                yield place(frame.pts, frame.duration, frame, broken)
        while lost:
            yield place(heapq.heappop(lost), None, None, True)


def matrix(frame: av.VideoFrame) -> Colorspace | None:
    """Returns the colour matrix of a frame; None means that FFmpeg uses its tag."""
    if frame.colorspace == _UNKNOWN:
        return Colorspace.ITU709 if frame.height >= _HD else Colorspace.ITU601
    return _MATRICES.get(frame.colorspace)
