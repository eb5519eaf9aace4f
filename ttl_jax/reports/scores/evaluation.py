"""Scores methods on sets of images, as `ttl_jax.evaluate` does."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ttl_jax import atomic_files
from ttl_jax.data.files import decoding
from ttl_jax.data.sources import source_names
from ttl_jax.inference import baselines as baselines_lib
from ttl_jax.inference import recognizer as recognizers
from ttl_jax.inference import video
from ttl_jax.metrics import image_quality, naturalness
from ttl_jax.reports import examples, report_files
from ttl_jax.reports.examples import Examples, Method, Subject
from ttl_jax.reports.scores import ablation as ablations
from ttl_jax.reports.scores import scores as scores_lib
from ttl_jax.reports.scores import tables, video_frames

TABLE, PER_IMAGE, SCORES = "table.md", "per_image.csv", "scores.json"

Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of an evaluation; `str` gives its tables in Markdown.

    Attributes:
      per_image: One row per set, protocol, image and method, as `per_image.csv`.
      summary: Means and comparisons by set, protocol and method, as `scores.json`; see
        `scores.summarize`.
      notes: Lines for the end of the tables.
      ablation: Rows of the ablation that was scored, if any.
    """

    per_image: pd.DataFrame
    summary: Mapping[str, Any]
    notes: Sequence[str] = ()
    ablation: Sequence[ablations.Row] = ()

    def __str__(self) -> str:
        text = tables.format_summary(self.summary, self.notes)
        if not self.ablation:
            return text
        return f"{ablations.format_summary(self.ablation, self.summary)}\n{text}"

    def write(self, folder: Path) -> None:
        """Writes the files of the report into a folder, which is created if missing.

        Raises:
          ValueError: If a mean is not finite, which JSON cannot represent.
          OSError: If a file cannot be written.
        """
        contents = {
            TABLE: str(self),
            PER_IMAGE: self.per_image.to_csv(index=False, lineterminator="\n"),
            SCORES: self.summary,
        }
        # Files of an earlier report would look like a part of this one.
        pathlib.Path(folder, ablations.SCORES).unlink(missing_ok=True)
        if self.ablation:
            means = ablations.summarize(self.ablation, self.summary)
            contents[ablations.SCORES] = means
        report_files.write(folder, contents)


def score(
    methods: Any = (),
    data: str | Sequence[str] = (),
    *,
    baselines: Sequence[str] = (),
    results: Sequence[tuple[str, Path]] = (),
    rainy: Path | None = None,
    target: Path | None = None,
    ablation: Path | None = None,
    protocols: Sequence[str] = (image_quality.DEFAULT_PROTOCOL,),
    niqe: bool = False,
    recog: Path | None = None,
    agreement: bool = False,
    flicker: bool = False,
    masks: Path | None = None,
    scenes: Path | None = None,
    num_sheets: int = 0,
    output: Path | None = None,
) -> Report:
    """Scores methods on sets of images, beside the rainy input's own scores if given.

    Args:
      methods: Weights of one method, or names and weights of several, as a mapping or
        as pairs. Weights are a run folder, a packed run, "shipped" for those included in
        the package, or an object with `restore(image) -> image` on uint8 [H, W, 3], such
        as `ttl_jax.load()`. If a name is None, the name of the run is used.
      data: Sources of pairs or rainy photographs, each SOURCE or NAME=SOURCE; each source
        is a set.
      baselines: Names of restorers in `inference.baselines`.
      results: Names of methods and the folders of their results, or videos, instead of
        `data`.
      rainy: Folder of rainy images, or a video, instead of `data`. Without it, `results`
        are compared with `target` alone.
      target: Folder of their clean images, or a video, or None.
      ablation: Workdir of an ablation, whose runs are all scored.
      protocols: Names in `metrics.image_quality.PROTOCOLS`; each counts once.
      niqe: Whether to compute NIQE.
      recog: Run folder of a recognition network for the rain score, or "shipped".
      agreement: Whether to compare restored crops with the restored whole image.
      flicker: Whether to take the images of each folder as frames of a video, in the
        order of their names, and to measure its flicker.
      masks: Folder of rain masks.
      scenes: CSV file with the columns path and scene. Without it, images of one target
        are one scene, and so are the frames of a video.
      num_sheets: Number of images of each set to draw as sheets; needs `output`.
      output: Folder to write the report and sheets to. None writes nothing.

    Raises:
      ValueError: If an input is missing, unreadable or does not fit the others.
    """
    if output is not None:
        atomic_files.check_folder(output)
    elif num_sheets:
        raise ValueError(
            f"num_sheets={num_sheets} needs output, a folder to draw them in."
        )
    folders = [rainy, target, *(folder for _, folder in results)]
    _check_inputs(data, folders, [methods, baselines, ablation, masks, flicker])
    rows = ablations.read_finished(ablation) if ablation else []
    runs = [(row.method(s), path) for row in rows for s, path in row.runs.items()]
    networks = _open_networks([*_as_pairs(methods), *runs])
    restorers = [(name, baselines_lib.make_baseline(name)) for name in baselines]
    restorers += [(name, network) for name, _, network in networks]
    examples.check_names([name for name, _ in [*restorers, *results]])
    recognizer = recognizers.Recognizer.from_checkpoint(recog) if recog else None
    unreferenced = scores_lib.Unreferenced(
        niqe, recognizer, dict(restorers) if agreement else {}
    )
    with video_frames.extracted(folders) as (first, clean, *others):
        found = [(name, folder) for (name, _), folder in zip(results, others)]
        subjects, from_folders, notes = _open_images(data, first, clean, found)
        if flicker or any(map(video_frames.is_video, folders)):
            subjects = {name: _join(of, name) for name, of in subjects.items()}
        subjects = {name: _attach(of, masks, scenes) for name, of in subjects.items()}
        _check_subjects(subjects, flicker, niqe, bool(recog or agreement))
        every = from_folders | dict(restorers)
        per_image = scores_lib.score_sets(
            {name: Examples(of, every) for name, of in subjects.items()},
            list(dict.fromkeys(protocols)),
            unreferenced,
            with_flicker=flicker,
            num_sheets=num_sheets,
            sheet_folder=None if output is None else pathlib.Path(output, "sheets"),
        )
    notes += _describe_recognizer(recognizer, networks, results)
    notes += _name_still(per_image) if flicker else []
    report = Report(per_image, scores_lib.summarize(per_image), notes, rows)
    if output is not None:
        report.write(output)
    return report


def _check_inputs(data, folders: Sequence[Path | None], users: Sequence[Any]) -> None:
    """Checks that there are either sources or folders, and what `users` need.

    Args:
      data: Sources.
      folders: Rainy images, clean images, and results.
      users: Arguments that need rainy images.

    Raises:
      ValueError: If there are both, or rainy images are missing and a user is given.
    """
    if data and any(folder is not None for folder in folders):
        raise ValueError(
            "data has its own sides; leave out rainy, target and results, or data."
        )
    if not data and folders[0] is None and any(users):
        raise ValueError(
            "Without the rainy images (--input), --results are compared with --target; "
            "checkpoints, baselines, ablations, masks and flicker need them."
        )


def _as_pairs(methods) -> list[tuple[str | None, Any]]:
    """Returns pairs of names and weights."""
    if isinstance(methods, str | os.PathLike) or hasattr(methods, "restore"):
        return [(None, methods)]
    return list(methods.items() if isinstance(methods, Mapping) else methods)


def _open_networks(methods: Sequence[tuple]) -> list[tuple[str, Path | None, Any]]:
    """Returns the name in tables, the run folder if there is one, and the network."""
    networks = []
    for name, weights in methods:
        path, network = None, weights
        if not hasattr(weights, "restore"):
            from ttl_jax.inference import restorer

            path, network = weights, restorer.Restorer.from_checkpoint(weights)
        networks.append((name or network.name, path, network))
    return networks


def _open_images(
    data: str | Sequence[str],
    rainy: Path | None,
    target: Path | None,
    results: Sequence[tuple[str, Path]],
) -> tuple[dict[str, list[Subject]], dict[str, Method], list[str]]:
    """The images of each set, the methods of result folders, and notes."""
    if data:
        return _open_sources([data] if isinstance(data, str) else data), {}, []
    subjects, methods, notes = examples.open_folders(rainy, target, results)
    if rainy is None:
        notes.append("The rainy images were not given: there are no gains over them.")
    name = decoding.printable(pathlib.Path(target or rainy or "").resolve().name)
    return {name: subjects}, methods, notes


def _open_sources(data: Sequence[str]) -> dict[str, list[Subject]]:
    """Returns the images of each source, by its name, or by the source if it has none."""
    named = [source_names.split_name(text) for text in data]
    names = [decoding.printable(name or source) for name, source in named]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"Each set needs its own name, but {', '.join(repeated)} is used twice; use "
            "NAME=SOURCE."
        )
    opened = (examples.open_source(source) for _, source in named)
    return dict(zip(names, opened, strict=True))


def _join(frames: Sequence[Subject], set_name: str) -> list[Subject]:
    """Returns frames with their folder as their scene: they are not independent."""
    return [
        dataclasses.replace(frame, scene=video_frames.folder_of(frame.name) or set_name)
        for frame in frames
    ]


def _attach(
    subjects: list[Subject], masks: Path | None, scenes: Path | None
) -> list[Subject]:
    """Returns the images with their masks and scenes."""
    if masks:
        subjects = examples.attach_masks(subjects, masks)
    return examples.attach_scenes(subjects, scenes) if scenes else subjects


def _check_subjects(
    sets: Mapping[str, Sequence[Subject]], flicker: bool, niqe: bool, others: bool
) -> None:
    """Raises ValueError if a selected score fits no image of a set.

    Args:
      others: Whether a score is selected that fits all images.
    """
    if flicker:
        _check_frames(sets)
    elif not others:
        _check_measurable(sets, niqe)


def _check_measurable(sets: Mapping[str, Sequence[Subject]], niqe: bool) -> None:
    smallest = naturalness.MIN_SIDE
    for name, subjects in sets.items():
        if any(subject.target or subject.rain_mask for subject in subjects):
            continue
        if niqe and all(min(subject.size) < smallest for subject in subjects):
            raise ValueError(
                f"{name} has no image of {smallest} x {smallest} pixels or more, which "
                "NIQE needs; select recog, agreement or masks as well, or add clean images."
            )
        if not niqe:
            raise ValueError(
                f"{name} has no clean images to compare with, and no other score is "
                "selected. If it should hold pairs, their folders must be called rainy "
                "and clean, input and target, or lq and gt, and --input needs --target. "
                "Otherwise select niqe, recog, flicker, agreement or masks."
            )


def _check_frames(sets: Mapping[str, Sequence[Subject]]) -> None:
    video.check_packages()
    for name, subjects in sets.items():
        folders = [os.path.dirname(subject.name) for subject in subjects]
        if len(set(folders)) == len(folders):
            raise ValueError(
                f"--flicker needs successive frames; no folder of {name} has two images."
            )


def _name_still(per_image: pd.DataFrame) -> list[str]:
    """Returns a note on the sets without flicker."""
    frame: Any = per_image.reindex(columns=["set", "flicker"])
    counts = frame.groupby("set", sort=False)["flicker"].count()
    if not (names := list(counts.index[counts == 0])):
        return []
    return [
        f"No flicker of {', '.join(names)}: the input does not change where aligned."
    ]


def _describe_recognizer(
    recognizer: Any, networks: Sequence[tuple], results: Sequence[tuple[str, Path]]
) -> list[str]:
    """Returns a note on whether the recognizer's weights took part in training.

    Note: no file shows whether its scores chose their training images.
    """
    if recognizer is None:
        return []
    taught = {
        name: path and recognizer.is_teacher_of(path) for name, path, _ in networks
    }
    taught |= {name: None for name, _ in results}
    sentences = [f"The rain score comes from the network `{recognizer.name}`."]
    for answer, sentence in {
        True: "It is not independent: its weights took part in training",
        None: "It may not be independent: the files do not show whether its weights took "
        "part in training",
        False: "Its weights took no part in training",
    }.items():
        if names := [name for name, found in taught.items() if found is answer]:
            sentences.append(f"{sentence} {', '.join(names)}.")
    return [" ".join(sentences)]
