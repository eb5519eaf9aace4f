"""Reads and writes the frames of video files, with timestamps, colours and other streams."""

import contextlib
import fractions
import heapq
import io
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import av
import av.codec
import av.error
import numpy as np
from av.video.reformatter import Colorspace

CODECS = {".webm": "libvpx-vp9"}  # by suffix; all others take libx264
CRF = {"libvpx-vp9": 24, "libaom-av1": 20, "libsvtav1": 20}  # all others take 18
_FORMATS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm",
}  # fmt: skip
_SEGMENTS = "nut"  # keeps any time base and is readable up to where it was cut off
# FFmpeg's names of containers whose clock may start at any hour: recordings and discs.
_WITH_ANY_START = ("mpegts", "mpeg", "flv")
_DURATION = r"(\d+):(\d+):(\d+\.?\d*)"  # of a stream of Matroska
_UNKNOWN = 2  # AVCOL_SPC_UNSPECIFIED
_HD = 720  # rows; a video of this height or more is BT.709 if it has no colour tags
_MATRICES = {
    1: Colorspace.ITU709, 5: Colorspace.ITU601, 6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
}  # fmt: skip
_ALPHA = "alpha_mode"  # tag of WebM
_COLOUR_TAGS = ("color_primaries", "color_trc", "colorspace", "color_range")


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
            format="rgb48le" if deep else "rgb24", src_colorspace=_matrix(self.decoded)
        )
        turns = round(self.decoded.rotation / 90)
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), turns))


@contextlib.contextmanager
def _open(path: str | pathlib.Path) -> Iterator[Any]:
    """Opens a video; errors of FFmpeg become ValueError with the path."""
    with (
        _reading(path),
        av.open(str(path), metadata_errors="replace") as container,
    ):
        if not container.streams.video:
            raise ValueError(f"{path} has no video stream.")
        yield container


@contextlib.contextmanager
def _reading(path: str | pathlib.Path) -> Iterator[None]:
    try:
        yield
    except av.error.FFmpegError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _writing(path: str | pathlib.Path) -> Iterator[None]:
    """Errors of FFmpeg become OSError with the path, which `_reading` lets pass."""
    try:
        yield
    except av.error.FFmpegError as error:
        raised = OSError(f"{path} cannot be written: {error.strerror}")
        raised.errno = error.errno
        raise raised from error


def _main_stream(container) -> Any:
    return container.streams.best("video")


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
    with _open(path) as container:
        stream = _main_stream(container)
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
    with _open(path) as container:
        stream = _main_stream(container)
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


class Segment:
    """Writes frames to a file, which `join` later joins with others.

    Args:
      path: File to write.
      like: A decoded frame of the source, whose format, colour tags and rotation are used.
      info: Properties of the source; the frame rate is only a hint for the encoder.
      codec: Name of FFmpeg's encoder.
      crf: Constant rate factor of the encoder; smaller means better quality.
    """

    def __init__(self, path, like: av.VideoFrame, *, info: Info, codec: str, crf: int):
        self._path, self._like, self._durations = path, like, {}
        with _writing(path):
            self._container = av.open(str(path), "w", format=_SEGMENTS)
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
        context.pix_fmt = _choose_format(like, codec)
        for name in _COLOUR_TAGS:
            setattr(context, name, getattr(like, name))

    def add(self, pixels: np.ndarray, pts: int, duration: int) -> None:
        """Encodes a frame.

        Args:
          pixels: Upright pixels, as from `Picture.pixels`.
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
            dst_colorspace=_matrix(like) or like.colorspace,
            dst_color_range=like.color_range,
        )
        for name in _COLOUR_TAGS:
            setattr(frame, name, getattr(like, name))
        frame.pts, frame.duration, frame.time_base = pts, duration, like.time_base
        self._durations[pts] = duration
        self._mux(self._stream.encode(frame))

    def close(self) -> None:
        """Completes the file."""
        self._mux(self._stream.encode(None))
        with _writing(self._path):
            self._container.close()

    def _mux(self, packets) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, 0)
            with _writing(self._path):
                self._container.mux(packet)


def check_codec(name: str, suffix: str, crf: int | None = None) -> None:
    """Checks that a codec can be used.

    Args:
      name: Name of FFmpeg's encoder.
      suffix: Suffix of the target.
      crf: Constant rate factor that the user named, if any.

    Raises:
      ValueError: If the codec is not a video encoder, does not fit the container of the
        target or of segments, or has no constant rate factor and one was named.
    """
    try:
        codec = av.codec.Codec(name, "w")
    except ValueError as error:
        raise ValueError(f"FFmpeg has no encoder {name!r}.") from error
    if codec.type != "video":
        raise ValueError(f"{name} encodes {codec.type}, not video.")
    for container, holder in (
        (_FORMATS[suffix.lower()], suffix),
        (_SEGMENTS, "NUT, the container of unfinished videos,"),
    ):
        with av.open(io.BytesIO(), "w", format=container) as output:
            try:
                output.add_stream(name, 25)
            except (ValueError, av.error.FFmpegError) as error:
                raise ValueError(
                    f"{holder} cannot hold {name}; choose another --codec, such as "
                    f"{CODECS.get(suffix.lower(), 'libx264')}."
                ) from error
    if crf is not None and not _has_crf(codec):
        raise ValueError(
            f"{name} has no constant rate factor; leave out --crf {crf}, or choose another "
            "--codec."
        )


def _has_crf(codec: av.codec.Codec) -> bool:
    """Returns whether an encoder has the option crf; True if it cannot be opened here."""
    context: Any = av.codec.CodecContext.create(codec, "w")
    context.width = context.height = 64
    known = codec.video_formats
    context.pix_fmt = known[0].name if known else "yuv420p"
    context.time_base = fractions.Fraction(1, 25)
    context.options = {"crf": "20"}
    try:
        context.open()
    except (ValueError, av.error.FFmpegError):
        return True  # such as for lack of a graphics card; encoding reports why
    return "crf" not in context.options  # those that no encoder took are left


def join(
    segments: Sequence[pathlib.Path],
    source: str,
    target: pathlib.Path,
    *,
    num_frames: int,
) -> list[str]:
    """Writes the video of all segments, with copies of the other streams of the source.

    Times are those of the source, or begin at 0 if its clock may start at any hour.

    Args:
      segments: Files of `Segment`, in their order.
      source: Video whose sound, subtitles, chapters, metadata and rotation are kept.
      target: File to write; its suffix is the container.
      num_frames: Number of frames in all segments.

    Returns:
      Kinds of streams that the container does not support, and "alpha" if the source
      has it.

    Raises:
      ValueError: If a file cannot be read, or frames are missing.
      OSError: If the target cannot be written.
    """
    like = next(one.decoded for one in read(source) if one.decoded is not None)
    start, end = _find_start(source), _find_end(source)
    with (
        _open(source) as original,
        _open(segments[0]) as first,
        _writing(target),
        _create(target, original.metadata) as output,
    ):
        output.metadata.update(original.metadata)
        output.set_chapters(original.chapters())
        main = _main_stream(original)
        video = _add_video(output, first.streams.video[0], main, like)
        others, lost = _add_others(output, original, main)
        lost += ["alpha"] if _has_alpha(main, like) else []
        kept = _packets(original, source, list(others)) if others else ()
        num_left = num_frames
        for packet in heapq.merge(_join_packets(segments), kept, key=_time):
            if packet.stream not in others:
                num_left -= 1
                if packet.pts * packet.time_base >= end[0]:
                    packet.duration = round(end[1] / packet.time_base)
            _move(packet, -start)
            packet.stream = others.get(packet.stream, video)
            output.mux(packet)
    if num_left:
        raise ValueError(f"{target} lacks {num_left} of {num_frames} frames.")
    return lost


def _add_video(output, segment, main, like: av.VideoFrame) -> Any:
    """Adds a video stream.

    Args:
      segment: Stream of a segment, which was encoded in the same way.
      main: Stream of the source, whose tags and rate are kept.
      like: Frame of the source, whose rotation and colour tags are kept.
    """
    try:
        video = output.add_stream_from_template(segment)
    except ValueError:  # no encoder has the name of the decoder, such as libdav1d
        video = output.add_stream_from_template(segment, opaque=True)
    video.time_base = segment.time_base
    video.metadata.update(main.metadata)
    video.metadata.pop(_ALPHA, None)
    if like.rotation:
        video.set_display_rotation(like.rotation)
    if video.codec_context is not None:
        video.codec_context.framerate = main.average_rate or main.guessed_rate
        for name in _COLOUR_TAGS:  # some codecs do not store all of them
            setattr(video.codec_context, name, getattr(like, name))
    return video


def _has_alpha(stream, frame: av.VideoFrame) -> bool:
    """Returns whether a video has alpha; FFmpeg's own decoder of VP9 does not return it."""
    in_frame = any(part.is_alpha for part in frame.format.components)
    return in_frame or stream.metadata.get(_ALPHA) == "1"


def _add_others(output, original, main) -> tuple[dict[Any, Any], list[str]]:
    """Adds the other streams; returns them by their source, and the kinds not kept."""
    others, lost = {}, []
    for stream in original.streams:
        if stream is main:
            continue
        try:
            if stream.type not in ("audio", "subtitle"):
                raise ValueError(stream.type)
            others[stream] = output.add_stream_from_template(stream)
            others[stream].metadata.update(stream.metadata)
        except (ValueError, av.error.FFmpegError):
            lost.append(stream.type)
    return others, lost


def _create(target: pathlib.Path, tags: Mapping[str, str]) -> Any:
    """Opens a video for writing that can hold the tags of a source."""
    # As in `check_codec`; by its name, .m4v would be a container that holds fewer codecs.
    container = _FORMATS[target.suffix.lower()]
    # Tags of phones, such as com.apple.quicktime.make, need another kind of list. Many
    # programs look for ordinary tags in the ordinary one only.
    has_others = container in ("mp4", "mov") and any("." in name for name in tags)
    options = {"movflags": "use_metadata_tags"} if has_others else {}
    return av.open(str(target), "w", format=container, options=options)


def _find_start(source: str) -> fractions.Fraction:
    """Returns the time in seconds that the target calls 0."""
    with _open(source) as container:
        has_any = container.format.name in _WITH_ANY_START
        return fractions.Fraction(has_any * (container.start_time or 0), av.time_base)


def _move(packet, seconds: fractions.Fraction) -> None:
    """Adds seconds to the times of a packet."""
    step = round(seconds / packet.time_base)
    packet.dts += step
    if packet.pts is not None:
        packet.pts += step


def _find_end(source: str) -> tuple[fractions.Fraction, fractions.Fraction]:
    """Returns start and duration of the last frame in seconds; segments lack the duration."""
    with _open(source) as container:
        stream = _main_stream(container)
        last = max(
            (packet.pts, packet.duration or 0)
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None
        )
        duration = last[1]
        if stream.duration:
            after = (stream.start_time or 0) + stream.duration
            duration = after - last[0] if after > last[0] else duration
        return last[0] * stream.time_base, duration * stream.time_base


def _join_packets(segments: Sequence[pathlib.Path]) -> Iterator[Any]:
    for path in segments:
        with _open(path) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size:
                    packet.dts = packet.pts  # there are no B-frames
                    yield packet


def _packets(container, path: str, streams) -> Iterator[Any]:
    with _reading(path):
        for packet in container.demux(streams):
            if packet.size and packet.dts is not None:  # the last packet is empty
                yield packet


def _time(packet) -> fractions.Fraction:
    return packet.dts * packet.time_base


def _choose_format(like: av.VideoFrame, codec: str) -> str:
    """Returns the pixel format of the frame if the encoder has it, otherwise a similar one."""
    try:
        known = [one.name for one in av.codec.Codec(codec, "w").video_formats or ()]
    except ValueError as error:
        raise ValueError(f"Codec {codec!r} is unknown to FFmpeg's encoders.") from error
    if like.format.name in known:
        return like.format.name
    halves = "420" if like.width % 2 == like.height % 2 == 0 else "444"
    deep = max(part.bits for part in like.format.components) > 8
    wanted = [f"yuv{halves}p10le"] * deep + [f"yuv{halves}p", "yuv420p"]
    return next((name for name in wanted if name in known), known[0])


def _matrix(frame: av.VideoFrame) -> Colorspace | None:
    """Returns the colour matrix of a frame; None means that FFmpeg uses its tag."""
    if frame.colorspace == _UNKNOWN:
        return Colorspace.ITU709 if frame.height >= _HD else Colorspace.ITU601
    return _MATRICES.get(frame.colorspace)
