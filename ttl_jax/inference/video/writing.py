"""Writes the frames of a part of a video to a file."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import av
import av.codec
import av.error
import numpy as np

from ttl_jax.inference.video import codecs, reading


@contextlib.contextmanager
def write_errors(path: str | pathlib.Path) -> Iterator[None]:
    """Turns errors of FFmpeg into OSError with the path; `reading.read_errors` ignores it."""
    try:
        yield
    except av.error.FFmpegError as error:
        raised = OSError(f"{path} cannot be written: {error.strerror}")
        raised.errno = error.errno
        raise raised from error


class Segment:
    """Writes frames to a file, which `joining.join` later joins with others.

    Args:
      path: File to write.
      like: A decoded frame of the source, whose format, colour tags and rotation are used.
      info: Properties of the source; the frame rate is only a hint for the encoder.
      codec: Name of FFmpeg's encoder.
      crf: Constant rate factor of the encoder; smaller means better quality.
    """

    def __init__(
        self, path, like: av.VideoFrame, *, info: reading.Info, codec: str, crf: int
    ):
        self._path, self._like, self._durations = path, like, {}
        with write_errors(path):
            self._container = av.open(str(path), "w", format=codecs.SEGMENTS)
        # Without B-frames, segments can be joined at any frame.
        options = {"crf": str(crf), "b": "0"} if "vpx" in codec else {"crf": str(crf)}
        self._stream: Any = self._container.add_stream(
            codec, info.rate, options=options
        )
        context = self._stream.codec_context
        context.max_b_frames = 0
        context.time_base = like.time_base
        if info.aspect:
            context.sample_aspect_ratio = info.aspect
        context.width, context.height = like.width, like.height
        context.pix_fmt = codecs.choose_format(like, codec)
        for name in reading.COLOUR_TAGS:
            setattr(context, name, getattr(like, name))

    def add(self, pixels: np.ndarray, pts: int, duration: int) -> None:
        """Encodes a frame.

        Args:
          pixels: Upright pixels, as from `reading.Picture.pixels`.
          pts: Start time, in units of the time base.
          duration: Duration in these units.
        """
        like = self._like
        stored = np.ascontiguousarray(np.rot90(pixels, -round(like.rotation / 90)))
        rgb = av.VideoFrame.from_ndarray(
            stored, "rgb24" if stored.dtype == np.uint8 else "rgb48le"
        )
        frame = rgb.reformat(
            format=self._stream.codec_context.pix_fmt,
            dst_colorspace=reading.matrix(like) or like.colorspace,
            dst_color_range=like.color_range,
        )
        for name in reading.COLOUR_TAGS:
            setattr(frame, name, getattr(like, name))
        frame.pts, frame.duration, frame.time_base = pts, duration, like.time_base
        self._durations[pts] = duration
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        """Completes the file."""
        self._mux(self._stream.encode(None))
        with write_errors(self._path):
            self._container.close()

    def _mux(self, packets) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, 0)
            with write_errors(self._path):
                self._container.mux(packet)
