"""Draws the figures of the analysis as PNG, from its numbers."""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import figure

from ttl_jax.reports.rain_analysis import rain_sets

NIQE, DAMAGE, MAP = "niqe", "damage", "tsne"

_NUM_BINS = 30
_INNER = (0.5, 99.5)  # percentiles: range of the bins
_WIDTH = 7.0  # inches
_DPI = 130
_GREYS = ("#222222", "#777777", "#aaaaaa")  # of real sets
# Okabe and Ito's colours, which are safe for the colour-blind, without black and yellow.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")


def draw_all(analysis: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the figures of a result of `analyzer.analyze` by file name.

    Damage is drawn only if there are pairs.
    """
    sets, drawn = analysis["sets"], {}
    with matplotlib.rc_context({"text.parse_math": False}):  # names may hold a $
        for form, numbers in analysis["forms"].items():
            drawn[file_name(NIQE, form)] = _draw_niqe(sets, numbers)
            if any(one["pairs"] for one in sets):
                drawn[file_name(DAMAGE, form)] = _draw_damage(sets, numbers)
            drawn[file_name(MAP, form)] = _draw_map(sets, numbers["tsne"])
    return drawn


def file_name(kind: str, form: str) -> str:
    """Returns the file name of a figure, such as niqe_as_is.png."""
    return f"{kind}_{form}.png"


def _draw_niqe(sets: Sequence[Mapping], numbers: Mapping[str, Any]) -> bytes:
    """Draws the NIQE of each set: the rainy side filled, the clean side as a line."""
    rows = {
        name: {
            f"{side}, mean {summary['mean']:.2f}": [i["niqe"][side] for i in images]
            for side, summary in numbers["sets"][name]["niqe"].items()
        }
        for name, images in numbers["images"].items()
    }
    label = "NIQE, lower is more natural (end bins include all values beyond)"
    return _draw_histograms(sets, numbers, rows, label)


def _draw_damage(sets: Sequence[Mapping], numbers: Mapping[str, Any]) -> bytes:
    """Draws NIQE(rainy) - NIQE(clean) of each set of pairs."""
    rows = {}
    for name in (one["name"] for one in sets if one["pairs"]):
        values = [image["niqe"] for image in numbers["images"][name]]
        mean = numbers["sets"][name]["damage"]["mean"]
        rows[name] = {f"mean {mean:+.2f}": [v["rainy"] - v["clean"] for v in values]}
    label = "NIQE(rainy) - NIQE(clean), higher is more damage"
    return _draw_histograms(sets, numbers, rows, label, with_zero=True)


def _draw_histograms(
    sets: Sequence[Mapping],
    numbers: Mapping[str, Any],
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    label: str,
    *,
    with_zero: bool = False,
) -> bytes:
    """Draws histograms with common bins below each other."""
    everything = [v for row in rows.values() for values in row.values() for v in values]
    low, high = np.percentile(everything + [0] * with_zero, _INNER)
    edges = np.histogram_bin_edges([], _NUM_BINS, (low, high))
    colours = _colours(sets)
    canvas = figure.Figure((_WIDTH, 0.6 + 1.35 * len(rows)), layout="constrained")
    axes = canvas.subplots(len(rows), sharex=True, squeeze=False)[:, 0]
    for ax, (name, row) in zip(axes, rows.items(), strict=True):
        for text, values in row.items():
            style = {"color": colours[name], "alpha": 0.75}
            if text.startswith("clean"):
                style = {"histtype": "step", "color": "black"}
            shares = np.full(len(values), 100 / len(values))
            clipped = np.clip(values, low, high)
            ax.hist(clipped, edges, weights=shares, label=text, **style)
            ax.axvline(np.mean(values), color=style["color"], linestyle="--")
        if with_zero:
            ax.axvline(0, color="black", linewidth=0.8)
        found = numbers["sets"][name]
        title = f"{name} ({found['images']} images, {found['scenes']} scenes)"
        ax.set_title(title, loc="left", fontsize=9)
        ax.set_ylabel("% of images", fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(loc="upper right", framealpha=0.8, edgecolor="none", fontsize=8)
    axes[-1].set_xlabel(label)
    return _png(canvas)


def _draw_map(sets: Sequence[Mapping], tsne: Mapping[str, Any]) -> bytes:
    """Draws the rainy images as points; real ones as crosses, on top of the others."""
    canvas = figure.Figure((_WIDTH, 5.5), layout="constrained")
    ax = canvas.subplots()
    colours, markers = _colours(sets), itertools.cycle("os^Dv")
    shown = [one for one in sets if one["name"] in tsne["points"]]
    for one in sorted(shown, key=lambda one: one["kind"] == rain_sets.REAL):
        points = tsne["points"][one["name"]]
        style = {"s": 14, "linewidths": 0, "alpha": 0.6}
        if one["kind"] == rain_sets.REAL:
            style = {"s": 28, "linewidths": 1.2, "alpha": 0.9}
        ax.scatter(
            [point["x"] for point in points],
            [point["y"] for point in points],
            marker="x" if one["kind"] == rain_sets.REAL else next(markers),
            color=colours[one["name"]],
            label=f"{one['name']} ({len(points)})",
            **style,
        )
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"t-SNE, perplexity {tsne['perplexity']:.1f}", fontsize=10)
    canvas.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return _png(canvas)


def _colours(sets: Sequence[Mapping]) -> dict[str, str]:
    """Returns the colour of each set, the same in every figure."""
    greys, colours = itertools.cycle(_GREYS), itertools.cycle(_COLOURS)
    return {
        one["name"]: next(greys if one["kind"] == rain_sets.REAL else colours)
        for one in sets
    }


def _png(canvas: figure.Figure) -> bytes:
    stream = io.BytesIO()
    # The same numbers give the same file, so the version of matplotlib is left out.
    canvas.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()
