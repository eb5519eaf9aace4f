"""Scores as files: Markdown tables of means, one CSV row per score, and JSON."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from ttl_jax import atomic_files
from ttl_jax.metrics import image_quality
from ttl_jax.reports.scores import scores as scores_lib
from ttl_jax.reports.sheets.examples import INPUT

TABLE, PER_IMAGE, SCORES = "table.md", "per_image.csv", "scores.json"
# Metrics of Table 1, in one column, and of which the best are marked.
_MARKED = ("psnr", "ssim")


def write_report(
    folder: str | os.PathLike[str],
    scores: Sequence[scores_lib.Score],
    notes: Iterable[str] = (),
) -> str:
    """Writes `table.md`, `per_image.csv` and `scores.json`, each completely or not.

    Args:
      folder: Where to; made if it is not there. Earlier reports are replaced.
      scores: Scores of any sets, protocols and methods.
      notes: Lines for the end of the tables.

    Returns:
      The text of `table.md`.

    Raises:
      ValueError: A score is not finite, which JSON cannot hold.
    """
    folder = pathlib.Path(folder)
    summary = scores_lib.summarize(scores)
    table = "\n".join([markdown(summary), *(f"{note}\n" for note in notes)])
    write_files(
        folder,
        {
            TABLE: table,
            PER_IMAGE: _csv(scores),
            SCORES: json.dumps(summary, indent=2, allow_nan=False) + "\n",
        },
    )
    return table


def write_files(folder: pathlib.Path, contents: Mapping[str, str]) -> None:
    """Writes text files by name, each completely or not."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        with atomic_files.atomic_file(folder / name) as stream:
            stream.write(text.encode())


def markdown(summary: Mapping) -> str:
    """A Markdown table per protocol in the layout of Table 1: methods by sets.

    Args:
      summary: As `scores.summarize` returns it.
    """
    protocols = dict.fromkeys(name for by_name in summary.values() for name in by_name)
    return "\n".join(_protocol_table(summary, protocol) for protocol in protocols)


def format_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; the first row is its head, all but the first
    column are aligned to the right."""
    head, *body = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [
        "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"
        for row in (head, rule, *body)
    ]


def count(number: int, what: str) -> str:
    """For example "1 image", "2 images"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def describe_set(name: str, means: Mapping) -> str:
    """A set's name with the number of images and scenes behind some means."""
    images, scenes = count(means["count"], "image"), count(means["scenes"], "scene")
    return f"{name} ({images}, {scenes})"


def _protocol_table(summary: Mapping, protocol: str) -> str:
    """The section of one protocol, every set of `summary` that was scored under it."""
    sets = {
        name: value[protocol] for name, value in summary.items() if protocol in value
    }
    methods = dict.fromkeys(
        method for by_method in sets.values() for method in by_method
    )
    columns = [
        column
        for name, by_method in sets.items()
        for column in _columns(name, by_method)
    ]
    rows = [
        ["method", *(title for title, _ in columns)],
        *(
            [method, *(cells.get(method, "-") for _, cells in columns)]
            for method in methods
        ),
    ]
    return "\n".join(
        [f"## {protocol}", "", *format_table(rows), "", _note(protocol, sets), ""]
    )


def _columns(name: str, by_method: Mapping) -> Iterable[tuple[str, dict[str, str]]]:
    """The columns of one set: their title, and a cell for each method."""
    first = by_method[INPUT]
    title = describe_set(name, first)
    if "psnr" in first:
        yield f"{title}: PSNR, dB / SSIM", _marked_cells(by_method)
    for metric, column in scores_lib.METRICS.items():
        cells = {
            method: _cell(metric, means)
            for method, means in by_method.items()
            if metric in means
        }
        if cells and metric not in _MARKED:
            alone = "psnr" not in first
            yield f"{title}: {column.title}" if alone else column.title, cells
        if metric == "psnr_gain" and (to_best := _to_best_cells(by_method)):
            yield "to the best, dB [95 %]", to_best


def _cell(metric: str, means: Mapping) -> str:
    """A metric's mean; with it, where that is known, the difference to the input."""
    form = scores_lib.METRICS[metric].form
    if metric == "psnr_gain" and (gain := means.get("psnr_to_input")):
        return _with_interval(gain, form)
    text = format(means[metric], form)
    if difference := means.get(f"{metric}_to_input"):
        text += f" ({_with_interval(difference, '+' + form.lstrip('+'))})"
    return text


def _with_interval(difference: Mapping, form: str) -> str:
    low, high = difference["low"], difference["high"]
    text = format(difference["mean"], form)
    return text if low is None else f"{text} [{low:{form}}, {high:{form}}]"


def _marked_cells(by_method: Mapping) -> dict[str, str]:
    """PSNR / SSIM, of each the best in bold and the second best underlined."""
    parts: dict[str, list[str]] = {method: [] for method in by_method}
    for metric in _MARKED:
        form = scores_lib.METRICS[metric].form
        printed = {m: format(means[metric], form) for m, means in by_method.items()}
        rated = [float(text) for method, text in printed.items() if method != INPUT]
        best, second = (*sorted(set(rated), reverse=True), None, None)[:2]
        for method, text in printed.items():
            if method != INPUT and len(rated) > 1:
                if float(text) == best:
                    text = f"**{text}**"
                elif float(text) == second:
                    text = f"<u>{text}</u>"
            parts[method].append(text)
    return {method: " / ".join(texts) for method, texts in parts.items()}


def _to_best_cells(by_method: Mapping) -> dict[str, str]:
    cells = {}
    for method, means in by_method.items():
        if to_best := means.get("psnr_to_best"):
            cells[to_best["method"]] = "0"
            cells[method] = _with_interval(to_best, "+.2f")
    return cells


def _note(protocol: str, sets: Mapping) -> str:
    metrics = {
        name: metric
        for name, metric in scores_lib.METRICS.items()
        if any(name in means for methods in sets.values() for means in methods.values())
    }
    lines = ["Means over images."]
    if protocol in image_quality.PROTOCOLS:
        description = image_quality.PROTOCOLS[protocol].description
        lines.append(f"Protocol `{protocol}`: {description}.")
        lines.append(
            "Best in bold, second best underlined, the input aside. Differences to the "
            "best are of PSNR."
        )
    if any(
        "_to_" in key for by in sets.values() for means in by.values() for key in means
    ):
        lines.append(
            "Differences, in brackets those to the input, are image by image; their "
            "intervals resample scenes, and are too narrow for fewer than about 20."
        )
    lines += [
        f"{m.title}: {m.note}." for name, m in metrics.items() if name not in _MARKED
    ]
    return " ".join(lines)


def _csv(scores: Sequence[scores_lib.Score]) -> str:
    """One row per score, at full precision; empty where there is no value."""
    metrics = [
        name for name in scores_lib.METRICS if any(name in s.values for s in scores)
    ]
    stream = io.StringIO()
    columns = ["set", "protocol", "image", "scene", "method", *metrics]
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    for score in scores:
        facts = (score.set, score.protocol, score.image, score.scene, score.method)
        writer.writerow(dict(zip(columns, facts, strict=False)) | dict(score.values))
    return stream.getvalue()
