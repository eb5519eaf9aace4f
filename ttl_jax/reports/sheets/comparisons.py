"""Rows of a comparison sheet from the results of several methods."""

from collections.abc import Iterable, Mapping, Sequence

from ttl_jax.metrics import image_quality
from ttl_jax.reports.examples import INPUT, Example
from ttl_jax.reports.sheets.close_ups import Box
from ttl_jax.reports.sheets.sheets import SheetRow

TARGET = "target"
EVERY_IMAGE = ""  # key for close-ups in every image, instead of a name


def make_rows(
    examples: Iterable[Example],
    *,
    close_ups: Mapping[str, Sequence[Box]] | int = 0,
    protocol: str | None = image_quality.DEFAULT_PROTOCOL,
    with_names: bool = False,
) -> list[SheetRow]:
    """Returns a row for each example: the input, every method's result, and any target.

    Args:
      examples: Examples to show, such as an `examples.Examples`.
      close_ups: Boxes by name of the image, with those of `EVERY_IMAGE` in every row; or
        the number of boxes, which are placed where the results of the methods differ most.
        A single method is compared with the input.
      protocol: Protocol of the PSNR and SSIM below each image; None for no scores.
      with_names: Whether to write the images' names beside the rows.

    Raises:
      ValueError: If a close-up names an unknown image, a method is called `TARGET`, or as
        for `SheetRow`.
    """
    rows = {}
    for example in examples:
        boxes = close_ups
        if not isinstance(boxes, int):
            names = EVERY_IMAGE, example.name
            boxes = [box for name in names for box in boxes.get(name, ())]
        name = example.name if with_names else ""
        try:
            rows[example.name] = _make_row(example, boxes, protocol, name)
        except ValueError as error:
            raise ValueError(f"{example.name}: {error}") from error
    for name in () if isinstance(close_ups, int) else close_ups:
        if name not in (EVERY_IMAGE, *rows):
            raise ValueError(
                f"A close-up is for {name!r}, but the images shown are {', '.join(rows)}."
            )
    return list(rows.values())


def _make_row(
    example: Example, close_ups: Sequence[Box] | int, protocol: str | None, name: str
) -> SheetRow:
    methods = [method for method in example.restored if method != INPUT]
    panels, captions = dict(example.restored), {}
    if example.target is not None:
        if TARGET in panels:
            raise ValueError(
                f"{TARGET!r} is the name of the clean images; rename the method."
            )
        panels[TARGET] = example.target
        if protocol:
            captions = {
                method: f"{scores['psnr']:.2f} / {scores['ssim']:.4f}"
                for method, scores in example.compare(protocol).items()
            }
            captions[TARGET] = "PSNR / SSIM"
    return SheetRow(
        panels,
        captions,
        name=name,
        close_ups=close_ups,
        compared=methods if len(methods) > 1 else list(example.restored),
    )
