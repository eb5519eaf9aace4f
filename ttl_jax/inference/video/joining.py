"""Joins the parts of a video, and copies the other streams of its source."""

import fractions
import heapq
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import av
import av.codec
import av.error

from ttl_jax.inference.video import codecs, reading, writing

# FFmpeg's names of containers whose clock may start at any hour: recordings and discs.
_WITH_ANY_START = ("mpegts", "mpeg", "flv")
_ALPHA = "alpha_mode"  # tag of WebM


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
    like = next(one.decoded for one in reading.read(source) if one.decoded is not None)
    start, end = _find_start(source), _find_end(source)
    with (
        reading.open_video(source) as original,
        reading.open_video(segments[0]) as first,
        writing.write_errors(target),
        _create(target, original.metadata) as output,
    ):
        output.metadata.update(original.metadata)
        output.set_chapters(original.chapters())
        main = reading.main_stream(original)
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
        for name in reading.COLOUR_TAGS:  # some codecs do not store all of them
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
    container = codecs.FORMATS[target.suffix.lower()]
    # Tags of phones, such as com.apple.quicktime.make, need another kind of list. Many
    # programs look for ordinary tags in the ordinary one only.
    has_others = container in ("mp4", "mov") and any("." in name for name in tags)
    options = {"movflags": "use_metadata_tags"} if has_others else {}
    return av.open(str(target), "w", format=container, options=options)


def _find_start(source: str) -> fractions.Fraction:
    """Returns the time in seconds that the target calls 0."""
    with reading.open_video(source) as container:
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
    with reading.open_video(source) as container:
        stream = reading.main_stream(container)
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
        with reading.open_video(path) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.size:
                    packet.dts = packet.pts  # there are no B-frames
                    yield packet


def _packets(container, path: str, streams) -> Iterator[Any]:
    with reading.read_errors(path):
        for packet in container.demux(streams):
            if packet.size and packet.dts is not None:  # the last packet is empty
                yield packet


def _time(packet) -> fractions.Fraction:
    return packet.dts * packet.time_base
