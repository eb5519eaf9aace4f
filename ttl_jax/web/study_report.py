"""Writes the report of a user study: Table 2 and Fig. 7 of the paper, agreement, winners."""

import io
import os

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ttl_jax.metrics import concordance, intervals
from ttl_jax.reports import markdown, report_files
from ttl_jax.web.study_records import Study


def write(study: Study, output: str | os.PathLike[str]) -> str:
    """Writes the report of a study, and returns its Markdown.

    The files are report.md, histogram.png, and CSV files: answers (one row per rater,
    photograph and method), total_scores, score_counts, agreement and winners.

    Args:
      study: Study with at least one ranking.
      output: Folder; created if it is missing.

    Raises:
      ValueError: If there is no ranking.
      OSError: If a file cannot be written.
    """
    answers = study.scores()
    if answers.empty:
        raise ValueError("The study has no ranking yet.")
    tables = {
        "total_scores": total_scores(answers, study.methods),
        "score_counts": count_scores(answers, study.methods),
        "agreement": measure_agreement(answers),
        "winners": find_winners(answers),
    }
    report, histogram = _describe(answers, tables), io.BytesIO()
    _draw_histogram(tables["score_counts"]).savefig(histogram, format="png", dpi=150)
    contents: dict[str, bytes | str] = {
        f"{name}.csv": table.to_csv(index=False)
        for name, table in {"answers": answers, **tables}.items()
    }
    contents |= {"histogram.png": histogram.getvalue(), "report.md": report}
    report_files.write(output, contents)
    return report


def total_scores(answers: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    """Returns the total and mean score of each method, as in Table 2."""
    scores = answers.groupby("method")["score"].agg(["sum", "mean"]).loc[methods]
    return scores.reset_index().set_axis(["method", "total", "mean"], axis=1)


def count_scores(answers: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    """Returns how often each method got each score, as in Fig. 7, with a column per score."""
    counts = pd.crosstab(answers["method"], answers["score"])
    columns = range(len(methods), 0, -1)
    counts = counts.reindex(index=methods, columns=columns, fill_value=0)
    return counts.rename_axis(columns=None).reset_index()


def measure_agreement(answers: pd.DataFrame) -> pd.DataFrame:
    """Returns Kendall's W of each photograph that was ranked by at least two raters."""
    rows = []
    for name, group in answers.groupby("photograph"):
        ranks = group.pivot(index="rater", columns="method", values="rank")
        if len(ranks) > 1:
            rows.append((name, len(ranks), concordance.kendall_w(ranks)))
    return pd.DataFrame(rows, columns=["photograph", "raters", "kendall_w"])


def find_winners(answers: pd.DataFrame) -> pd.DataFrame:
    """Returns the method with the highest mean score for each photograph.

    If several methods have the highest score, all are named, separated by commas.
    """
    sums = answers.pivot_table("score", "photograph", "method", aggfunc="sum")
    best = sums.max(axis=1)
    names = sums.eq(best, axis=0).apply(lambda row: ", ".join(row.index[row]), axis=1)
    num_raters = answers.groupby("photograph")["rater"].nunique()
    columns = {"winner": names, "mean_score": best / num_raters, "raters": num_raters}
    return pd.DataFrame(columns).reset_index()


def _describe(answers: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> str:
    totals, agreement = tables["total_scores"], tables["agreement"]
    totals = totals.sort_values("total", ascending=False, kind="stable")
    num_rankings = len(answers) // len(totals)
    text = (
        f"# User study\n\n{answers['rater'].nunique()} raters ranked the results of "
        f"{len(totals)} methods on {answers['photograph'].nunique()} photographs: "
        f"{num_rankings} rankings. The best result scores {len(totals)}, the last 1.\n\n"
        f"{markdown.table(totals.assign(mean=totals['mean'].map('{:.2f}'.format)))}\n\n"
        "How often each method got each score (histogram.png):\n\n"
        f"{markdown.table(tables['score_counts'])}\n\n"
    )
    text += _describe_agreement(agreement)
    counts = tables["winners"]["winner"].value_counts().reset_index()
    counts.columns = ["winner", "photographs"]
    return (
        f"{text}\nWinners of photographs (winners.csv):\n\n{markdown.table(counts)}\n"
    )


def _describe_agreement(agreement: pd.DataFrame) -> str:
    if agreement.empty:
        return "No photograph has rankings of two raters, so agreement is unknown.\n"
    mean, low, high = intervals.bootstrap_mean(
        agreement["kendall_w"], agreement["photograph"]
    )
    scope = f"on average over {len(agreement)} photographs"
    if len(agreement) == 1:
        scope = "for the one photograph that several raters ranked"
    span = f"95 % interval over photographs {low:.3f} to {high:.3f}"
    if np.isnan(low):
        span = f"no interval for fewer than {intervals.MIN_SCENES}"
    chance = (1 / agreement["raters"]).mean()
    return (
        f"Agreement: Kendall's W is {mean:.3f} {scope} ({span}; random rankings have "
        f"{chance:.3f}, and 1 is full agreement).\n"
    )


def _draw_histogram(counts: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(1.5 + 0.9 * len(counts), 3.5), layout="constrained")
    axes = figure.subplots()
    counts.set_index("method").plot.bar(
        ax=axes, width=0.85, rot=0, colormap="viridis_r"
    )
    axes.set(xlabel="", ylabel="rankings")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(title="score", ncols=2, fontsize="small")
    return figure
