"""Codecs and containers that videos are written with."""

import fractions
import io
from typing import Any

import av
import av.codec
import av.error

CODECS = {".webm": "libvpx-vp9"}  # by suffix; all others take libx264
CRF = {"libvpx-vp9": 24, "libaom-av1": 20, "libsvtav1": 20}  # all others take 18
FORMATS = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm",
}  # fmt: skip
SEGMENTS = "nut"  # keeps any time base and is readable up to where it was cut off


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
        (FORMATS[suffix.lower()], suffix),
        (SEGMENTS, "NUT, the container of unfinished videos,"),
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


def choose_format(like: av.VideoFrame, codec: str) -> str:
    """Returns the pixel format of the frame if the encoder has it, otherwise a similar one."""
    known = [one.name for one in av.codec.Codec(codec, "w").video_formats or ()]
    if like.format.name in known:
        return like.format.name
    halves = "420" if like.width % 2 == like.height % 2 == 0 else "444"
    deep = max(part.bits for part in like.format.components) > 8
    wanted = [f"yuv{halves}p10le"] * deep + [f"yuv{halves}p", "yuv420p"]
    if not known:  # the encoder does not say what it takes
        return wanted[0]
    return next((name for name in wanted if name in known), known[0])
