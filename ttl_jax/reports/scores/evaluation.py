"""An evaluation from names to files: images and methods opened, scored, written."""

import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ttl_jax.data.sources import source_names
from ttl_jax.reports.scores import ablation, tables
from ttl_jax.reports.scores import scores as scores_lib
from ttl_jax.reports.sheets import examples
from ttl_jax.reports.sheets.examples import Examples, Method, Subject


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What to score, and how.

    Attributes:
      checkpoints: Name, or None for the run's own, and run folder, or "shipped" for
        the package's weights.
      baselines: Names in `inference.baselines`.
      ablation: Workdir of an ablation, whose runs are all scored, or None.
      results: Name and folder of results.
      data: SOURCE or NAME=SOURCE, each a set.
      rainy: Folder of rainy images in place of sources, or None.
      target: Folder of their clean images, or None.
      protocols: Names in `image_quality.PROTOCOLS`.
      with_niqe: Whether to compute NIQE.
      recog: Run folder of a recognition network for the rain score, "shipped" for the
        package's, or None.
      with_agreement: Whether to measure how far crops and whole photographs agree.
      masks: Folder of rain masks, or None.
      scenes: CSV file that tells scenes, or None.
      num_sheets: Of how many images of each set to write a picture.
      output: Folder to write to.
    """

    checkpoints: Sequence[tuple[str | None, str]] = ()
    baselines: Sequence[str] = ()
    ablation: str | None = None
    results: Sequence[tuple[str, str]] = ()
    data: Sequence[str] | None = None
    rainy: str | None = None
    target: str | None = None
    protocols: Sequence[str]
    with_niqe: bool = False
    recog: str | None = None
    with_agreement: bool = False
    masks: str | None = None
    scenes: str | None = None
    num_sheets: int = 0
    output: pathlib.Path


def run(request: Request) -> str:
    """Scores what is requested and writes the report.

    Returns:
      The text of the tables.

    Raises:
      ValueError: Whatever is missing, does not belong together or cannot be read.
    """
    rows = _read_ablation(request.ablation) if request.ablation else []
    networks = _open_networks([*request.checkpoints, *_list_runs(rows)])
    restorers = _open_restorers(request, networks)
    unreferenced = scores_lib.Unreferenced(
        request.with_niqe,
        _open_recognizer(request.recog),
        restorers if request.with_agreement else {},
    )
    methods = {
        name: examples.network_method(restorer) for name, restorer in restorers.items()
    }
    sets, notes = _open_sets(request, methods)
    notes += _judge(unreferenced.recognizer, networks, request.results)
    _make_folder(request.output)
    scores = scores_lib.score_sets(
        sets,
        request.protocols,
        unreferenced,
        num_sheets=request.num_sheets,
        sheet_folder=request.output / "sheets",
    )
    report = tables.write_report(request.output, scores, notes)
    return _write_ablation(request.output, rows, scores, report) if rows else report


def _read_ablation(workdir: str) -> list[ablation.Row]:
    rows = ablation.read(workdir)
    ablation.check_finished(rows, workdir)
    return rows


def _list_runs(rows: Sequence[ablation.Row]) -> list[tuple[str, str]]:
    return [(row.method(s), str(path)) for row in rows for s, path in row.runs.items()]


class _Network(NamedTuple):
    """A trained network, its name in tables, and the run folder that it comes from."""

    name: str
    path: str
    restorer: Any


def _open_networks(checkpoints: Sequence[tuple[str | None, str]]) -> list[_Network]:
    if not checkpoints:
        return []
    from ttl_jax.inference import restorer

    networks = []
    for name, path in checkpoints:
        network = restorer.Restorer.from_checkpoint(path)
        networks.append(_Network(name or network.name, path, network))
    return networks


def _open_restorers(request: Request, networks: Sequence[_Network]) -> dict[str, Any]:
    """Baselines and networks by name."""
    opened = []
    if request.baselines:
        from ttl_jax.inference import baselines

        opened += [(name, baselines.make_baseline(name)) for name in request.baselines]
    opened += [(network.name, network.restorer) for network in networks]
    examples.check_names(
        [name for name, _ in opened] + [name for name, _ in request.results]
    )
    return dict(opened)


def _open_sets(
    request: Request, methods: Mapping[str, Method]
) -> tuple[dict[str, Examples], list[str]]:
    """The sets by name, and what is to be said of how they were put together."""
    if request.rainy:
        folders = examples.ResultFolders(request.rainy, request.target, request.results)
        name = pathlib.Path(request.target or request.rainy).resolve().name
        opened = {name: folders.subjects}
        methods, notes = {**folders.methods, **methods}, folders.notes
    else:
        opened = _open_sources(request.data)
        notes = []
    told = {name: _tell(request, subjects) for name, subjects in opened.items()}
    if not (request.with_niqe or request.recog or request.with_agreement):
        for name, subjects in told.items():
            _check_measurable(name, subjects)
    return {name: Examples(of, methods) for name, of in told.items()}, notes


def _open_sources(data: Sequence[str]) -> dict[str, list[Subject]]:
    """The subjects of each source by its name, of those without by the source."""
    named = [source_names.split_name(text) for text in data]
    names = [name or source for name, source in named]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"Each set has a name of its own, but {', '.join(twice)} is given twice; name "
            "it NAME=SOURCE."
        )
    return {name or source: examples.open_source(source) for name, source in named}


def _tell(request: Request, subjects: list[Subject]) -> list[Subject]:
    """The subjects with the masks and scenes that the request names."""
    if request.masks:
        subjects = examples.attach_masks(subjects, request.masks)
    if request.scenes:
        subjects = examples.attach_scenes(subjects, request.scenes)
    return subjects


def _check_measurable(name: str, subjects: Sequence[Subject]) -> None:
    if not any(subject.target or subject.rain_mask for subject in subjects):
        raise ValueError(
            f"{name} has no clean images to compare with, and no score is asked for that "
            "needs none. If it should hold pairs: their folders are called rainy and "
            "clean, or input and target, and beside --input stands --target. If not, add "
            "--niqe, --recog, --agreement or --masks."
        )


def _make_folder(folder: pathlib.Path) -> None:
    """Makes the output folder, where a file can be made: scoring may take hours."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{folder} cannot be written to: {error.strerror}. Name another --output."
        ) from error


def _open_recognizer(path: str | None):
    if path is None:
        return None
    from ttl_jax.inference import recognizer

    return recognizer.Recognizer.from_checkpoint(path)


def _judge(
    recognizer: Any,
    networks: Sequence[_Network],
    results: Sequence[tuple[str, str]],
) -> list[str]:
    """Whether the rain score is independent of the methods that it is the judge of."""
    if recognizer is None:
        return []
    verdicts = {
        True: "It is not independent: it took part in training",
        None: "It may not be independent: whether it took part in training is not known "
        "from the files of",
        False: "It took no part in training",
    }
    sentences = [f"The rain score is that of the network `{recognizer.name}`."]
    told = {network.name: recognizer.taught(network.path) for network in networks}
    told |= {name: None for name, _ in results}
    for verdict, sentence in verdicts.items():
        if names := [name for name, of in told.items() if of is verdict]:
            sentences.append(f"{sentence} {', '.join(names)}.")
    return [" ".join(sentences)]


def _write_ablation(
    folder: pathlib.Path,
    rows: Sequence[ablation.Row],
    scores: Sequence[scores_lib.Score],
    report: str,
) -> str:
    """Writes Tables 3 and 4, in front of the report and as JSON."""
    summary = scores_lib.summarize(scores)
    means = ablation.summarize(rows, summary)
    report = f"{ablation.markdown(rows, summary, means)}\n{report}"
    text = json.dumps(means, indent=2, allow_nan=False) + "\n"
    tables.write_files(folder, {tables.TABLE: report, ablation.SCORES: text})
    return report
