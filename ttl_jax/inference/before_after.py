"""Comparisons of a photograph before and after restoration: side by side, or a slider."""

import base64
import html
import importlib.resources
import io
import pathlib

import numpy as np
from PIL import Image

from ttl_jax import atomic_files
from ttl_jax.data.files import decoding, encoding

_GAP = 8  # pixels between the two sides
_MOST_SIDE = encoding.MOST_SIDE["JPEG"]

# One element of a page: two pictures on top of each other, and a slider that covers both.
_SLIDER = """\
<figure class="comparison">
<div><img src="{before}" alt="before"><img src="{after}" alt="after">
<input type="range" min="0" max="100" step="any" value="50" aria-label="{title}"
aria-valuetext="50 % before"><span aria-hidden="true">Before</span>
<span aria-hidden="true">After</span></div>
<figcaption>{title}</figcaption>
</figure>"""
_FILES = importlib.resources.files("ttl_jax.inference")


def path_beside(target: str, kind: str) -> str:
    """Returns the path of the comparison of a restored photograph, NAME.compare.KIND.

    NAME includes the suffix: z.jpg and z.png may be in one folder.
    """
    return f"{target}.compare.{kind}"


def write(kind: str, target: str, before: np.ndarray, after: np.ndarray) -> None:
    """Writes a comparison beside a restored photograph, as NAME.compare.KIND.

    Pictures that are too large for JPEG are scaled down.

    Args:
      kind: "jpg" for both pictures side by side, or "html" for a page with both pictures
        and a slider.
      target: Path of the restored photograph.
      before: Pixels as `decoding.Picture.array`.
      after: Restored pixels, of the same shape and type.
    """
    sides = [decoding.as_rgb8(array) for array in (before, after)]
    path = pathlib.Path(path_beside(target, kind))
    if kind == "jpg":
        gap = np.full((before.shape[0], _GAP, 3), 255, np.uint8)
        content = _encode(np.concatenate([sides[0], gap, sides[1]], axis=1))
    else:
        content = page([slider(path.name, *sides)]).encode()
    atomic_files.write_bytes(path, content)


def slider(title: str, before: np.ndarray, after: np.ndarray) -> str:
    """Returns the HTML element of a comparison of two images, uint8 [H, W, 3]."""
    sources = (
        f"data:image/jpeg;base64,{base64.b64encode(_encode(side)).decode()}"
        for side in (before, after)
    )
    return _SLIDER.format(
        title=html.escape(title), **dict(zip(("before", "after"), sources))
    )


def page(elements: list[str]) -> str:
    """Returns an HTML page with the elements, which needs no other file."""
    style, script = (
        _FILES.joinpath(name).read_text() for name in ("slider.css", "slider.js")
    )
    body = "\n".join(elements)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n<title>Before and after</title>\n'
        f"<style>\nbody {{ margin: 1em; font-family: sans-serif; }}\n{style}</style>\n"
        f"<main>\n<h1>Before and after</h1>\n{body}\n</main>\n<script>\n{script}</script>\n</html>\n"
    )


def _encode(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(image)
    picture.thumbnail((_MOST_SIDE, _MOST_SIDE))  # changes larger ones only
    picture.save(stream, "JPEG", quality=92)
    return stream.getvalue()
