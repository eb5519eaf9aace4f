"""Rows of a comparison sheet from the results of several methods."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ttl_jax.metrics import image_quality
from ttl_jax.reports.close_ups import Box
from ttl_jax.reports.scores import INPUT, Example
from ttl_jax.reports.sheets import SheetRow

TARGET = "target"
EVERY_IMAGE = ""  # in place of an image's name


def make_rows(
    examples: Iterable[Example],
    names: Sequence[str],
    *,
    close_ups: Mapping[str, Sequence[Box]] | int = 0,
    protocol: str | None = image_quality.DEFAULT_PROTOCOL,
    with_target: bool = True,
    with_names: bool = False,
) -> list[SheetRow]:
    """A row for each image: the input, every method's result, and the target.

    Args:
      examples: Such as `scores.ResultFolders`; read as far as the images named last.
      names: Of the images to show, in the order of the rows.
      close_ups: Boxes by the image's name, those of `EVERY_IMAGE` in every row; or how
        many to place where the methods' results differ most from each other, a single
        method's from the input.
      protocol: Of the PSNR and SSIM under each image; None for none.
      with_target: Whether the examples have targets of their own; if not, there is
        neither that column nor a score.
      with_names: Whether the rows bear the images' names.

    Raises:
      ValueError: An image is named twice or is not among the examples, a method is
        called `TARGET`, or as `SheetRow`.
    """
    names = list(names)
    if len(set(names)) < len(names):
        raise ValueError(f"Each image has one row, but given are {', '.join(names)}.")
    if not isinstance(close_ups, int):
        _check_known(close_ups, [EVERY_IMAGE, *names], "a close-up's image")
    rows, seen = {}, []
    for example in examples:
        seen.append(example.name)
        if example.name in names:
            options = close_ups, protocol, with_target, with_names
            try:
                rows[example.name] = _make_row(example, *options)
            except ValueError as error:
                raise ValueError(f"{example.name}: {error}") from error
        if len(rows) == len(names):
            break
    _check_known(names, seen, "an image")
    return [rows[name] for name in names]


def _make_row(
    example: Example,
    close_ups: Mapping[str, Sequence[Box]] | int,
    protocol: str | None,
    with_target: bool,
    with_names: bool,
) -> SheetRow:
    if not isinstance(close_ups, int):
        of_row = (close_ups.get(name, ()) for name in (EVERY_IMAGE, example.name))
        close_ups = [box for boxes in of_row for box in boxes]
    methods = [method for method in example.restored if method != INPUT]
    panels, captions = dict(example.restored), {}
    if with_target:
        if TARGET in panels:
            raise ValueError(
                f"{TARGET!r} is what the clean images are called; name the method "
                "otherwise."
            )
        panels[TARGET] = example.target
        if protocol:
            captions = _captions(example, protocol)
    return SheetRow(
        panels,
        captions,
        name=example.name if with_names else "",
        close_ups=close_ups,
        compared=methods if len(methods) > 1 else [INPUT, *methods],
    )


def _captions(example: Example, protocol: str) -> dict[str, str]:
    """The scores under each image; under the target, which has none, what they are."""
    captions = {TARGET: "PSNR / SSIM"}
    for method, restored in example.restored.items():
        pair = restored[np.newaxis], example.target[np.newaxis]
        psnr = image_quality.psnr(*pair, protocol).item()
        ssim = image_quality.ssim(*pair, protocol).item()
        captions[method] = f"{psnr:.2f} / {ssim:.4f}"
    return captions


def _check_known(names: Iterable[str], known: Sequence[str], what: str) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"There is no {name!r}, named as {what}.{hint}")
