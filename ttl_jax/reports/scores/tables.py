"""Scores as files: Markdown tables of means, one CSV row per score, and JSON."""

import json
import os
import pathlib
from collections.abc import Iterable, Mapping

import pandas as pd

from ttl_jax import atomic_files
from ttl_jax.metrics import image_quality
from ttl_jax.reports import markdown
from ttl_jax.reports.scores.scores import METRICS
from ttl_jax.reports.sheets.examples import INPUT

TABLE, PER_IMAGE, SCORES = "table.md", "per_image.csv", "scores.json"
_MARKED = ("psnr", "ssim")  # in one column, with the best marked, as in Table 1


def write_report(
    folder: str | os.PathLike[str], scores: pd.DataFrame, summary: Mapping, text: str
) -> None:
    """Writes `table.md`, `per_image.csv` and `scores.json`, each completely or not.

    Args:
      folder: Folder of the report; made if missing. Earlier reports are replaced.
      scores: Scores of all images.
      summary: Result of `scores.summarize`.
      text: Content of `table.md`.

    Raises:
      ValueError: If a mean is not finite, which JSON cannot hold.
    """
    contents = {
        TABLE: text,
        PER_IMAGE: scores.to_csv(index=False, lineterminator="\n"),
        SCORES: json.dumps(summary, indent=2, allow_nan=False) + "\n",
    }
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        atomic_files.write_bytes(folder / name, content.encode())


def format_summary(summary: Mapping, notes: Iterable[str] = ()) -> str:
    """Returns a Markdown table per protocol in the layout of Table 1: methods by sets.

    Args:
      summary: Result of `scores.summarize`.
      notes: Lines for the end of the tables.
    """
    protocols = dict.fromkeys(name for by_name in summary.values() for name in by_name)
    sections = [_format_protocol(summary, protocol) for protocol in protocols]
    return "\n".join([*sections, *(f"{note}\n" for note in notes)])


def count(number: int, noun: str) -> str:
    """Returns for example "1 image" or "2 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def describe_set(name: str, means: Mapping) -> str:
    """Returns a set's name with its numbers of images and scenes."""
    images, scenes = count(means["count"], "image"), count(means["scenes"], "scene")
    return f"{name} ({images}, {scenes})"


def _format_protocol(summary: Mapping, protocol: str) -> str:
    """The section of one protocol, with every set that was scored under it."""
    sets = {name: by[protocol] for name, by in summary.items() if protocol in by}
    methods = dict.fromkeys(
        method for by_method in sets.values() for method in by_method
    )
    titles, columns = ["method"], [list(methods)]
    for name, by_method in sets.items():
        for title, cells in _columns(name, by_method):
            titles.append(title)
            columns.append([cells.get(method, "-") for method in methods])
    # Sets repeat titles, so a dictionary of columns would not do.
    frame = pd.DataFrame(list(zip(*columns, strict=True)), columns=titles)
    return f"## {protocol}\n\n{markdown.table(frame)}\n\n{_note(protocol, sets)}\n"


def _columns(name: str, by_method: Mapping) -> Iterable[tuple[str, dict[str, str]]]:
    """The columns of one set: a title, and a cell for each method."""
    first = by_method[INPUT]
    title = describe_set(name, first)
    if "psnr" in first:
        yield f"{title}: PSNR, dB / SSIM", _marked_cells(by_method)
    for metric, column in METRICS.items():
        cells = {
            method: _cell(metric, means)
            for method, means in by_method.items()
            if metric in means
        }
        if cells and metric not in _MARKED:
            yield column.title if "psnr" in first else f"{title}: {column.title}", cells
        if metric == "psnr_gain" and (to_best := _to_best_cells(by_method)):
            yield "to the best, dB [95 %]", to_best


def _cell(metric: str, means: Mapping) -> str:
    """A metric's mean, followed by its difference to the input if that is known."""
    form = METRICS[metric].form
    if metric == "psnr_gain" and (gain := means.get("psnr_to_input")):
        return _with_interval(gain)
    text = format(means[metric], form)
    if difference := means.get(f"{metric}_to_input"):
        text += f" ({_with_interval(difference, '+' + form.lstrip('+'))})"
    return text


def _with_interval(difference: Mapping, form: str = "+.2f") -> str:
    low, high = difference["low"], difference["high"]
    text = format(difference["mean"], form)
    return text if low is None else f"{text} [{low:{form}}, {high:{form}}]"


def _marked_cells(by_method: Mapping) -> dict[str, str]:
    """PSNR / SSIM of each method, the best in bold and the second best underlined."""
    marks = {1: "**{}**", 2: "<u>{}</u>"}
    cells = pd.DataFrame(index=list(by_method))
    for metric in _MARKED:
        texts = pd.Series(
            {
                m: format(means[metric], METRICS[metric].form)
                for m, means in by_method.items()
            }
        )
        # Ranks of the printed numbers: methods that look equal are marked alike.
        ranks = texts.drop(INPUT).astype(float).rank(ascending=False, method="dense")
        if len(ranks) > 1:
            for method, rank in ranks.items():
                texts[method] = marks.get(rank, "{}").format(texts[method])
        cells[metric] = texts
    return cells.agg(" / ".join, axis=1).to_dict()


def _to_best_cells(by_method: Mapping) -> dict[str, str]:
    cells = {}
    for method, means in by_method.items():
        if to_best := means.get("psnr_to_best"):
            cells[to_best["method"]] = "0"
            cells[method] = _with_interval(to_best)
    return cells


def _note(protocol: str, sets: Mapping) -> str:
    """The foot of a table: the protocol, the comparisons and the metrics."""
    shown = {key for by in sets.values() for means in by.values() for key in means}
    lines = ["Means over images."]
    if protocol in image_quality.PROTOCOLS:
        description = image_quality.PROTOCOLS[protocol].description
        lines.append(
            f"Protocol `{protocol}`: {description}. The best method is in bold, the "
            "second best underlined; the input does not count. Differences to the best "
            "are in PSNR."
        )
    if any("_to_" in key for key in shown):
        lines.append(
            "Differences (those to the input are in brackets) are paired by image. Their "
            "intervals resample scenes and are too narrow for fewer than about 20."
        )
    lines += [
        f"{metric.title}: {metric.note}."
        for name, metric in METRICS.items()
        if name in shown and name not in _MARKED
    ]
    return " ".join(lines)
