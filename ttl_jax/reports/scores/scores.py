"""Scores of restored images beside those of the rainy input, per image and as means."""

import collections
import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from ttl_jax.data.files import decoding
from ttl_jax.metrics import agreement, image_quality, intervals, niqe
from ttl_jax.reports.sheets import comparisons, sheets
from ttl_jax.reports.sheets.examples import INPUT, Example, Examples

NO_TARGET = "no_reference"  # in place of a protocol, where there are no clean images
# Metrics in which a method is compared with the input, image by image.
COMPARED_TO_INPUT = ("psnr", "niqe", "rain_score")


@dataclasses.dataclass(frozen=True)
class Metric:
    """What a column of a table shows.

    Attributes:
      title: With unit.
      form: How a mean is printed.
      note: What it is, for the foot of a table.
    """

    title: str
    form: str
    note: str


METRICS = {
    "psnr": Metric("PSNR, dB", ".2f", "of the restored image to the clean one"),
    "ssim": Metric("SSIM", ".4f", "of the restored image to the clean one"),
    "psnr_gain": Metric(
        "gain, dB [95 %]", "+.2f", "PSNR over the rainy input's own"
    ),
    "niqe": Metric(
        "NIQE", ".2f",
        "distance from the statistics of natural photographs, of images with sides of at "
        f"least {niqe.MIN_SIDE} pixels; lower is better, and smooth or noisy images may "
        "score well or badly whatever became of the rain",
    ),
    "rain_score": Metric(
        "rain score", "+.3f",
        "output of a recognition network, unbounded; lower is less rainy to it",
    ),
    "change_inside": Metric(
        "change inside", ".2f",
        "mean absolute change where the rain mask is, levels of 255",
    ),
    "change_outside": Metric(
        "change outside", ".2f",
        "the same where no rain is, which is best left alone",
    ),
    "mean_change": Metric(
        "change", ".2f", "mean absolute change of the whole image, levels of 255"
    ),
    "disagreement": Metric(
        "disagreement", ".3f",
        f"mean absolute difference of {agreement.CROP}-pixel crops, restored alone, to the "
        "same areas of the restored whole, over the mean change of both; of images that "
        f"change by at least {agreement.LEAST_CHANGE:.0f} level",
    ),
    "change_ratio": Metric(
        "change ratio", ".2f",
        "mean change of these areas in the whole over that of the crops",
    ),
    "seam": Metric(
        "seam", ".2f",
        "step of brightness in the middle of the pixels that two windows share, levels "
        "of 255, mean along all borders",
    ),
    "seam_high": Metric("seam, 95 %", ".2f", "95 % quantile of the same"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Score:
    """What one method's image scores under one protocol.

    Attributes:
      set: Name of the set of images.
      protocol: A name in `image_quality.PROTOCOLS`, or `NO_TARGET`.
      image: The image's name within the set.
      scene: Shared by all images of the set that show the same scene.
      method: The method's name.
      values: By the names in `METRICS`, those that could be computed.
    """

    set: str
    protocol: str
    image: str
    scene: str
    method: str
    values: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Unreferenced:
    """The metrics that need no clean image.

    Attributes:
      with_niqe: Whether to compute NIQE; of images too small for it, or of one colour
        nearly everywhere, there is none.
      recognizer: An `inference.Recognizer` for the rain score, or None.
      restorers: Restorers by method, whose agreement and seams are to be measured.
    """

    with_niqe: bool = False
    recognizer: Any = None
    restorers: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def values(self, example: Example, method: str) -> dict[str, float]:
        """What one method's image scores."""
        restored, rainy = example.restored[method], example.restored[INPUT]
        values = {}
        if self.with_niqe:
            with contextlib.suppress(ValueError):
                values["niqe"] = niqe.niqe(restored)
        if self.recognizer is not None:
            values["rain_score"] = self.recognizer.score(restored)
        if example.rain_mask is not None:
            change = np.abs(restored.astype(np.int16) - rainy).mean(axis=-1)
            parts = {"inside": example.rain_mask, "outside": ~example.rain_mask}
            values |= {
                f"change_{name}": float(change[part].mean())
                for name, part in parts.items()
                if part.any()
            }
        return values

    def agreement(self, example: Example, method: str) -> dict[str, float]:
        """What a method does to crops beside the whole; of methods that can restore."""
        if method not in self.restorers:
            return {}
        restorer = self.restorers[method]
        rainy, restored = example.restored[INPUT], example.restored[method]
        values = {
            "mean_change": float(np.abs(restored.astype(np.int16) - rainy).mean())
        }
        if found := agreement.measure(rainy, restored, restorer.restore):
            values |= found._asdict()
        size = rainy.shape[:2]
        # Baselines have no windows.
        if hasattr(restorer, "restore_windows") and len(restorer.plan(*size)) > 1:
            windows = restorer.restore_windows(rainy)
            seams = agreement.measure_seams(windows, size)
            values |= {"seam": seams.mean, "seam_high": seams.high}
        return values


def score_sets(
    sets: Mapping[str, Examples],
    protocols: Sequence[str] = (image_quality.DEFAULT_PROTOCOL,),
    unreferenced: Unreferenced = Unreferenced(),
    *,
    num_sheets: int = 0,
    sheet_folder: str | os.PathLike[str] = "sheets",
) -> list[Score]:
    """The scores of every image of every set, by every method, under every protocol.

    Args:
      sets: Examples by the set's name.
      protocols: Names in `image_quality.PROTOCOLS`.
      unreferenced: Which further metrics to compute.
      num_sheets: Of how many examples of each set, spread evenly over it, to write a
        picture of all methods side by side, with scores under the first protocol.
      sheet_folder: Where to write them; made if it is not there.

    Raises:
      ValueError: An image cannot be read or has not the target's size, or a protocol is
        unknown.
    """
    scores = []
    for number, (set_name, examples) in enumerate(sets.items(), start=1):
        spread = np.linspace(0, len(examples) - 1, min(num_sheets, len(examples)))
        shown = set(spread.round().astype(int).tolist())
        # disable=None: a bar only in a terminal
        bar = tqdm.tqdm(
            _readable(examples, set_name),
            desc=set_name,
            total=len(examples),
            unit="image",
            disable=None,
        )
        for index, example in enumerate(bar):
            scores += score(example, set_name, protocols, unreferenced)
            if index in shown:
                # Numbered, as names that are long or alike are cut to their ends.
                name = f"{number}-{_end(set_name)}-{index:04d}-{_end(example.name)}.png"
                path = pathlib.Path(sheet_folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                rows = comparisons.make_rows([example], protocol=protocols[0])
                sheets.write_sheet(path, rows)
    return scores


def _readable(examples: Examples, set_name: str) -> Iterator[Example]:
    """The examples; where one can no longer be read, the error says what is lost."""
    num_read = 0
    try:
        for example in examples:
            yield example
            num_read += 1
    except decoding.ImageError as error:
        raise ValueError(
            f"{error} It was there when scoring began. {num_read} of {len(examples)} "
            f"images of {set_name} were scored and no report is written: put the file "
            "back or leave it out, and start the same command again."
        ) from error


def score(
    example: Example,
    set_name: str,
    protocols: Iterable[str],
    unreferenced: Unreferenced = Unreferenced(),
) -> list[Score]:
    """The scores of every method under every protocol.

    Raises:
      ValueError: An image has not the target's size, a score is not finite, or a protocol
        is unknown.
    """
    further = _of_all({m: unreferenced.values(example, m) for m in example.restored})
    for method, values in further.items():  # of which the input has none
        values |= unreferenced.agreement(example, method)
    if example.target is None:
        by_protocol = {NO_TARGET: {method: {} for method in example.restored}}
    else:
        by_protocol = {name: _referenced(example, name) for name in protocols}
    scores = [
        Score(
            set_name, protocol, example.name, example.scene, method,
            values | further[method],
        )
        for protocol, by_method in by_protocol.items()
        for method, values in by_method.items()
    ]  # fmt: skip
    for one in scores:
        _check_finite(one)
    return scores


def _of_all(values: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The metrics that all methods have: their means are to be over the same images."""
    common = set.intersection(*(set(of_method) for of_method in values.values()))
    return {
        method: {name: value for name, value in of_method.items() if name in common}
        for method, of_method in values.items()
    }


def _check_finite(score: Score) -> None:
    for name, value in score.values.items():
        if not np.isfinite(value):
            raise ValueError(
                f"The {name} of {score.image} by {score.method!r} is {value}, of which "
                "there is no mean; leave that image, method or metric out."
            )


def _referenced(example: Example, protocol: str) -> dict[str, dict[str, float]]:
    """PSNR, SSIM and gain of every method."""
    found = {}
    for method, restored in example.restored.items():
        pair = restored[np.newaxis], example.target[np.newaxis]
        found[method] = {
            "psnr": image_quality.psnr(*pair, protocol).item(),
            "ssim": image_quality.ssim(*pair, protocol).item(),
        }
    for values in found.values():
        values["psnr_gain"] = values["psnr"] - found[INPUT]["psnr"]
    return found


def summarize(scores: Iterable[Score]) -> dict:
    """Means over images, each image weighing the same.

    Returns:
      {set: {protocol: {method: {metric: mean, "count": images, "scenes": scenes}}}}, in
      the order of the scores. Each method but the input has, for the metrics of
      `COMPARED_TO_INPUT`, metric + "_to_input": {"mean", "low", "high"}, the mean of its
      values less the input's and a 95 % interval over scenes, None where there is one
      scene only. Where there are clean images, each method but the input and the best by
      mean PSNR has "psnr_to_best" alike, with "method": the best.
    """
    groups = collections.defaultdict(list)
    for value in scores:
        groups[value.set, value.protocol, value.method].append(value)
    summary: dict = {}
    for (set_name, protocol, method), values in groups.items():
        methods = summary.setdefault(set_name, {}).setdefault(protocol, {})
        methods[method] = _means(values)
    for set_name, by_protocol in summary.items():
        for protocol, methods in by_protocol.items():
            of_methods = {m: groups[set_name, protocol, m] for m in methods}
            _compare_to_input(methods, of_methods)
            _compare_to_best(methods, of_methods)
    return summary


def _means(values: Sequence[Score]) -> dict[str, Any]:
    columns = {
        name: [v.values[name] for v in values if name in v.values] for name in METRICS
    }
    return {
        **{name: float(np.mean(column)) for name, column in columns.items() if column},
        "count": len(values),
        "scenes": len({value.scene for value in values}),
    }


def _compare_to_input(
    methods: dict[str, dict], scores: Mapping[str, Sequence[Score]]
) -> None:
    """Adds metric + "_to_input" to the methods' means."""
    for method, means in methods.items():
        if method != INPUT:
            means |= {
                f"{metric}_to_input": _difference(metric, scores[method], scores[INPUT])
                for metric in COMPARED_TO_INPUT
                if metric in means
            }


def _compare_to_best(
    methods: dict[str, dict], scores: Mapping[str, Sequence[Score]]
) -> None:
    """Adds "psnr_to_best" to the methods' means."""
    rated = [m for m, means in methods.items() if m != INPUT and "psnr" in means]
    if len(rated) < 2:
        return
    best = max(rated, key=lambda method: methods[method]["psnr"])
    for method in rated:
        if method != best:
            methods[method]["psnr_to_best"] = {
                "method": best,
                **_difference("psnr", scores[method], scores[best]),
            }


def _difference(
    metric: str, scores: Sequence[Score], reference: Sequence[Score]
) -> dict[str, float | None]:
    """The mean of a metric less the reference's, image by image, and its interval."""
    known = {s.image: s.values[metric] for s in reference if metric in s.values}
    compared = [s for s in scores if metric in s.values]
    mean, low, high = intervals.bootstrap_difference(
        [s.values[metric] for s in compared],
        [known[s.image] for s in compared],
        [s.scene for s in compared],
    )
    return {
        "mean": mean,
        "low": None if np.isnan(low) else low,
        "high": None if np.isnan(high) else high,
    }


def _end(name: str) -> str:
    """The last part of a path or a source's name, as a part of a file's name."""
    stem = pathlib.PurePath(name).stem
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in stem)
