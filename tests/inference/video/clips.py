"""Small generated videos for tests."""

import fractions

import av
import numpy as np

SIZE = 48, 64  # rows, columns
TICKS = 600  # of a second


def picture(seed=0, shape=SIZE):
    """A smooth random picture, uint8 [H, W, 3]."""
    rows, columns = shape
    coarse = np.random.default_rng(seed).integers(80, 170, (rows // 8, columns // 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def write(
    path, pictures, *, codec="libx264", steps=(20,), rotation=0, fmt="yuv420p", sound="",
    header_first=False,
):  # fmt: skip
    """Writes a clip with BT.709 tags and steps in turn between its frames, in ticks.

    With `header_first`, a part of an MP4 from its start can be read.
    """
    height, width = pictures[0].shape[:2]
    is_mp4 = str(path).endswith(".mp4")
    options = {"movflags": "faststart"} if header_first and is_mp4 else {}
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream(codec, 30, options={"crf": "4"})
        video.width, video.height, video.pix_fmt = width, height, fmt
        video.codec_context.time_base = fractions.Fraction(1, TICKS)
        video.codec_context.sample_aspect_ratio = fractions.Fraction(4, 3)
        tag(video.codec_context)
        if rotation:
            video.set_display_rotation(rotation)
        audio = container.add_stream(sound, 48000) if sound else None
        if audio is not None:
            audio.layout = "mono"
        pts = 0
        for number, array in enumerate(pictures):
            rgb = av.VideoFrame.from_ndarray(array, "rgb24")
            frame = rgb.reformat(format=fmt, dst_colorspace=1)
            tag(frame)
            frame.pts, frame.time_base = pts, fractions.Fraction(1, TICKS)
            container.mux(video.encode(frame))
            pts += steps[number % len(steps)]
        container.mux(video.encode(None))
        if audio is not None:
            for number in range(pts * 48000 // TICKS // 1024):
                tone = np.sin(np.arange(1024) * (number + 1) / 50)[None]
                frame = av.AudioFrame.from_ndarray(
                    tone.astype(np.float32), "fltp", "mono"
                )
                frame.rate, frame.pts = 48000, 1024 * number
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))


def copy(source, target, *, delay=0, tags=()):
    """Copies all streams into another container, with later times in seconds and tags."""
    with av.open(str(source)) as original, av.open(str(target), "w") as container:
        container.metadata.update(tags)
        streams = {
            stream: container.add_stream_from_template(stream)
            for stream in original.streams
        }
        for packet in original.demux():
            if packet.size:
                step = round(delay / packet.time_base)
                packet.pts, packet.dts = packet.pts + step, packet.dts + step
                packet.stream = streams[packet.stream]
                container.mux(packet)


def tag(one):
    one.colorspace = one.color_primaries = one.color_trc = 1
    one.color_range = 1


def describe(path):
    """What a restored video keeps: times, rotation, tags, duration and sound."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        frames = list(container.decode(stream))
        found = {
            "times": [frame.pts * frame.time_base for frame in frames],
            "rotation": frames[0].rotation,
            "size": (context.width, context.height),
            "format": context.pix_fmt,
            "tags": [context.colorspace, context.color_primaries, context.color_trc],
            "duration": round(container.duration / av.time_base, 2),
            "aspect": context.sample_aspect_ratio,
            "rate": stream.average_rate,
        }
    with av.open(str(path)) as container:
        packets = (
            container.demux(container.streams.audio) if container.streams.audio else ()
        )
        found["sound"] = [(one.pts, bytes(one)) for one in packets if one.size]
    return found
