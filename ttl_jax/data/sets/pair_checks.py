"""Checks of raw examples: which can be used, and which side is the rainy one.

Rain has two cues. It brightens: streaks add light, and so does most veil. And it gives
the picture vertical structure, so that neighbours within a row differ more than
neighbours within a column, compared with the same scene without rain; this holds even if
a veil darkens or flattens a scene. Either cue alone can fail, because of a changed
exposure or overexposed rain. A side counts as rainy only if both agree.

Measured on 194 pairs of nine sets, all but two of them synthetic: the rainy side is found
in 192, and unclear in two. With exchanged sides, the same 192 are found.
"""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tqdm

from ttl_jax.data.files import decoding, images
from ttl_jax.data.sets.raw_sets import Found, RawExample, RawSet

# Least values that count: noise and recompression stay below.
_MIN_BRIGHTER = 1.0  # levels of 255
_MIN_DOWNWARD = 0.02  # natural logarithm of a ratio


class Sides(NamedTuple):
    """Which of two images is the rainy one, by their pixels.

    Attributes:
      brighter: Brightness of the side taken for rainy minus the other's, in levels of 255.
      downward: Natural logarithm of its vertical structure over the other's.
    """

    brighter: float
    downward: float

    @property
    def vote(self) -> int:
        """1 if the sides are as taken, -1 if exchanged, 0 if it is unclear."""
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
      width: Width of the upright image, or of one half of a file, in pixels.
      height: Height of the upright image, in pixels.
      num_bytes: Size of each file.
      checksums: CRC-32 of each file.
      sides: Cues of pairs and halves.
    """

    raw: RawExample
    width: int
    height: int
    num_bytes: tuple[int, ...]
    checksums: tuple[int, ...]
    sides: Sides | None


@dataclasses.dataclass(frozen=True)
class Checked:
    """The files of a set, after decoding.

    Attributes:
      splits: Usable examples of each split.
      excluded: Files that are left out, each with its reason.
      others: Files without an image suffix.
    """

    splits: Mapping[str, Sequence[CheckedExample]]
    excluded: Sequence[tuple[str, str]]
    others: Sequence[str]

    def against(self) -> list[tuple[str, Sides]]:
        """Rainy files of pairs whose sides seem to be exchanged."""
        return [
            (decoding.printable(example.raw.files[0]), sides)
            for example, sides in self._pairs()
            if sides.vote < 0
        ]

    def votes(self) -> dict[int, int]:
        """Number of pairs by `Sides.vote`."""
        votes = [sides.vote for _, sides in self._pairs()]
        return {vote: votes.count(vote) for vote in (1, 0, -1)}

    def _pairs(self) -> Iterator[tuple[CheckedExample, Sides]]:
        for examples in self.splits.values():
            yield from ((one, one.sides) for one in examples if one.sides)


def check(raw_set: RawSet, root: pathlib.Path, found: Found) -> Checked:
    """Decodes every example once; unusable ones are left out with a reason.

    Args:
      raw_set: Set; its `kind` and `rainy_half` are read.
      root: Its folder.
      found: Files in it.
    """
    raws = [(s, raw) for s, examples in found.splits.items() for raw in examples]
    splits: dict[str, list[CheckedExample]] = {split: [] for split in found.splits}
    excluded = list(found.unused)
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    try:
        check_one = functools.partial(_check_one, raw_set, root)
        progress = tqdm.tqdm(
            pool.map(check_one, [raw for _, raw in raws]),
            desc="checking",
            total=len(raws),
            unit="example",
            disable=None,  # shown in a terminal only
        )
        for (split, raw), result in zip(raws, progress, strict=True):
            if isinstance(result, str):
                excluded.append((raw.files[0], result))
            else:
                splits[split].append(result)
    finally:
        pool.shutdown(cancel_futures=True)
    return Checked(
        splits,
        [(decoding.printable(file), decoding.printable(why)) for file, why in excluded],
        [decoding.printable(file) for file in found.others],
    )


def refuse_exchanged_sides(
    raw_set: RawSet, checked: Checked, root: pathlib.Path
) -> None:
    """Raises a ValueError if the pixels of a pair contradict which side is rainy."""
    against = checked.against()
    if not against:
        return
    named = [f"{root / file} ({sides})" for file, sides in against]
    if raw_set.kind == "halves":
        other = "right" if raw_set.rainy_half == "left" else "left"
        taken = f"the {raw_set.rainy_half} half is taken for the rainy one"
        remedy = f"--rainy_half {other} exchanges the halves of all files"
    else:
        taken = "the first of the two folders is taken for the rainy one"
        remedy = "exchange the files"
    votes = checked.votes()
    raise ValueError(
        f"Of {sum(votes.values())} pairs, {len(against)} seem to have their "
        f"sides exchanged: {taken}, but it is darker and has the weaker downward "
        f"structure in {images.name_some(named, '; ')}. {votes[1]} pairs are "
        f"as expected. If these are wrong, {remedy}; if they are right, --trust_sides "
        "takes them as they are."
    )


def split_halves(
    image: np.ndarray, rainy_half: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """The rainy and the clean half of an image [H, 2 W, C]: two of [H, W, C]."""
    width = image.shape[1] // 2
    left, right = image[:, :width], image[:, width:]
    return (left, right) if rainy_half == "left" else (right, left)


def _check_one(
    raw_set: RawSet, root: pathlib.Path, raw: RawExample
) -> CheckedExample | str:
    """The checked example, or the reason why it cannot be used."""
    decoded, num_bytes, checksums = [], [], []
    for file in raw.files:
        try:
            data = decoding.read_bytes(root / file)
            decoded.append(images.decode(data, file))
        except decoding.ImageError as error:
            if file == raw.files[0]:
                return error.reason
            return f"has a partner, {file}, that {error.reason}"
        num_bytes.append(len(data))
        checksums.append(zlib.crc32(data))
    if raw_set.kind == "halves":
        width = decoded[0].shape[1]
        if width % 2 or width < 2 * images.MIN_SIDE:
            return f"is {width} pixels wide, which gives no equal halves"
        decoded = split_halves(decoded[0], raw_set.rainy_half)
    sides = None
    if len(decoded) == 2:
        if fault := _find_fault(raw, *decoded):
            return fault
        sides = compare_sides(*decoded)
    height, width, _ = decoded[0].shape
    return CheckedExample(raw, width, height, tuple(num_bytes), tuple(checksums), sides)


def _find_fault(raw: RawExample, rainy: np.ndarray, clean: np.ndarray) -> str | None:
    partner = raw.files[1] if len(raw.files) == 2 else "the other half"
    if rainy.shape != clean.shape:
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (rainy, clean)]
        return f"is {sizes[0]}, {partner} {sizes[1]}"
    if np.array_equal(rainy, clean):
        return f"equals {partner}, pixel for pixel"
    return None
