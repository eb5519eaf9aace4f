"""Markdown tables of mean scores."""

from collections.abc import Container, Iterable, Iterator, Mapping

import pandas as pd

from ttl_jax.metrics import image_quality, intervals
from ttl_jax.reports import markdown
from ttl_jax.reports.examples import INPUT
from ttl_jax.reports.scores.scores import METRICS

_MARKED = ("psnr", "ssim")  # metrics in one column with the best marked, as in Table 1


def format_summary(summary: Mapping, notes: Iterable[str] = ()) -> str:
    """Returns one Markdown table per protocol, with methods in rows and sets in columns.

    Args:
      notes: Lines for the end of the tables.
    """
    protocols = dict.fromkeys(name for by_name in summary.values() for name in by_name)
    sections = [_format_protocol(summary, protocol) for protocol in protocols]
    return "\n".join([*sections, *(f"{note}\n" for note in notes)])


def count(number: int, noun: str) -> str:
    """Returns a number with its noun, such as "1 image" or "2 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def describe_set(name: str, means: Mapping) -> str:
    """Returns the name of a set with its numbers of images and scenes."""
    images, scenes = count(means["count"], "image"), count(means["scenes"], "scene")
    return f"{name} ({images}, {scenes})"


def describe_metrics(names: Container[str]) -> list[str]:
    """Returns a sentence about each of the metrics, in the order of `METRICS`."""
    known = [metric for name, metric in METRICS.items() if name in names]
    return [f"{metric.title}: {metric.note}." for metric in known]


def _format_protocol(summary: Mapping, protocol: str) -> str:
    """Returns the section of one protocol, with every set that was scored under it."""
    sets = {name: by[protocol] for name, by in summary.items() if protocol in by}
    methods = dict.fromkeys(m for by_method in sets.values() for m in by_method)
    columns = [column for name, by in sets.items() for column in _columns(name, by)]
    # Sets repeat titles, so the columns cannot be a dictionary. There may be no column:
    # images of nearly one colour have no NIQE.
    cells = [pd.Series(cells, name=title) for title, cells in columns]
    frame = pd.concat(cells, axis=1) if cells else pd.DataFrame()
    frame = frame.reindex(list(methods)).fillna("-").rename_axis("method").reset_index()
    return f"## {protocol}\n\n{markdown.table(frame)}\n\n{_note(protocol, sets)}\n"


def _columns(name: str, by_method: Mapping) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The columns of one set: a title, and a cell for each method."""
    first = next(iter(by_method.values()))
    title = describe_set(name, first)
    if "psnr" in first:
        marked = [_mark_best(by_method, metric) for metric in _MARKED]
        cells = {method: " / ".join(m[method] for m in marked) for method in by_method}
        yield f"{title}: PSNR, dB / SSIM", cells
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
    """Returns the mean of a metric, followed by its difference to the input if known."""
    form = METRICS[metric].form
    if metric == "psnr_gain" and (gain := means.get("psnr_to_input")):
        return markdown.with_interval(gain)
    text = format(means[metric], form)
    if difference := means.get(f"{metric}_to_input"):
        text += f" ({markdown.with_interval(difference, '+' + form.lstrip('+'))})"
    return text


def _mark_best(by_method: Mapping, metric: str) -> dict[str, str]:
    """Returns the means of a metric, the best in bold and the second best underlined."""
    form = METRICS[metric].form
    texts = {method: format(means[metric], form) for method, means in by_method.items()}
    if len(texts.keys() - {INPUT}) < 2:  # nothing to compare; the input does not count
        return texts
    # Ranks are of the printed numbers, so methods that look equal are marked alike.
    best = sorted({float(texts[m]) for m in texts if m != INPUT}, reverse=True)
    marks = dict(zip(best, ("**{}**", "<u>{}</u>")))
    return {
        method: text if method == INPUT else marks.get(float(text), "{}").format(text)
        for method, text in texts.items()
    }


def _to_best_cells(by_method: Mapping) -> dict[str, str]:
    cells = {}
    for method, means in by_method.items():
        if to_best := means.get("psnr_to_best"):
            cells[to_best["method"]] = "0"
            cells[method] = markdown.with_interval(to_best)
    return cells


def _note(protocol: str, sets: Mapping) -> str:
    """Returns the note below a table: the protocol, the comparisons and the metrics."""
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
            "intervals resample scenes; they are too narrow for fewer than about 20, and "
            f"fewer than {intervals.MIN_SCENES} have none."
        )
    return " ".join([*lines, *describe_metrics(shown.difference(_MARKED))])
