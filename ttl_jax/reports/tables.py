"""Scores as files: a Markdown table of means, one CSV row per score, and JSON."""

import csv
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

from ttl_jax.data import atomic_files
from ttl_jax.metrics import image_quality
from ttl_jax.reports import scores as scores_lib

TABLE, PER_IMAGE, SCORES = "table.md", "per_image.csv", "scores.json"


def write_report(
    folder: str | os.PathLike[str], scores: Sequence[scores_lib.Score]
) -> str:
    """Writes `table.md`, `per_image.csv` and `scores.json`, each completely or not.

    Args:
      folder: Where to; made if it is not there. Earlier reports are replaced.
      scores: Scores of any sets, protocols and methods.

    Returns:
      The text of `table.md`.

    Raises:
      ValueError: A score is not finite, which JSON cannot hold.
    """
    folder = pathlib.Path(folder)
    summary = scores_lib.summarize(scores)
    table = markdown(summary)
    contents = {
        TABLE: table,
        PER_IMAGE: _csv(scores),
        SCORES: json.dumps(summary, indent=2, allow_nan=False) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        with atomic_files.atomic_file(folder / name) as stream:
            stream.write(text.encode())
    return table


def markdown(summary: Mapping) -> str:
    """A Markdown table per protocol: a row per method, PSNR, SSIM and gain per set.

    Args:
      summary: As `scores.summarize` returns it.
    """
    protocols = dict.fromkeys(name for by_name in summary.values() for name in by_name)
    return "\n".join(_protocol_table(summary, protocol) for protocol in protocols)


def _protocol_table(summary: Mapping, protocol: str) -> str:
    """The section of one protocol, every set of `summary` that was scored under it."""
    sets = {
        name: value[protocol] for name, value in summary.items() if protocol in value
    }
    methods = dict.fromkeys(
        method for by_method in sets.values() for method in by_method
    )
    header = ["method"]
    for name, by_method in sets.items():
        count = by_method[scores_lib.INPUT]["count"]
        header += [f"{name} ({count}): PSNR, dB", "SSIM", "gain, dB"]
    rows = [header, ["---", *["---:"] * (len(header) - 1)]]
    for method in methods:
        row = [method]
        for by_method in sets.values():
            row += _cells(by_method.get(method))
        rows.append(row)
    lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in rows]
    description = image_quality.PROTOCOLS[protocol].description
    note = (
        f"Means over images, whose number is in brackets. Protocol `{protocol}`: "
        f"{description}. The gain is over the rainy input's own PSNR."
    )
    return "\n".join([f"## {protocol}", "", *lines, "", note, ""])


def _cells(means: Mapping | None) -> list[str]:
    """PSNR, SSIM and gain as printed, dashes where a method was not scored on a set."""
    if means is None:
        return ["-"] * 3
    return [
        f"{means['psnr']:.2f}",
        f"{means['ssim']:.4f}",
        f"{means['psnr_gain']:+.2f}",
    ]


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|")


def _csv(scores: Sequence[scores_lib.Score]) -> str:
    """One row per score, at full precision."""
    names = [field.name for field in dataclasses.fields(scores_lib.Score)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(score) for score in scores)
    return stream.getvalue()
