"""Tables 3 and 4 of the paper: the effect of each part of the method, over several seeds.

An ablation is a working directory with an `ablation.json`, which lists its rows and their
runs by seed. `training.runs` writes it.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ttl_jax import atomic_files, suggestions
from ttl_jax.reports import markdown
from ttl_jax.reports.examples import INPUT
from ttl_jax.reports.scores import scores, tables
from ttl_jax.weights import saved_runs

SCORES = "ablation_scores.json"  # not the index: a report may be in the same folder
_COMMAND = "python -m ttl_jax.main --config=configs/ablation.py --workdir="
_REFERENCE = "both"  # V1, the default row that others are compared with
_TITLES = {
    3: "Table 3: the transfer tasks",
    4: "Table 4: the training strategies, V1 and V2",
    None: "Rows beyond the paper's tables",
}


class Row(NamedTuple):
    """A row of an ablation.

    Attributes:
      name: Name in the config.
      description: Explanation for a note below tables.
      tables: Numbers of the paper's tables that contain the row.
      runs: Run folders by seed.
      reference: Name of the row that this one is compared with.
    """

    name: str
    description: str
    tables: tuple[int, ...]
    runs: Mapping[str, pathlib.Path]
    reference: str

    def method(self, seed: str) -> str:
        """Returns the name of the run of a seed in tables of scores."""
        return f"{self.name} seed {seed}"


def read(workdir: str | os.PathLike[str]) -> list[Row]:
    """Returns the rows of an ablation.

    Raises:
      ValueError: If the folder contains no ablation.
    """
    path = pathlib.Path(workdir) / saved_runs.INDEX
    try:
        return [
            Row(
                row["name"],
                row["description"],
                tuple(row["tables"]),
                {seed: path.parent / run for seed, run in row["runs"].items()},
                row.get("reference", _REFERENCE),
            )
            for row in atomic_files.read_json(path)["rows"]
        ]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not an ablation ({error}); train one with {_COMMAND}{workdir}."
        ) from error


def read_finished(workdir: str | os.PathLike[str]) -> list[Row]:
    """Returns the rows of an ablation after checking that all its runs are finished.

    Raises:
      ValueError: As `read`, or if runs are not finished; the message names them.
    """
    rows = read(workdir)
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
            f"{suggestions.name_some(unfinished)}. Resume them with the command that started "
            "them. To score without them, remove them from "
            f"{pathlib.Path(workdir, saved_runs.INDEX)}."
        )
    return rows


def summarize(rows: Sequence[Row], summary: Mapping) -> dict[str, Any]:
    """Returns means and spread over seeds.

    Args:
      summary: Result of `scores.summarize`, with methods named by `Row.method`.

    Returns:
      {set: {protocol: {row: {metric: {"mean", "spread"}, metric + "_to_reference":
      {"mean", "spread"}, "seeds": n}}}}. The spread is the sample standard deviation over
      seeds, None for a single seed. Differences are to the run of the reference with the
      same seed, for seeds that both rows have.
    """
    return {
        set_name: {
            protocol: {row.name: _over_seeds(row, rows, methods) for row in rows}
            for protocol, methods in by_protocol.items()
        }
        for set_name, by_protocol in summary.items()
    }


def format_summary(rows: Sequence[Row], summary: Mapping) -> str:
    """Returns the tables in Markdown: sets by rows of the ablation."""
    sections = []
    for number, title in _TITLES.items():
        chosen = [r for r in rows if (number in r.tables if number else not r.tables)]
        if chosen:
            references = {r.reference for r in chosen}
            others = [r for r in rows if r.name in references and r not in chosen]
            sections.append(_format_table(title, others + chosen, rows, summary))
    return "\n".join(sections)


def _over_seeds(row: Row, rows: Sequence[Row], methods: Mapping) -> dict[str, Any]:
    values = _by_seed(row, methods)
    found = {"seeds": len(values), **_means_and_spreads(values)}
    for other in rows:
        if other.name == row.reference != row.name:
            differences = (values - _by_seed(other, methods)).dropna()
            found |= _means_and_spreads(differences.add_suffix("_to_reference"))
    return found


def _by_seed(row: Row, methods: Mapping) -> pd.DataFrame:
    """Returns the means of the runs of a row: seeds in rows, metrics in columns."""
    runs = {seed: methods[row.method(seed)] for seed in row.runs}
    return pd.DataFrame.from_dict(runs, orient="index").loc[:, _metrics_of(methods)]


def _metrics_of(methods: Mapping) -> list[str]:
    """Returns the metrics of a set, without the gain, whose differences are those of PSNR."""
    known = (metric for metric in scores.METRICS if metric in methods[INPUT])
    return [metric for metric in known if metric != "psnr_gain"]


def _means_and_spreads(values: pd.DataFrame) -> dict[str, dict[str, Any]]:
    if values.empty:
        return {}
    spread = values.std() if len(values) > 1 else dict.fromkeys(values)
    return {
        str(key): {"mean": mean, "spread": spread[key]}
        for key, mean in values.mean().items()
    }


def _format_table(
    title: str, shown: Sequence[Row], rows: Sequence[Row], summary: Mapping
) -> str:
    lines, metrics = [], set()
    for set_name, by_protocol in summarize(rows, summary).items():
        for protocol, found in by_protocol.items():
            methods = summary[set_name][protocol]
            head = f"{tables.describe_set(set_name, methods[INPUT])}, {protocol}"
            metrics.update(_metrics_of(methods))
            for metric in _metrics_of(methods):
                lines += _lines(head, metric, methods, [found[r.name] for r in shown])
    heads = [f"{row.name} ({tables.count(len(row.runs), 'seed')})" for row in shown]
    frame = pd.DataFrame(lines, columns=["set, protocol", INPUT, *heads])
    note = " ".join([*_sentences(shown), *tables.describe_metrics(metrics)])
    return f"## {title}\n\n{markdown.table(frame)}\n\n{note}\n"


def _lines(
    head: str, metric: str, methods: Mapping, found: Sequence[Mapping]
) -> Iterator[list[str]]:
    """Yields a line for a metric, and one for its differences if there are any."""
    title, form, _ = scores.METRICS[metric]
    cells = [_cell(means[metric], form) for means in found]
    yield [f"{head}: {title}", format(methods[INPUT][metric], form), *cells]
    differences = [means.get(f"{metric}_to_reference") for means in found]
    if any(differences):
        form = f"+{form.lstrip('+')}"
        cells = [_cell(value, form) if value else "" for value in differences]
        yield [f"{title}: difference", "", *cells]


def _cell(value: Mapping[str, float | None], form: str) -> str:
    text = format(value["mean"], form)
    spread = value["spread"]
    return text if spread is None else f"{text} ± {format(spread, form.lstrip('+'))}"


def _sentences(rows: Sequence[Row]) -> Iterator[str]:
    """Yields sentences that explain the numbers and the rows of a table."""
    yield "Means over images; mean ± sample standard deviation over seeds."
    yield "Differences are to the run with the same seed of the row named below."
    if any(len(row.runs) > 1 for row in rows):
        yield "The seeds share their teachers, whose own spread is not included."
    for row in rows:
        against = f", against `{row.reference}`" if row.reference != row.name else ""
        yield f"`{row.name}`: {row.description}{against}."
