"""Scores of restored images and of their rainy input: one row per image, and means.

A table of scores is a `pandas.DataFrame` with the columns `KEYS` and those of `METRICS` that
were measured, NaN if an image lacks a metric. The images of a set have the same order under
every method.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ttl_jax import progress
from ttl_jax.data.files import decoding
from ttl_jax.metrics import agreement, image_quality, intervals, naturalness
from ttl_jax.reports.examples import INPUT, Example, Examples
from ttl_jax.reports.scores import video_frames
from ttl_jax.reports.sheets import comparisons, sheets

KEYS = ["set", "protocol", "image", "scene", "method"]
NO_TARGET = "no_reference"  # name of the protocol if there are no clean images
# Metrics in which each method is compared with the input, image by image.
COMPARED_TO_INPUT = ("psnr", "niqe", "rain_score")


class Metric(NamedTuple):
    """A column of a table.

    Attributes:
      title: Title with unit.
      form: Format of a mean.
      note: Explanation for a note below tables.
    """

    title: str
    form: str
    note: str


METRICS = {
    "psnr": Metric("PSNR, dB", ".2f", "of the restored image to the clean one"),
    "ssim": Metric("SSIM", ".4f", "of the restored image to the clean one"),
    "psnr_gain": Metric("gain, dB [95 %]", "+.2f", "PSNR minus that of the rainy input"),
    "niqe": Metric(
        "NIQE", ".2f",
        "distance from the statistics of natural photographs, for images with sides of at "
        f"least {naturalness.MIN_SIDE} pixels; lower is better, but a smooth or noisy "
        "image may score well or badly whether or not the rain is gone",
    ),
    "rain_score": Metric(
        "rain score", "+.3f",
        "output of a recognition network, unbounded; lower means less rain",
    ),
    "flicker": Metric(
        "flicker", ".3f",
        "sum of the changes from each image to the next one of its folder, over that of "
        "the input, where both can be aligned; 0 is perfectly steady",
    ),
    "change_inside": Metric(
        "change inside", ".2f",
        "mean absolute change inside the rain mask, in levels of 255",
    ),
    "change_outside": Metric(
        "change outside", ".2f", "the same outside the mask, where 0 is best"
    ),
    "mean_change": Metric(
        "change", ".2f", "mean absolute change of the whole image, in levels of 255"
    ),
    "disagreement": Metric(
        "disagreement", ".3f",
        f"mean absolute difference between {agreement.CROP}-pixel crops restored alone and "
        "the same areas of the restored whole image, divided by the mean change of both; "
        f"for images that change by at least {agreement.LEAST_CHANGE:.0f} level",
    ),
    "change_ratio": Metric(
        "change ratio", ".2f",
        "mean change of these areas in the whole image, divided by that of the crops",
    ),
    "seam": Metric(
        "seam", ".2f",
        "step of brightness in the middle of the overlap of two windows, in levels of "
        "255, mean along all borders",
    ),
    "seam_high": Metric("seam, 95 %", ".2f", "95 % quantile of the same"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Unreferenced:
    """The metrics that need no clean image.

    Attributes:
      with_niqe: Whether to compute NIQE. Images that are too small, or have nearly one
        colour, get no value.
      recognizer: An `inference.recognizer.Recognizer` for the rain score, or None.
      restorers: Restorers by method, to measure their agreement and seams.
    """

    with_niqe: bool = False
    recognizer: Any = None
    restorers: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def measure(self, example: Example) -> dict[str, dict[str, float]]:
        """Returns the metrics by method.

        NIQE, rain score and changes of an image are kept only if every method has them, so
        that all means are over the same images.
        """
        values = {method: self._measure(example, method) for method in example.restored}
        common = set.intersection(*map(set, values.values()))
        return {
            method: {name: found[name] for name in found if name in common}
            | self._measure_agreement(example, method)
            for method, found in values.items()
        }

    def _measure(self, example: Example, method: str) -> dict[str, float]:
        restored, values = example.restored[method], {}
        if self.with_niqe:
            with contextlib.suppress(ValueError):
                values["niqe"] = naturalness.niqe(restored)
        if self.recognizer is not None:
            values["rain_score"] = self.recognizer.score(restored)
        if (mask := example.rain_mask) is not None:
            change = _change(example, method).mean(axis=-1)
            for name, part in (("inside", mask), ("outside", ~mask)):
                if part.any():
                    values[f"change_{name}"] = float(change[part].mean())
        return values

    def _measure_agreement(self, example: Example, method: str) -> dict[str, float]:
        """Compares crops with the whole image, for methods that can restore crops."""
        if method not in self.restorers:
            return {}
        restorer = self.restorers[method]
        rainy, restored = example.restored[INPUT], example.restored[method]
        values = {"mean_change": float(_change(example, method).mean())}
        if found := agreement.measure(rainy, restored, restorer.restore):
            values |= found._asdict()
        size = rainy.shape[:2]
        # Baselines have no windows.
        if hasattr(restorer, "restore_windows") and len(restorer.plan(*size)) > 1:
            seams = agreement.measure_seams(restorer.restore_windows(rainy), size)
            assert seams is not None  # neighbouring windows overlap
            values |= {"seam": seams.mean, "seam_high": seams.high}
        return values


def _change(example: Example, method: str) -> np.ndarray:
    """Returns the absolute change of each value of the image, in levels of 255 [H, W, 3]."""
    return np.abs(example.restored[method].astype(np.int16) - example.restored[INPUT])


def score_sets(
    sets: Mapping[str, Examples],
    protocols: Sequence[str] = (image_quality.DEFAULT_PROTOCOL,),
    unreferenced: Unreferenced = Unreferenced(),
    *,
    with_flicker: bool = False,
    num_sheets: int = 0,
    sheet_folder: str | os.PathLike[str] | None = None,
) -> pd.DataFrame:
    """Returns the scores of all images of all sets, by every method and protocol.

    Args:
      sets: Examples by name of the set.
      protocols: Names in `image_quality.PROTOCOLS`.
      unreferenced: Further metrics.
      with_flicker: Whether to take the images of a folder as frames of a video and to
        measure its flicker. All frames of a folder have the value of the folder.
      num_sheets: Number of examples of each set, spread evenly over it, for which to
        write a sheet of all methods, with scores under the first protocol.
      sheet_folder: Folder of the sheets; created if missing. Sheets of an earlier call are
        removed first. None writes no sheets.

    Raises:
      ValueError: If an image cannot be read or differs from its target in size, a score
        is not finite, or a protocol is unknown.
    """
    if sheet_folder is not None:
        _remove_sheets(pathlib.Path(sheet_folder))
    rows = []
    for number, (set_name, examples) in enumerate(sets.items(), start=1):
        rows_of_set = []
        spread = np.linspace(0, len(examples) - 1, min(num_sheets, len(examples)))
        shown = set(spread.round().astype(int).tolist())
        before, rows_before = None, []
        for index, example in enumerate(_read(examples, set_name)):
            found = score(example, set_name, protocols, unreferenced)
            if with_flicker and before is not None:
                changes = video_frames.measure_changes(before, example)
                for row in rows_before if changes else ():
                    row["change_to_next"] = changes[row["method"]]
            before, rows_before = example, found
            rows_of_set += found
            if sheet_folder is not None and index in shown:
                # The numbers distinguish names with the same last part.
                name = f"{number}-{_end(set_name)}-{index:04d}-{_end(example.name)}.png"
                sheet_rows = comparisons.make_rows([example], protocol=protocols[0])
                sheets.write_sheet(pathlib.Path(sheet_folder, name), sheet_rows)
        if with_flicker:
            video_frames.add_flicker(rows_of_set)
        rows += rows_of_set
    return make_table(rows)


def _remove_sheets(folder: pathlib.Path) -> None:
    """Removes the sheets of an earlier call, which would look like those of this one."""
    for path in folder.glob("*.png"):
        if re.fullmatch(r"\d+-.*-\d{4,}-.*\.png", path.name):
            path.unlink()


def make_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Returns a table of scores, with its columns in the order of `KEYS` and `METRICS`."""
    frame = pd.DataFrame(rows)
    return frame.loc[:, [*KEYS, *(metric for metric in METRICS if metric in frame)]]


def _read(examples: Examples, set_name: str) -> Iterator[Example]:
    """Yields the examples; if an image cannot be read, the error reports the progress."""
    num_read = 0
    bar = progress.track(examples, what=set_name, unit="image")
    try:
        for example in bar:
            yield example
            num_read += 1
    except decoding.ImageError as error:
        raise ValueError(
            f"{error} It was readable when scoring started. {num_read} of {len(examples)} "
            f"images of {set_name} were scored, and no report is written: restore the "
            "file or leave it out, and start the same command again."
        ) from error


def score(
    example: Example,
    set_name: str,
    protocols: Iterable[str],
    unreferenced: Unreferenced = Unreferenced(),
) -> list[dict[str, Any]]:
    """Returns the rows of one example: every method under every protocol.

    Raises:
      ValueError: If an image differs from the target in size, a score is not finite, or
        a protocol is unknown.
    """
    further = unreferenced.measure(example)
    rows = []
    for protocol in [NO_TARGET] if example.target is None else protocols:
        referenced = example.compare(protocol)
        for values in referenced.values() if INPUT in referenced else ():
            values["psnr_gain"] = values["psnr"] - referenced[INPUT]["psnr"]
        for method in example.restored:
            values = referenced.get(method, {}) | further[method]
            _check_finite(values, example.name, method)
            keys = (set_name, protocol, example.name, example.scene, method)
            rows.append(dict(zip(KEYS, keys, strict=True)) | values)
    return rows


def _check_finite(values: Mapping[str, float], image: str, method: str) -> None:
    for name, value in values.items():
        if not np.isfinite(value):
            raise ValueError(
                f"The {name} of {image} by {method!r} is {value}, so the mean would be "
                "undefined; leave out this image, method or metric."
            )


def summarize(scores: pd.DataFrame) -> dict:
    """Returns means over images, each image with the same weight.

    Returns:
      {set: {protocol: {method: {metric: mean, "count": images, "scenes": scenes}}}}, in
      the order of the scores. Each method except the input also has, for the metrics of
      `COMPARED_TO_INPUT`, metric + "_to_input": {"mean", "low", "high"}. These are the
      mean difference to the input and its 95 % interval over scenes, which is None for
      fewer than `intervals.MIN_SCENES`. With clean images, each method except the input
      and the best (by mean PSNR) also has "psnr_to_best", with the same entries and
      "method", the best method.
    """
    summary: dict = {}
    groups: Any = scores.groupby(["set", "protocol"], sort=False)
    for (set_name, protocol), group in groups:
        summary.setdefault(set_name, {})[protocol] = _summarize_methods(group)
    return summary


def _summarize_methods(scores: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Returns means and comparisons of one set under one protocol, by method."""
    by_method: dict[Any, Any] = dict(iter(scores.groupby("method", sort=False)))
    metrics = [metric for metric in METRICS if metric in scores]
    found = {
        method: {
            **rows[metrics].mean().dropna().to_dict(),
            "count": len(rows),
            "scenes": rows["scene"].nunique(),
        }
        for method, rows in by_method.items()
    }
    methods = [method for method in by_method if method != INPUT]
    for method in methods if INPUT in by_method else ():
        for metric in COMPARED_TO_INPUT:
            if metric in found[method]:
                found[method][f"{metric}_to_input"] = _difference(
                    metric, by_method[method], by_method[INPUT]
                )
    rated = [method for method in methods if "psnr" in found[method]]
    best = max(rated, key=lambda method: found[method]["psnr"], default=None)
    for method in rated:
        if method != best:
            difference = _difference("psnr", by_method[method], by_method[best])
            found[method]["psnr_to_best"] = {"method": best, **difference}
    return found


def _difference(
    metric: str, scores: pd.DataFrame, reference: pd.DataFrame
) -> dict[str, float | None]:
    """Returns the mean difference of a metric to the reference, and its interval."""
    known = scores[metric].notna().to_numpy()
    interval = intervals.bootstrap_difference(
        scores[metric].to_numpy()[known],
        reference[metric].to_numpy()[known],
        scores["scene"].to_numpy(str)[known],
    )
    return interval.to_dict()


def _end(name: str) -> str:
    """Returns the last part of a path or source, made safe for a file name."""
    return re.sub(r"[^\w.-]", "_", pathlib.PurePath(name).stem)
