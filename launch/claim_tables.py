"""The tables of `launch/claim.py`, in Markdown."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from configs import claim
from ttl_jax.metrics import intervals
from ttl_jax.reports import markdown

REFERENCE = "V2"
Frame = Any  # a pd.DataFrame or pd.Series; its columns have no types
_NUMBERS = {
    "rain_score": "+.3f", "niqe": ".2f", "change_inside": ".2f", "change_outside": ".2f",
    "seconds_per_update": ".2f", "peak_memory_mib": ".0f",
}  # fmt: skip


def format_tables(scores: Frame, real: Frame, runs: Frame) -> str:
    """Returns the tables of each generator and number of scenes.

    Args:
      scores: Rows of `claim.csv`.
      real: Rows of `claim_real.csv`.
      runs: Rows of `claim_runs.csv`.
    """
    trained = scores[scores["variant"] != "input"]
    sections = []
    for (generator, count), chosen in trained.groupby(["generator", "num_scenes"]):
        untrained = scores["variant"].eq("input") & scores["generator"].eq(generator)
        rows = pd.concat([scores[untrained], chosen])
        title = f"Trained on `{generator}` with {count or 'all'} scenes"
        parts = [f"## {title}", _psnr_table(rows), _difference_table(rows)]
        parts += _means_table(_choose(real, generator, count))
        parts += _removal_table(_choose(real, generator, count))
        parts += _means_table(_choose(runs, generator, count))
        sections.append("\n\n".join(parts))
    note = (
        "Intervals are over scenes, as in `ttl_jax.metrics.intervals`, and too narrow. With "
        "the scenes of configs/claim.csv, intervals of 95 % contained the mean of simulated "
        "scores in 87 to 89 % (unseen) and 88 % (real) of the trials.\n\n"
        "Seconds per update depend on what else the machine did, and memory is the peak of "
        "a process, which trains all networks of one command; `python -m "
        "ttl_jax.benchmark peers` compares networks."
    )
    notes = [f"- `{name}`: {_describe(name)}." for name in _ordered(trained)]
    return "\n\n".join([*sections, note, "\n".join(notes)]) + "\n"


def _psnr_table(rows: Frame) -> str:
    """PSNR of each set: mean over scenes, then mean ± deviation over seeds.

    A variant without all scenes of a set has no mean of the set, and none of the unseen sets.
    """
    by_scene = rows.pivot_table("psnr", ["variant", "seed"], ["role", "set", "scene"])
    by_set = by_scene.T.groupby(["role", "set"])
    is_complete = by_scene.notna().T.groupby(["role", "set"]).all().T
    means = by_set.mean().T.where(is_complete.groupby("variant").transform("all"))
    if "unseen" in means:
        means[("mean", "unseen")] = means["unseen"].mean(axis=1, skipna=False)
    roles = ["trained", "unseen", "mean", "real"]
    means = means[sorted(means.columns, key=lambda c: (roles.index(c[0]), c[1]))]
    lines = []
    for variant in _ordered(rows):
        runs = means.loc[variant]
        updates = rows.loc[rows["variant"] == variant, "updates"].iloc[0]
        cells = [_spread(runs[column], ".2f") for column in means]
        lines.append([f"`{variant}`", updates, len(runs), *cells])
    heads = ["mean of unseen" if role == "mean" else f"{name} ({role})"
             for role, name in means]  # fmt: skip
    columns = ["PSNR, dB", "updates", "seeds", *heads]
    return markdown.table(pd.DataFrame(lines, columns=columns))


def _difference_table(rows: Frame) -> str:
    """Differences to V2, with intervals over scenes and the spread over seeds."""
    lines = []
    roles = [role for role in ("unseen", "real") if rows["role"].eq(role).any()]
    for variant in _ordered(rows):
        if variant in ("input", REFERENCE):
            continue
        cells = [
            _difference(rows[rows["role"] == role], variant, "psnr", ".2f")
            for role in roles
        ]
        if any(cells):
            lines.append([f"`{variant}`", _paired_seeds(rows, variant), *cells])
    if not lines:
        return f"No variant has the seeds of `{REFERENCE}`."
    title = f"PSNR over `{REFERENCE}`, dB [95 %] (each seed)"
    return markdown.table(pd.DataFrame(lines, columns=[title, "seeds", *roles]))


def _paired_seeds(rows: Frame, variant: str) -> str:
    seeds = [
        set(rows.loc[rows["variant"] == name, "seed"]) for name in (variant, REFERENCE)
    ]
    return ", ".join(map(str, sorted(set.intersection(*seeds))))


def _removal_table(rows: Frame) -> Iterator[str]:
    """Differences of the rain score to V2: below 0, a variant removes more."""
    rows = rows[rows["rain_score"].notna()]
    cells = {
        variant: _difference(rows, variant, "rain_score", ".3f")
        for variant in _ordered(rows)
        if variant not in ("input", REFERENCE)
    }
    lines = [
        [f"`{name}`", _paired_seeds(rows, name), cell]
        for name, cell in cells.items()
        if cell
    ]
    if lines:
        title = f"rain score over `{REFERENCE}` [95 %] (each seed)"
        yield markdown.table(pd.DataFrame(lines, columns=[title, "seeds", "real rain"]))


def _difference(rows: Frame, variant: str, column: str, form: str) -> str:
    """The mean over sets, each the mean over its scenes; empty without common scenes."""
    keys = ["seed", "set", "scene"]
    values = rows.set_index(["variant", *keys])[column]
    if not {variant, REFERENCE} <= set(values.index.get_level_values("variant")):
        return ""
    both = pd.concat([values[variant], values[REFERENCE]], axis=1, join="inner")
    differences = both.iloc[:, 0] - both.iloc[:, 1]
    if differences.empty:
        return ""
    by_scene = differences.groupby(["set", "scene"]).mean()
    index = by_scene.index
    interval = intervals.bootstrap_mean(
        by_scene, index.get_level_values("scene"), sets=index.get_level_values("set")
    )
    text = markdown.with_interval(interval.to_dict(), f"+{form}")
    by_seed = differences.groupby(["seed", "set"]).mean().groupby("seed").mean()
    return f"{text} ({', '.join(f'{value:+{form}}' for value in by_seed)})"


def _choose(frame: Frame, generator: str, count: int) -> Frame:
    """Returns the rows of trained variants, and those of the input if there are any."""
    of_generator = frame[frame["generator"].eq(generator)]
    is_input = of_generator["variant"].eq("input")
    is_trained = of_generator["num_scenes"].eq(count) & ~is_input
    return of_generator[is_trained | (is_input & is_trained.any())]


def _means_table(rows: Frame) -> Iterator[str]:
    """Other numbers: mean over scenes, then mean ± deviation over seeds."""
    lines = []
    names = [name for name in _NUMBERS if name in rows and rows[name].notna().any()]
    for variant in _ordered(rows):
        of_variant = rows[rows["variant"] == variant]
        by_seed = of_variant.groupby("seed")[names].mean()
        cells = [_spread(by_seed[name], _NUMBERS[name]) for name in names]
        lines.append([f"`{variant}`", *cells])
    if lines:
        heads = [name.replace("_mib", ", MiB").replace("_", " ") for name in names]
        yield markdown.table(pd.DataFrame(lines, columns=["", *heads]))


def _ordered(rows: Frame) -> list[str]:
    names = ("input", *claim.VARIANTS, *claim.DROPPED)
    return [name for name in names if name in set(rows["variant"])]


def _describe(variant: str) -> str:
    if variant in claim.DROPPED:
        return f"{claim.DROPPED[variant]} (no longer in the code)"
    return claim.VARIANTS[variant].description


def _spread(values: Frame, form: str) -> str:
    mean, deviation = values.mean(), values.std()
    if np.isnan(mean):
        return ""
    spread = "" if np.isnan(deviation) else f" ± {deviation:{form.lstrip('+')}}"
    return f"{mean:{form}}{spread}"
