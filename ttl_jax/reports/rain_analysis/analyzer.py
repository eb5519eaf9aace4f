"""Measures how real rain differs from synthetic rain: the analysis of Fig. 2.

The result of `analyze` has all numbers of the report and the figures:

    settings            the user's choices, and the constants below
    sets                name, kind, source and numbers of images, in order
    forms/<form>        for images as they are, and for equalised ones (`rain_sets`):
      sets/<name>       images, scenes, excluded, and summaries of niqe and damage
      contrasts         real minus synthetic, of NIQE and of damage
      coverage          how far synthetic features cover real ones
      tsne              positions on the map of features
      images/<name>     scene and NIQE of each image

A summary is {mean, median, low, high, images, scenes}; `low` and `high` are null for
fewer than `metrics.intervals.MIN_SCENES` scenes.
"""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ttl_jax.data.files import decoding
from ttl_jax.metrics import intervals, naturalness
from ttl_jax.reports import report_files, scene_names
from ttl_jax.reports.rain_analysis import (
    rain_features,
    rain_figures,
    rain_report,
    rain_sets,
)
from ttl_jax.reports.rain_analysis.rain_sets import (
    CLEAN,
    REAL,
    SYNTHETIC,
    Embed,
    ImageSet,
    SetReadings,
)

REPORT, DATA = "analysis.md", "analysis.json"

NIQE_FEATURES = "mean over blocks of the 36 features of NIQE"

LEVEL = 0.95  # of intervals
NUM_RESAMPLES = 2000  # of the bootstrap


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The user's choices.

    Attributes:
      num_images: Maximum number of images per set; the paper shows 500.
      side: Width and height of the equalised form, in pixels.
      quality: JPEG quality of the equalised form, 1 to 95.
      seed: Seed of every draw.
      features: Description of the feature space.
      scenes: CSV file with scenes (see `scene_names.read`), or None.

    Raises:
      ValueError: If the side is too small for NIQE, or the quality is out of range.
    """

    num_images: int = 500
    side: int = 288
    quality: int = 75
    seed: int = 0
    features: str = NIQE_FEATURES
    scenes: str | None = None

    def __post_init__(self):
        if self.side < naturalness.MIN_SIDE:
            raise ValueError(
                f"Images of {self.side} x {self.side} pixels are too small: NIQE needs "
                f"{naturalness.MIN_SIDE} or more."
            )
        if not 1 <= self.quality <= 95:
            raise ValueError(f"A JPEG quality is from 1 to 95, not {self.quality}.")


def analyze(
    sets: Sequence[ImageSet], settings: Settings, embed: Embed | None = None
) -> dict[str, Any]:
    """Returns all numbers of the analysis, as values of JSON.

    Args:
      sets: Result of `rain_sets.open_sets`.
      settings: The user's choices.
      embed: Function that computes the features that `settings.features` describes; None
        for the features of NIQE.

    Raises:
      ValueError: If the file of scenes or an image cannot be read, or no image of a set
        can be measured.
    """
    file = settings.scenes
    named = scene_names.read(file) if file else scene_names.NONE
    measured = rain_sets.measure_all(
        sets, side=settings.side, quality=settings.quality, embed=embed
    )
    scenes = {s.name: rain_sets.find_scenes(s, measured, named) for s in sets}
    forms = {}
    for form in rain_sets.FORMS:
        readings = {
            s.name: rain_sets.read_set(s, measured, scenes[s.name], form) for s in sets
        }
        forms[form] = _analyze_form(readings, settings.seed)
    constants = {
        "level": LEVEL,
        "num_resamples": NUM_RESAMPLES,
        "min_scenes": intervals.MIN_SCENES,
        "num_neighbours": rain_features.NUM_NEIGHBOURS,
        "num_draws": rain_features.NUM_DRAWS,
        "min_samples": rain_features.MIN_SAMPLES,
        "max_points": rain_features.MAX_POINTS,
    }
    return {
        "settings": dataclasses.asdict(settings) | constants,
        "sets": [
            {
                "name": s.name,
                "kind": s.kind,
                "source": s.source,
                "pairs": len(s.sides) == 2,
                "found": s.num_found,
                "images": len(s.names),
                "scenes": len(np.unique(scenes[s.name])),
            }
            for s in sets
        ],
        "forms": forms,
    }


def _analyze_form(readings: Mapping[str, SetReadings], seed: int) -> dict[str, Any]:
    summaries = {
        name: {
            "images": len(of_set.names),
            "scenes": len(np.unique(of_set.scenes)),
            "excluded": of_set.excluded,
            "niqe": {
                side: _summarize(values, of_set.scenes, seed)
                for side, values in of_set.niqe.items()
            },
        }
        for name, of_set in readings.items()
    }
    for name in readings:
        summaries[name]["damage"] = _damage(name, readings, summaries, seed)
    return {
        "sets": summaries,
        "contrasts": _contrasts(readings, summaries),
        "coverage": _cover(readings, seed),
        "tsne": _map_features(readings, seed),
        "images": {name: _list_images(of_set) for name, of_set in readings.items()},
    }


def _list_images(readings: SetReadings) -> list[dict[str, Any]]:
    return [
        {
            "image": name,
            "scene": int(readings.scenes[i]),
            "niqe": {side: float(values[i]) for side, values in readings.niqe.items()},
        }
        for i, name in enumerate(readings.names)
    ]


def _names(readings: Mapping[str, SetReadings], *kinds: str) -> list[str]:
    return [name for name, of_set in readings.items() if of_set.kind in kinds]


def _summarize(values: np.ndarray, scenes: np.ndarray, seed: int) -> dict[str, Any]:
    """Returns the mean with its interval over scenes, and the median over images."""
    interval = intervals.bootstrap_mean(
        values, scenes, num_resamples=NUM_RESAMPLES, seed=seed, level=LEVEL
    )
    return {
        **interval.to_dict(),
        "median": float(np.median(values)),
        "images": len(values),
        "scenes": len(np.unique(scenes)),
    }


def _damage(
    name: str, readings: Mapping[str, SetReadings], summaries: Mapping, seed: int
) -> dict[str, Any] | None:
    """Returns NIQE(rainy) - NIQE(clean): of pairs, or of real rain and the clean set."""
    of_set = readings[name]
    if len(of_set.niqe) == 2:
        damage = of_set.niqe["rainy"] - of_set.niqe["clean"]
        return {"from": "pairs", **_summarize(damage, of_set.scenes, seed)}
    for clean in _names(readings, CLEAN) if of_set.kind == REAL else ():
        rainy, dry = summaries[name]["niqe"]["rainy"], summaries[clean]["niqe"]["clean"]
        return {"from": "unpaired", **difference(rainy, dry)}
    return None


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the difference of two independent means, with an interval.

    References:
      Zou and Donner, Construction of confidence limits about effect measures: a general
      approach, 2008: the limits follow from those of each mean.
    """
    mean = first["mean"] - second["mean"]
    if None in (first["low"], second["low"]):
        return {"mean": mean, "low": None, "high": None}
    below = first["mean"] - first["low"], second["high"] - second["mean"]
    above = first["high"] - first["mean"], second["mean"] - second["low"]
    return {
        "mean": mean,
        "low": float(mean - np.hypot(*below)),
        "high": float(mean + np.hypot(*above)),
    }


def _contrasts(
    readings: Mapping[str, SetReadings], summaries: Mapping
) -> list[dict[str, Any]]:
    """Returns the differences of each real set to each synthetic set."""
    contrasts = []
    for real, synthetic in itertools.product(
        _names(readings, REAL), _names(readings, SYNTHETIC)
    ):
        one, other = summaries[real], summaries[synthetic]
        damages = one["damage"], other["damage"]
        contrasts.append(
            {
                "real": real,
                "synthetic": synthetic,
                "niqe": difference(one["niqe"]["rainy"], other["niqe"]["rainy"]),
                "damage": difference(*damages) if all(damages) else None,
            }
        )
    return contrasts


def _cover(readings: Mapping[str, SetReadings], seed: int) -> list[dict[str, Any]]:
    """Returns how far the sides of other sets cover each real set.

    Rain-free photographs are the control: coverage by them does not depend on rain.
    """
    others = {
        (name, side): (features, readings[name].scenes)
        for name in _names(readings, SYNTHETIC, CLEAN)
        for side, features in readings[name].features.items()
    }
    covers = []
    for name in _names(readings, REAL):
        real = readings[name].features["rainy"], readings[name].scenes
        cover = rain_features.cover(real, others, seed, name)
        covers.append({"real": name, **cover})
    return covers


def _map_features(readings: Mapping[str, SetReadings], seed: int) -> dict[str, Any]:
    """Returns names and positions of the rainy sides of all sets on one map, by set."""
    chosen = {
        name: rain_features.choose_points(len(readings[name].names), seed)
        for name in _names(readings, REAL, SYNTHETIC)
    }
    features = [readings[name].features["rainy"][i] for name, i in chosen.items()]
    places, perplexity = rain_features.make_map(np.concatenate(features), seed)
    ends = np.cumsum([len(indices) for indices in chosen.values()])
    by_set = zip(chosen.items(), np.split(places, ends[:-1]), strict=True)
    return {
        "perplexity": perplexity,
        "points": {
            name: [
                {"image": readings[name].names[i], "x": x, "y": y}
                for i, (x, y) in zip(indices, of_set.tolist(), strict=True)
            ]
            for (name, indices), of_set in by_set
        },
    }


def write_report(folder: str | os.PathLike[str], analysis: Mapping[str, Any]) -> str:
    """Writes `analysis.md`, `analysis.json` and the figures; raises as `report_files.write`.

    Returns:
      A summary of a few lines, and the path of the report.
    """
    contents = {DATA: analysis, REPORT: rain_report.make_report(analysis)}
    report_files.write(folder, rain_figures.draw_all(analysis) | contents)
    path = decoding.printable(pathlib.Path(folder, REPORT))
    return "\n".join([*_summary_lines(analysis), f"See {path}."])


def _summary_lines(analysis: Mapping[str, Any]) -> Iterator[str]:
    for form, numbers in analysis["forms"].items():
        yield f"{form.replace('_', ' ')}:"
        for name, of_set in numbers["sets"].items():
            means = [f"{s} {v['mean']:.2f}" for s, v in of_set["niqe"].items()]
            if of_set["damage"]:
                means.append(f"damage {of_set['damage']['mean']:+.2f}")
            yield (
                f"  {name}: {of_set['images']} images, {of_set['scenes']} scenes, "
                f"{len(of_set['excluded'])} excluded; NIQE {', '.join(means)}"
            )
