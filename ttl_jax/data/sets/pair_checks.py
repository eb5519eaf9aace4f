"""Checks of raw examples: what can be used, and which side is the rainy one.

Rain tells itself by two cues. It brightens: streaks add light, and so does most veil.
And it gives the picture structure that runs downwards, so that neighbours within a row
differ more than neighbours within a column, compared with the same scene without rain.
The second holds even where a veil darkens or flattens a scene. Either alone can fail, by
an exposure that changed or by rain blown flat; a side is told only where both agree.

Measured on 194 pairs of nine sets, all but two of them synthetic: the rainy side is told
right in 192, and in two it stays unclear; exchanged, the same 192 are found.
"""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tqdm

from ttl_jax.data.files import decoding, images
from ttl_jax.data.sets.raw_sets import Found, RawExample, RawSet

# What either cue has to reach before it counts: noise and recompression stay below.
_MIN_BRIGHTER = 1.0  # levels of 255
_MIN_DOWNWARD = 0.02  # natural logarithm of a ratio


class Sides(NamedTuple):
    """What the pixels say about which of two images is the rainy one.

    Attributes:
      brighter: By how many levels (of 255) the side taken for rainy is brighter.
      downward: How much stronger its downward structure is, as the natural logarithm
        of a ratio: 0.1 is a tenth more.
    """

    brighter: float
    downward: float

    @property
    def vote(self) -> int:
        """1 where the sides are as taken, -1 where exchanged, 0 where it is unclear."""
        if self.brighter > _MIN_BRIGHTER and self.downward > _MIN_DOWNWARD:
            return 1
        if self.brighter < -_MIN_BRIGHTER and self.downward < -_MIN_DOWNWARD:
            return -1
        return 0

    def __str__(self) -> str:
        return f"{self.brighter:+.1f} levels, downward structure {self.downward:+.2f}"


def compare_sides(rainy: np.ndarray, clean: np.ndarray) -> Sides:
    """The cues of a pair, uint8 RGB [H, W, 3] each, as it is taken to be."""
    rainy, clean = (_luma(image) for image in (rainy, clean))
    brighter = float(rainy.mean(dtype=np.float64) - clean.mean(dtype=np.float64))
    return Sides(brighter, _downwardness(rainy) - _downwardness(clean))


def _luma(image: np.ndarray) -> np.ndarray:
    return image @ np.array([0.299, 0.587, 0.114], np.float32)


def _downwardness(luma: np.ndarray) -> float:
    """Logarithm of the mean change along rows over that along columns."""
    along_rows, along_columns = (
        float(np.abs(np.diff(luma, axis=axis)).mean()) for axis in (1, 0)
    )
    # A quarter of a level keeps flat pictures finite and near zero.
    return float(np.log((along_rows + 0.25) / (along_columns + 0.25)))


@dataclasses.dataclass(frozen=True)
class CheckedExample:
    """An example that can be used.

    Attributes:
      raw: Its files and names.
      width: In pixels, upright; of one half where a file holds two.
      height: In pixels, upright.
      num_bytes: Size of each file.
      checksums: Of each file's bytes (CRC-32).
      sides: Of pairs and halves.
    """

    raw: RawExample
    width: int
    height: int
    num_bytes: tuple[int, ...]
    checksums: tuple[int, ...]
    sides: Sides | None


@dataclasses.dataclass(frozen=True)
class Checked:
    """What can be used of a set, and what cannot.

    Attributes:
      splits: Examples of each split.
      excluded: What is left out: "file, reason".
      others: Files without an image suffix.
    """

    splits: Mapping[str, Sequence[CheckedExample]]
    excluded: Sequence[tuple[str, str]]
    others: Sequence[str]

    def against(self) -> list[tuple[str, Sides]]:
        """Rainy files of pairs whose sides seem to be exchanged."""
        return [
            (decoding.printable(example.raw.files[0]), example.sides)
            for examples in self.splits.values()
            for example in examples
            if example.sides and example.sides.vote < 0
        ]

    def votes(self) -> dict[int, int]:
        """Number of pairs by their vote, of which see `Sides.vote`."""
        votes = {1: 0, 0: 0, -1: 0}
        for examples in self.splits.values():
            for example in examples:
                if example.sides:
                    votes[example.sides.vote] += 1
        return votes


def check(raw_set: RawSet, root: pathlib.Path, found: Found) -> Checked:
    """Decodes every example once; what cannot be used is left out with its reason.

    Args:
      raw_set: Of which `kind` and `rainy_half` count.
      root: Its folder.
      found: What it holds.
    """
    names = [split for split, examples in found.splits.items() for _ in examples]
    raws = [raw for examples in found.splits.values() for raw in examples]
    splits: dict[str, list[CheckedExample]] = {split: [] for split in found.splits}
    excluded = list(found.unused)
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    try:
        results = pool.map(functools.partial(_check_one, raw_set, root), raws)
        progress = tqdm.tqdm(
            zip(names, results, strict=True),
            desc="checking",
            total=len(raws),
            unit="example",
            disable=None,  # shown in a terminal only
        )
        for split, result in progress:
            if isinstance(result, CheckedExample):
                splits[split].append(result)
            else:
                excluded.append(result)
    finally:
        pool.shutdown(cancel_futures=True)
    return Checked(
        splits,
        [tuple(map(decoding.printable, exclusion)) for exclusion in excluded],
        [decoding.printable(file) for file in found.others],
    )


def refuse_exchanged_sides(
    raw_set: RawSet, checked: Checked, root: pathlib.Path
) -> None:
    """Raises a ValueError where the pixels of a pair contradict which side is rainy."""
    against = checked.against()
    if not against:
        return
    named = [f"{root / file} ({sides})" for file, sides in against]
    if raw_set.kind == "halves":
        other = {"left": "right", "right": "left"}[raw_set.rainy_half]
        taken = f"the {raw_set.rainy_half} half is taken for the rainy one"
        remedy = f"--rainy_half {other} exchanges the halves of all files"
    else:
        taken = "the first of the two folders is taken for the rainy one"
        remedy = "exchange the files"
    raise ValueError(
        f"Of {sum(checked.votes().values())} pairs, {len(against)} seem to have their "
        f"sides exchanged: {taken}, but it is darker and has the weaker downward "
        f"structure in {images.name_some(named, '; ')}. {checked.votes()[1]} pairs are "
        f"as expected. If these are wrong, {remedy}; if they are right, --trust_sides "
        "takes them as they are."
    )


def split_halves(image: np.ndarray, rainy_half: str) -> tuple[np.ndarray, np.ndarray]:
    """The rainy and the clean half of an image [H, 2 W, C]: two of [H, W, C]."""
    width = image.shape[1] // 2
    halves = image[:, :width], image[:, width:]
    return halves if rainy_half == "left" else halves[::-1]


def _check_one(
    raw_set: RawSet, root: pathlib.Path, raw: RawExample
) -> CheckedExample | tuple[str, str]:
    decoded, num_bytes, checksums = [], [], []
    for file in raw.files:
        try:
            data = decoding.read_bytes(root / file)
            decoded.append(images.decode(data, file))
        except decoding.ImageError as error:
            return _exclude(raw, file, error.reason)
        num_bytes.append(len(data))
        checksums.append(zlib.crc32(data))
    if raw_set.kind == "halves":
        width = decoded[0].shape[1]
        if width % 2 or width < 2 * images.MIN_SIDE:
            return raw.files[0], f"is {width} pixels wide, which gives no equal halves"
        decoded = split_halves(decoded[0], raw_set.rainy_half)
    sides = None
    if len(decoded) == 2:
        if fault := _find_fault(raw, *decoded):
            return raw.files[0], fault
        sides = compare_sides(*decoded)
    height, width, _ = decoded[0].shape
    return CheckedExample(raw, width, height, tuple(num_bytes), tuple(checksums), sides)


def _exclude(raw: RawExample, file: str, reason: str) -> tuple[str, str]:
    """What to say of an example one file of which cannot be used."""
    if file == raw.files[0]:
        return file, reason
    return raw.files[0], f"has a partner, {file}, that {reason}"


def _find_fault(raw: RawExample, rainy: np.ndarray, clean: np.ndarray) -> str | None:
    partner = raw.files[1] if len(raw.files) == 2 else "the other half"
    if rainy.shape != clean.shape:
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (rainy, clean)]
        return f"is {sizes[0]}, {partner} {sizes[1]}"
    if np.array_equal(rainy, clean):
        return f"equals {partner}, pixel for pixel"
    return None
