"""Tables 3 and 4 of the paper: what each part of the method brings, over several seeds.

An ablation is a working directory with an `ablation.json` that tells its rows and their
runs by seed, as `training.runs` writes it.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ttl_jax.data.files import images
from ttl_jax.reports.scores import scores, tables
from ttl_jax.reports.sheets.examples import INPUT

INDEX = "ablation.json"
SCORES = "ablation_scores.json"  # not the index: reports may go into its folder
_COMMAND = "python -m ttl_jax.main --config=configs/ablation.py --workdir="
_LEFT_OUT = ("psnr_gain",)  # says nothing that the PSNR does not
_REFERENCE = "both"  # V1, the row that others are compared with unless they say so
_TITLES = {
    3: "Table 3: the transfer tasks",
    4: "Table 4: the training strategies, V1 and V2",
    None: "Rows beyond the paper's tables",
}


class Row(NamedTuple):
    """A row of an ablation.

    Attributes:
      name: As the config calls it.
      description: What it is.
      tables: Numbers of the paper's tables that it belongs to.
      runs: Folders of its runs by seed.
      reference: The row that it is compared with.
    """

    name: str
    description: str
    tables: tuple[int, ...]
    runs: Mapping[str, pathlib.Path]
    reference: str

    def method(self, seed: str) -> str:
        """What a run is called among the scores."""
        return f"{self.name} seed {seed}"


def read(workdir: str | pathlib.Path) -> list[Row]:
    """The rows of an ablation.

    Raises:
      ValueError: There is no ablation in the folder.
    """
    path = pathlib.Path(workdir) / INDEX
    try:
        rows = json.loads(path.read_text())["rows"]
        return [
            Row(
                row["name"],
                row["description"],
                tuple(row["tables"]),
                {seed: path.parent / run for seed, run in row["runs"].items()},
                row.get("reference", _REFERENCE),
            )
            for row in rows
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError,
            RecursionError) as error:  # fmt: skip
        raise ValueError(
            f"{path} tells no ablation ({error}); train one by {_COMMAND}{workdir}."
        ) from error


def check_finished(rows: Sequence[Row], workdir: str | pathlib.Path) -> None:
    """Checks that every run was trained to its end.

    Raises:
      ValueError: Naming those that were not, and what goes on with them.
    """
    from ttl_jax.weights import saved_runs

    runs = [path for row in rows for path in row.runs.values()]
    progress = {path.name: saved_runs.read_progress(path) for path in runs}
    unfinished = [
        f"{name} ({f'at {done} of {wanted} updates' if wanted else 'not begun'})"
        for name, (done, wanted) in progress.items()
        if wanted is None or done < wanted
    ]
    if unfinished:
        raise ValueError(
            f"{len(unfinished)} of {len(runs)} runs are not finished: "
            f"{images.name_some(unfinished)}. The command that began them goes on with "
            f"them: {_COMMAND}{workdir}, with its preset and other flags. To do without "
            f"them, take them out of {pathlib.Path(workdir, INDEX)}."
        )


def summarize(rows: Sequence[Row], summary: Mapping) -> dict[str, Any]:
    """Means and spread over seeds.

    Args:
      rows: Of the ablation.
      summary: As `scores.summarize` returns it, of methods named by `Row.method`.

    Returns:
      {set: {protocol: {row: {metric: {"mean", "spread"}, metric + "_to_reference":
      {"mean", "spread"}, "seeds": n}}}}; the spread is the sample standard deviation over
      seeds, None for a single one. The second is the difference to the run of the same
      seed of the row's reference, over the seeds that both have.
    """
    return {
        set_name: {
            protocol: {row.name: _over_seeds(row, rows, methods) for row in rows}
            for protocol, methods in by_protocol.items()
        }
        for set_name, by_protocol in summary.items()
    }


def markdown(rows: Sequence[Row], summary: Mapping, means: Mapping) -> str:
    """The tables in Markdown: sets by rows of the ablation.

    Args:
      rows: Of the ablation.
      summary: As `scores.summarize` returns it.
      means: As `summarize` returns it.
    """
    sections = []
    for number, title in _TITLES.items():
        chosen = [r for r in rows if (number in r.tables if number else not r.tables)]
        if chosen:
            wanted = {r.reference for r in chosen}
            others = [r for r in rows if r.name in wanted and r not in chosen]
            sections.append(_table(title, others + chosen, summary, means))
    return "\n".join(sections)


def _over_seeds(row: Row, rows: Sequence[Row], methods: Mapping) -> dict[str, Any]:
    found: dict[str, Any] = {"seeds": len(row.runs)}
    references = [other for other in rows if other.name == row.reference != row.name]
    for metric in _metrics_of(methods):
        values = {seed: methods[row.method(seed)][metric] for seed in row.runs}
        found[metric] = _mean_and_spread(list(values.values()))
        for other in references:
            differences = [
                value - methods[other.method(seed)][metric]
                for seed, value in values.items()
                if seed in other.runs
            ]
            if differences:
                found[f"{metric}_to_reference"] = _mean_and_spread(differences)
    return found


def _metrics_of(methods: Mapping) -> list[str]:
    """The metrics that a set's images have."""
    return [
        metric
        for metric in scores.METRICS
        if metric in methods[INPUT] and metric not in _LEFT_OUT
    ]


def _mean_and_spread(values: Sequence[float]) -> dict[str, float | None]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "spread": spread}


def _table(title: str, rows: Sequence[Row], summary: Mapping, means: Mapping) -> str:
    lines = [["set, protocol", INPUT, *(_head(row) for row in rows)]]
    for set_name, by_protocol in means.items():
        for protocol, found in by_protocol.items():
            methods = summary[set_name][protocol]
            name = tables.describe_set(set_name, methods[INPUT])
            for metric in _metrics_of(methods):
                lines += _lines(f"{name}, {protocol}", metric, rows, methods, found)
    return "\n".join(
        [f"## {title}", "", *tables.format_table(lines), "", _note(rows, summary), ""]
    )


def _note(rows: Sequence[Row], summary: Mapping) -> str:
    """What a table's numbers and rows are."""
    metrics = {
        metric
        for by_protocol in summary.values()
        for methods in by_protocol.values()
        for metric in _metrics_of(methods)
    }
    sentences = [
        "Means over images; mean ± sample standard deviation of them over seeds.",
        "Differences are those to the run of the same seed of the row named below.",
        "The teachers are trained once, so that their own spread is left out.",
    ]
    sentences += [
        f"{metric.title}: {metric.note}."
        for name, metric in scores.METRICS.items()
        if name in metrics
    ]
    sentences += [
        f"`{row.name}`: {row.description}"
        + (f", against `{row.reference}`." if row.reference != row.name else ".")
        for row in rows
    ]
    return " ".join(sentences)


def _lines(
    name: str, metric: str, rows: Sequence[Row], methods: Mapping, found: Mapping
) -> list[list[str]]:
    """A line of a metric, and where rows are compared, one of the differences."""
    title, form = scores.METRICS[metric].title, scores.METRICS[metric].form
    cells = [_cell(found[row.name][metric], form) for row in rows]
    lines = [[f"{name}: {title}", format(methods[INPUT][metric], form), *cells]]
    differences = [found[row.name].get(f"{metric}_to_reference") for row in rows]
    if any(differences):
        form = f"+{form.lstrip('+')}"
        cells = [_cell(value, form) if value else "" for value in differences]
        lines.append([f"{title}: difference", "", *cells])
    return lines


def _head(row: Row) -> str:
    return f"{row.name} ({tables.count(len(row.runs), 'seed')})"


def _cell(value: Mapping[str, float | None], form: str) -> str:
    text = format(value["mean"], form)
    spread = value["spread"]
    return text if spread is None else f"{text} ± {format(spread, form.lstrip('+'))}"
