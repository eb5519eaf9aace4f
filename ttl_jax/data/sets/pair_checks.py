"""Checks raw examples: whether they can be used, and which side is rainy."""

import functools
import pathlib
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ttl_jax import progress, suggestions, threads
from ttl_jax.data.files import decoding, images
from ttl_jax.data.sets.raw_sets import Found, RawExample, RawSet
from ttl_jax.data.sources import pair_cues


class CheckedExample(NamedTuple):
    """A usable example.

    Attributes:
      raw: Files and names.
      width: Width of the upright image, or of one half of a file, in pixels.
      height: Height of the upright image, in pixels.
      num_bytes: Size of each file.
      checksums: CRC-32 of each file.
      sides: Cues of pairs and halves; None for photographs.
    """

    raw: RawExample
    width: int
    height: int
    num_bytes: Sequence[int]
    checksums: Sequence[int]
    sides: pair_cues.Sides | None


class Checked(NamedTuple):
    """The files of a set, after decoding.

    Attributes:
      splits: Usable examples of each split.
      excluded: Files that are left out, each with the reason.
      others: Files without an image suffix.
    """

    splits: Mapping[str, Sequence[CheckedExample]]
    excluded: Sequence[tuple[str, str]]
    others: Sequence[str]

    def exchanged(self) -> list[str]:
        """Returns the rainy files of pairs whose sides seem exchanged, with their cues."""
        return [
            f"{decoding.printable(example.raw.files[0])} ({example.sides})"
            for examples in self.splits.values()
            for example in examples
            if example.sides and example.sides.vote < 0
        ]

    def votes(self) -> dict[int, int]:
        """Returns the number of pairs by `Sides.vote`."""
        examples = [example for split in self.splits.values() for example in split]
        votes = [example.sides.vote for example in examples if example.sides]
        return {vote: votes.count(vote) for vote in (1, 0, -1)}


def check(raw_set: RawSet, root: pathlib.Path, found: Found) -> Checked:
    """Decodes every example in `root` once; lists unusable ones with the reason.

    Names of records are printable. If two examples of a split have the same printable
    name, the second is left out.
    """
    raws = [(split, raw) for split, of in found.splits.items() for raw in of]
    splits: dict[str, list[CheckedExample]] = {split: [] for split in found.splits}
    excluded = list(found.unused)
    results = threads.map_ahead(
        functools.partial(_check_one, raw_set, root), [raw for _, raw in raws]
    )
    shown = progress.track(results, what="checking", total=len(raws), unit="example")
    names: set[tuple[str, str]] = set()
    for (split, raw), result in zip(raws, shown, strict=True):
        if isinstance(result, str):
            excluded.append((raw.files[0], result))
        elif (name := (split, decoding.printable(raw.name))) in names:
            why = "has the same printable name as an earlier file; rename one of them"
            excluded.append((raw.files[0], why))
        else:
            names.add(name)
            splits[split].append(result)
    return Checked(
        splits,
        [(decoding.printable(file), decoding.printable(why)) for file, why in excluded],
        [decoding.printable(file) for file in found.others],
    )


def refuse_exchanged_sides(
    raw_set: RawSet, checked: Checked, root: pathlib.Path
) -> None:
    """Raises ValueError if the sides of a pair seem exchanged, judged by pixels."""
    exchanged = [f"{root / file}" for file in checked.exchanged()]
    if not exchanged:
        return
    if raw_set.kind == "halves":
        other = "right" if raw_set.rainy_half == "left" else "left"
        taken = f"the {raw_set.rainy_half} half should be rainy"
        remedy = f"--rainy_half {other} exchanges the halves of all files"
    else:
        taken = "the first of the two folders should be rainy"
        remedy = "exchange the files"
    votes = checked.votes()
    raise ValueError(
        f"{len(exchanged)} of {sum(votes.values())} pairs seem to have their sides "
        f"exchanged: {taken}, but it is darker and has less vertical structure in "
        f"{suggestions.name_some(exchanged, '; ')}. {votes[1]} pairs are as expected. If the "
        f"sides are wrong, {remedy}; if they are right, --trust_sides accepts them."
    )


def split_halves(
    image: np.ndarray, rainy_half: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rainy and the clean half [H, W, C] of an image [H, 2 W, C].

    Args:
      image: Image with both halves side by side.
      rainy_half: "left", or anything else for the right half.
    """
    left, right = np.split(image, 2, axis=1)
    return (left, right) if rainy_half == "left" else (right, left)


def _check_one(
    raw_set: RawSet, root: pathlib.Path, raw: RawExample
) -> CheckedExample | str:
    """Returns the checked example, or the reason why it cannot be used."""
    contents, decoded = [], []
    for file in raw.files:
        try:
            contents.append(decoding.read_bytes(root / file))
            decoded.append(images.decode(contents[-1], file))
        except decoding.ImageError as error:
            if file == raw.files[0]:
                return error.reason
            return f"has a partner, {file}, that {error.reason}"
    if raw_set.kind == "halves":
        width = decoded[0].shape[1]
        if width % 2 or width < 2 * images.MIN_SIDE:
            return f"is {width} pixels wide, which cannot be halved"
        decoded = split_halves(decoded[0], raw_set.rainy_half)
    sides = None
    if len(decoded) == 2:
        partner = raw.files[1] if len(raw.files) == 2 else "the other half"
        if decoded[0].shape != decoded[1].shape:
            sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in decoded]
            return f"is {sizes[0]}, {partner} {sizes[1]}"
        if np.array_equal(decoded[0], decoded[1]):
            return f"equals {partner}, pixel for pixel"
        if pair_cues.show_two_scenes(*decoded):
            return f"does not show the scene of {partner}"
        sides = pair_cues.compare_sides(*decoded)
    height, width, _ = decoded[0].shape
    num_bytes, checksums = map(len, contents), map(zlib.crc32, contents)
    return CheckedExample(raw, width, height, [*num_bytes], [*checksums], sides)
