"""Scores of restored images beside those of the rainy input, per image and as means.

Every image is uint8 RGB [H, W, 3]: the protocols compare what a file would hold.
"""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tqdm

from ttl_jax.data import decoding, images
from ttl_jax.data import sources as data_sources
from ttl_jax.metrics import image_quality
from ttl_jax.reports import sheets

INPUT = "input"  # the method that leaves the rain in


@dataclasses.dataclass(frozen=True)
class Example:
    """One scene as every method restored it.

    Attributes:
      name: The image's name within its set.
      restored: Method to image; the first is `INPUT`, the rainy image itself.
      target: The clean image.
    """

    name: str
    restored: Mapping[str, np.ndarray]
    target: np.ndarray


@dataclasses.dataclass(frozen=True)
class Score:
    """What one method's image scores under one protocol.

    Attributes:
      set: Name of the set of images.
      protocol: A name in `image_quality.PROTOCOLS`.
      image: The image's name within the set.
      method: The method's name.
      psnr: dB.
      ssim: In [-1, 1].
      psnr_gain: dB over the input.
    """

    set: str
    protocol: str
    image: str
    method: str
    psnr: float
    ssim: float
    psnr_gain: float


class RestoredPairs:
    """The examples that a network makes of pairs, restored one after the other.

    Args:
      pairs: Pairs as `data.sources.open_pairs` returns them.
      restorer: An object with `restore(array) -> array`, as `inference.Restorer`.
      method: What to call the network.

    Raises:
      ValueError: There are no pairs, one is too small to score, or the method's name is
        taken.
    """

    def __init__(self, pairs: Sequence, restorer, method: str):
        _check_methods([method])
        if not pairs:
            raise ValueError("There are no pairs to score.")
        _check_sizes({pair.name: (pair.height, pair.width) for pair in pairs})
        self._pairs, self._restorer, self._method = pairs, restorer, method

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[Example]:
        for pair in self._pairs:
            rainy, clean = pair.load()
            try:
                restored = self._restorer.restore(rainy)
            except ValueError as error:
                raise ValueError(f"{pair.name}: {error}") from error
            yield Example(pair.name, {INPUT: rainy, self._method: restored}, clean)


class ResultFolders:
    """The examples in folders of images, partners by their path without the suffix.

    Args:
      results: Method to the folder of its results.
      target: Folder of the clean images.
      rainy: Folder of the rainy images.

    Raises:
      ValueError: A folder is missing or holds no images, two images of it have the same
        stem, a partner is missing or has no target, sizes differ or are too small to
        score, or a method's name is taken. Nothing has been scored by then.
    """

    def __init__(
        self,
        results: Mapping[str, str | os.PathLike[str]],
        target: str | os.PathLike[str],
        rainy: str | os.PathLike[str],
    ):
        _check_methods(results)
        self._targets = _images_by_stem(target)
        self._methods = {
            method: _images_by_stem(folder)
            for method, folder in {INPUT: rainy, **results}.items()
        }
        _check_partners(self._targets, self._methods)
        _check_sizes(_common_sizes(self._targets, self._methods))

    def __len__(self) -> int:
        return len(self._targets)

    def __iter__(self) -> Iterator[Example]:
        for stem, target in self._targets.items():
            restored = {
                method: decoding.read_rgb8(paths[stem])
                for method, paths in self._methods.items()
            }
            yield Example(stem, restored, decoding.read_rgb8(target))


def restored_sets(sources: Iterable[str], restorer) -> dict[str, RestoredPairs]:
    """What a network makes of the pairs of each source, by the source's name.

    Args:
      sources: Names of pairs as `data.sources` knows them.
      restorer: An `inference.Restorer`; its name is the method's.

    Raises:
      ValueError: A source is unknown, holds no pairs or unusable ones.
    """
    return {
        source: RestoredPairs(
            data_sources.open_pairs([source]), restorer, restorer.name
        )
        for source in sources
    }


def result_sets(
    results: Iterable[tuple[str, str]], target: str, rainy: str
) -> dict[str, ResultFolders]:
    """The one set that lies in result folders, by the name of the targets' folder.

    Args:
      results: Method and folder, each method once.
      target: Folder of the clean images.
      rainy: Folder of the rainy images.

    Raises:
      ValueError: A method is named twice, or as `ResultFolders`.
    """
    results = list(results)
    folders = dict(results)
    if len(folders) < len(results):
        names = ", ".join(name for name, _ in results)
        raise ValueError(f"Each method has one folder, but given are {names}.")
    name = pathlib.Path(target).resolve().name
    return {name: ResultFolders(folders, target, rainy)}


def score_sets(
    sets: Mapping[str, RestoredPairs | ResultFolders],
    protocols: Sequence[str] = (image_quality.DEFAULT_PROTOCOL,),
    *,
    num_sheets: int = 0,
    sheet_folder: str | os.PathLike[str] = "sheets",
) -> list[Score]:
    """The scores of every image of every set, by every method, under every protocol.

    Args:
      sets: Examples by the set's name.
      protocols: Names in `image_quality.PROTOCOLS`.
      num_sheets: Of how many examples of each set, spread evenly over it, to write a
        before/after picture: input, restored, target, with the first protocol's PSNR.
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
        bar = tqdm.tqdm(examples, desc=set_name, unit="image", disable=None)
        for index, example in enumerate(bar):
            values = score(example, set_name, protocols)
            scores += values
            if index in shown:
                # Numbered, as names that are long or alike are cut to their ends.
                name = f"{number}-{_end(set_name)}-{index:04d}-{_end(example.name)}.png"
                path = pathlib.Path(sheet_folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                row = sheets.SheetRow(_panels(example, values))
                sheets.write_sheet(path, [row])
    return scores


def score(example: Example, set_name: str, protocols: Iterable[str]) -> list[Score]:
    """The scores of every method under every protocol.

    Raises:
      ValueError: An image has not the target's size, or a protocol is unknown.
    """
    scores = []
    for protocol in protocols:
        values = {}
        for method, restored in example.restored.items():
            pair = restored[np.newaxis], example.target[np.newaxis]
            psnr = image_quality.psnr(*pair, protocol).item()
            values[method] = psnr, image_quality.ssim(*pair, protocol).item()
        input_psnr, _ = values[INPUT]
        scores += [
            Score(
                set_name, protocol, example.name, method, psnr, ssim, psnr - input_psnr
            )
            for method, (psnr, ssim) in values.items()
        ]
    return scores


def summarize(scores: Iterable[Score]) -> dict:
    """Means over images, each image weighing the same.

    Returns:
      {set: {protocol: {method: {"psnr", "ssim", "psnr_gain", "count"}}}}, in the order
      of the scores.
    """
    groups = collections.defaultdict(list)
    for value in scores:
        groups[value.set, value.protocol, value.method].append(value)
    summary = {}
    for (set_name, protocol, method), values in groups.items():
        methods = summary.setdefault(set_name, {}).setdefault(protocol, {})
        methods[method] = {
            "psnr": float(np.mean([value.psnr for value in values])),
            "ssim": float(np.mean([value.ssim for value in values])),
            "psnr_gain": float(np.mean([value.psnr_gain for value in values])),
            "count": len(values),
        }
    return summary


def _end(name: str) -> str:
    """The last part of a path or a source's name, as a part of a file's name."""
    stem = pathlib.PurePath(name).stem
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in stem)


def _panels(example: Example, scores: Sequence[Score]) -> dict[str, np.ndarray]:
    """Label to image, the labels with the PSNR under the first protocol."""
    decibels = {
        value.method: value.psnr
        for value in scores
        if value.protocol == scores[0].protocol
    }
    panels = {
        f"{method} {decibels[method]:.2f} dB": restored
        for method, restored in example.restored.items()
    }
    return {**panels, "target": example.target}


def _check_methods(methods: Iterable[str]) -> None:
    if INPUT in methods:
        raise ValueError(
            f"{INPUT!r} is what the rainy images are called; name the method otherwise."
        )


def _check_sizes(sizes: Mapping[str, tuple[int, int]]) -> None:
    """Refuses images, height and width by name, that SSIM's window does not fit into."""
    smallest = image_quality.SSIM_WINDOW
    small = [
        f"{name} ({height} x {width})"
        for name, (height, width) in sizes.items()
        if min(height, width) < smallest
    ]
    if small:
        raise ValueError(
            f"SSIM needs at least {smallest} x {smallest} pixels; too small (height x "
            f"width): {images.name_some(small)}."
        )


def _images_by_stem(folder: str | os.PathLike[str]) -> dict[str, pathlib.Path]:
    """The images of a folder and its subfolders by path within it, less the suffix."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"There is no folder {folder}.")
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in relative.parts)
        if is_hidden or path.suffix.lower() not in images.SUFFIXES:
            continue
        stem = relative.with_suffix("").as_posix()
        if stem in found:
            raise ValueError(
                f"{found[stem]} and {path} have the same name but for the suffix; one "
                "of them has to go."
            )
        found[stem] = path
    if not found:
        raise ValueError(
            f"{folder} holds no images; supported are {', '.join(images.SUFFIXES)}."
        )
    return found


def _check_partners(
    targets: Mapping[str, pathlib.Path],
    methods: Mapping[str, Mapping[str, pathlib.Path]],
) -> None:
    faults = []
    for method, paths in methods.items():
        missing = [stem for stem in targets if stem not in paths]
        extra = [stem for stem in paths if stem not in targets]
        if missing:
            faults.append(f"{method} lacks {images.name_some(missing)}")
        if extra:
            named = images.name_some(extra)
            faults.append(f"{method} has no target for {named}")
    if faults:
        raise ValueError(
            "Images belong together by their path without the suffix, and "
            f"{'; '.join(faults)}."
        )


def _common_sizes(
    targets: Mapping[str, pathlib.Path],
    methods: Mapping[str, Mapping[str, pathlib.Path]],
) -> dict[str, tuple[int, int]]:
    """Height and width of each target, which all methods' images share."""
    sizes = {stem: decoding.read_size(path) for stem, path in targets.items()}
    faults = []
    for paths in methods.values():
        for stem, expected in sizes.items():
            size = decoding.read_size(paths[stem])
            if size != expected:
                faults.append(
                    f"{paths[stem]} is {size[0]} x {size[1]}, its target "
                    f"{expected[0]} x {expected[1]}"
                )
    if faults:
        raise ValueError(
            "Images have to have their target's size (height x width): "
            f"{images.name_some(faults, '; ')}."
        )
    return sizes
