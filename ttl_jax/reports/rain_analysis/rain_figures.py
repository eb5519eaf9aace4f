"""The figures of the analysis as PNG, drawn from its numbers alone."""

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
_INNER = (0.5, 99.5)  # percentiles between which the bins lie
_WIDTH = 7.0  # inches
_DPI = 130
_GREYS = ("#222222", "#777777", "#aaaaaa")  # of real sets
# Okabe and Ito's colours, which the color-blind tell apart, less black and yellow.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")


def draw_all(analysis: Mapping[str, Any]) -> dict[str, bytes]:
    """The figures by file name, such as niqe_as_is.png; no damage where nothing is paired.

    Args:
      analysis: As `analyzer.analyze` returns it.
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
    """The name of a figure of `NIQE`, `DAMAGE` or `MAP` in a form of the images."""
    return f"{kind}_{form}.png"


def _draw_niqe(sets: Sequence[Mapping], numbers: Mapping[str, Any]) -> bytes:
    """A histogram for each set: the rainy side filled, the clean side as a line."""
    values = {
        one["name"]: {
            side: np.array([image["niqe"][side] for image in images])
            for side in images[0]["niqe"]
        }
        for one in sets
        for images in [numbers["images"][one["name"]]]
    }
    edges = _edges([of_side for sides in values.values() for of_side in sides.values()])
    canvas, axes = _rows(len(sets))
    colours = _colours(sets)
    for ax, (name, sides) in zip(axes, values.items(), strict=True):
        summaries = numbers["sets"][name]["niqe"]
        for side, of_side in sides.items():
            style = (
                {"histtype": "step", "color": "black"}
                if side == "clean"
                else {"color": colours[name], "alpha": 0.75}
            )
            label = f"{side}, mean {summaries[side]['mean']:.2f}"
            _fill(ax, of_side, edges, label=label, **style)
            ax.axvline(summaries[side]["mean"], color=style["color"], linestyle="--")
        _title(ax, name, numbers)
        _legend(ax)
    axes[-1].set_xlabel("NIQE, lower is more natural (end bins hold what lies beyond)")
    return _png(canvas)


def _draw_damage(sets: Sequence[Mapping], numbers: Mapping[str, Any]) -> bytes:
    """A histogram of NIQE(rainy) - NIQE(clean) for each set of pairs."""
    names = [one["name"] for one in sets if one["pairs"]]
    values = [
        np.array(
            [i["niqe"]["rainy"] - i["niqe"]["clean"] for i in numbers["images"][name]]
        )
        for name in names
    ]
    edges = _edges([*values, np.zeros(1)])
    canvas, axes = _rows(len(names))
    colours = _colours(sets)
    for ax, name, damage in zip(axes, names, values, strict=True):
        mean = numbers["sets"][name]["damage"]["mean"]
        _fill(
            ax,
            damage,
            edges,
            color=colours[name],
            alpha=0.75,
            label=f"mean {mean:+.2f}",
        )
        ax.axvline(0, color="black", linewidth=0.8)
        ax.axvline(mean, color=colours[name], linestyle="--")
        _title(ax, name, numbers)
        _legend(ax)
    axes[-1].set_xlabel("NIQE(rainy) - NIQE(clean), more is more damage")
    return _png(canvas)


def _draw_map(sets: Sequence[Mapping], tsne: Mapping[str, Any]) -> bytes:
    """The places of the rainy images; real ones above the others, as crosses."""
    canvas = figure.Figure((_WIDTH, 5.5), layout="constrained")
    ax = canvas.subplots()
    colours, markers = _colours(sets), itertools.cycle("os^Dv")
    shown = [one for one in sets if one["name"] in tsne["points"]]
    for one in sorted(shown, key=lambda one: one["kind"] == rain_sets.REAL):
        points = tsne["points"][one["name"]]
        is_real = one["kind"] == rain_sets.REAL
        ax.scatter(
            [point["x"] for point in points],
            [point["y"] for point in points],
            s=28 if is_real else 14,
            marker="x" if is_real else next(markers),
            color=colours[one["name"]],
            linewidths=1.2 if is_real else 0,
            alpha=0.9 if is_real else 0.6,
            label=f"{one['name']} ({len(points)})",
        )
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"t-SNE, perplexity {tsne['perplexity']:.1f}", fontsize=10)
    canvas.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return _png(canvas)


def _colours(sets: Sequence[Mapping]) -> dict[str, str]:
    """A set's colour, the same in every figure."""
    greys, colours = itertools.cycle(_GREYS), itertools.cycle(_COLOURS)
    return {
        one["name"]: next(greys if one["kind"] == rain_sets.REAL else colours)
        for one in sets
    }


def _edges(values: Sequence[np.ndarray]) -> np.ndarray:
    """Edges of bins that all sets share, so that their histograms compare."""
    low, high = np.percentile(np.concatenate(values), _INNER)
    return np.histogram_bin_edges([], _NUM_BINS, (low, high))


def _fill(ax, values: np.ndarray, edges: np.ndarray, **style) -> None:
    ax.hist(
        np.clip(values, edges[0], edges[-1]),
        edges,
        weights=np.full(len(values), 100 / len(values)),
        **style,
    )


def _rows(num: int):
    """A canvas with axes one below the other."""
    canvas = figure.Figure((_WIDTH, 0.6 + 1.35 * num), layout="constrained")
    axes = canvas.subplots(num, sharex=True, squeeze=False)[:, 0]
    for ax in axes:
        ax.set_ylabel("% of images", fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    return canvas, axes


def _title(ax, name: str, numbers: Mapping[str, Any]) -> None:
    of_set = numbers["sets"][name]
    text = f"{name} ({of_set['images']} images, {of_set['scenes']} scenes)"
    ax.set_title(text, loc="left", fontsize=9)


def _legend(ax) -> None:
    ax.legend(loc="upper right", framealpha=0.8, edgecolor="none", fontsize=8)


def _png(canvas: figure.Figure) -> bytes:
    stream = io.BytesIO()
    # Without the version of the software, so that the same numbers are the same file.
    canvas.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return stream.getvalue()
