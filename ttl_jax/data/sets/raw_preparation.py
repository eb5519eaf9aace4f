"""Plans sets made from files: published sets, and the user's own folders."""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

from ttl_jax import suggestions
from ttl_jax.data.files import decoding, images
from ttl_jax.data.sets import pair_checks, published_sets, raw_sets, record_writer
from ttl_jax.data.sets.pair_checks import Checked, CheckedExample
from ttl_jax.data.sets.preparation import RENDERED, Plan, require_own_name
from ttl_jax.data.sets.raw_sets import Found, RawSet
from ttl_jax.data.sets.record_writer import Contents, Part
from ttl_jax.data.sources.records import Row

_IMAGES = {
    "pairs": ("rainy", "clean"),
    "halves": ("rainy", "clean"),
    "photos": ("image",),
}


def find_set(what: str, name: str | None, rainy_half: str | None) -> RawSet:
    """Returns the set to prepare, under the name that it will have.

    Args:
      what: Published set, or "pairs" or "photos".
      name: Name of the user's own set; None for published ones.
      rainy_half: Half of side-by-side files with rain; None for the published one.

    Raises:
      ValueError: If the set is unknown, or an argument does not fit it.
    """
    published = published_sets.SETS
    known = {**published, **published_sets.OWN}
    if what not in known:
        names = suggestions.known_and_hint(what, [*known, RENDERED])
        raise ValueError(f"Unknown set {what!r}; known: {names}")
    raw_set = known[what]
    if what in published and name:
        raise ValueError(f"{what} has its name; --name is for sets of your own.")
    if what not in published:
        raw_set = dataclasses.replace(raw_set, name=require_own_name(name, what))
    if rainy_half and raw_set.kind != "halves":
        raise ValueError(
            f"--rainy_half is for sets of side-by-side files; {what} has none."
        )
    return dataclasses.replace(raw_set, rainy_half=rainy_half or raw_set.rainy_half)


def make_plan(
    raw_set: RawSet, root: pathlib.Path, *, trust_sides: bool = False
) -> Plan:
    """The plan of a set of files.

    Its check raises a ValueError if pixels contradict which side is rainy.

    Args:
      raw_set: Set to prepare.
      root: Folder of the set as distributed.
      trust_sides: Whether to accept pairs whose pixels contradict.

    Raises:
      ValueError: If the folder is not as expected.
    """
    found = raw_set.find(root)
    raw_sets.require_examples(raw_set, root, found)
    check = functools.partial(_check, raw_set, root, found, trust_sides)
    return Plan(raw_set.name, _describe_source(raw_set, root, found), check)


def _describe_source(
    raw_set: RawSet, root: pathlib.Path, found: Found
) -> dict[str, Any]:
    """Description and digest of the files that a set is made from, without reading them."""
    examples = itertools.chain(*found.splits.values())
    used = [file for example in examples for file in example.files]
    stated = []
    for file in [*used, *(file for file, _ in found.unused)]:
        try:
            status = os.stat(root / file)
            stated.append((file, status.st_size, status.st_mtime_ns))
        except OSError:
            stated.append((file, None, None))
    facts = json.dumps([raw_set.kind, raw_set.rainy_half, sorted(set(stated), key=str)])
    folder = decoding.printable(root.resolve())
    return {
        "description": f"{len(set(stated))} files of {folder}",
        "digest": hashlib.sha256(facts.encode()).hexdigest(),
    }


def _check(
    raw_set: RawSet, root: pathlib.Path, found: Found, trust_sides: bool
) -> Contents:
    checked = pair_checks.check(raw_set, root, found)
    for split, examples in checked.splits.items():
        if not examples:
            raise ValueError(
                f"{root} has nothing usable for the split {split}: "
                f"{images.name_some(_left_out(checked), '; ')}."
            )
    if not trust_sides:
        pair_checks.refuse_exchanged_sides(raw_set, checked, root)
    return Contents(
        image_names=_IMAGES[raw_set.kind],
        splits={
            split: [_make_part(raw_set, root, example) for example in examples]
            for split, examples in checked.splits.items()
        },
        views=_make_views(raw_set, checked),
        excluded=checked.excluded,
        summary="\n".join(_summarize(raw_set, checked)),
        report="\n".join(_report(raw_set, root, checked)),
    )


# Records


def _make_part(raw_set: RawSet, root: pathlib.Path, example: CheckedExample) -> Part:
    num_bytes = sum(example.num_bytes)
    if raw_set.kind == "halves":
        num_bytes = 2 * record_writer.estimate_png(example.width, example.height)
    return Part(1, num_bytes, functools.partial(_make, raw_set, root, example))


def _make(
    raw_set: RawSet, root: pathlib.Path, example: CheckedExample
) -> list[tuple[Row, list[bytes]]]:
    raw, encoded = example.raw, _encode(raw_set, root, example)
    # A half has no file of its own.
    last_file = raw.files[-1] if len(raw.files) == len(encoded) else raw.name
    name, scene = map(decoding.printable, (raw.name, raw.scene))
    num_bytes = [len(data) for data in encoded]
    row = Row(name, scene, example.width, example.height, num_bytes, last_file)
    return [(row, encoded)]


def _encode(
    raw_set: RawSet, root: pathlib.Path, example: CheckedExample
) -> list[bytes]:
    """The bytes of each image: those of its file, or a PNG of half a file."""
    contents = []
    for file, checksum in zip(example.raw.files, example.checksums, strict=True):
        contents.append((root / file).read_bytes())
        if zlib.crc32(contents[-1]) != checksum:
            raise ValueError(
                f"{root / file} changed while the set was prepared; do it again."
            )
    if raw_set.kind != "halves":
        return contents
    image = images.decode(contents[0], example.raw.files[0])
    halves = pair_checks.split_halves(image, raw_set.rainy_half)
    return [record_writer.encode_png(half) for half in halves]


def _make_views(raw_set: RawSet, checked: Checked) -> dict[str, tuple[str, list[int]]]:
    views = {}
    for view, (split, first, last) in raw_set.views.items():
        scenes = [int(example.raw.scene) for example in checked.splits[split]]
        positions = [i for i, scene in enumerate(scenes) if first <= scene <= last]
        views[view] = split, positions
    return views


# Texts for the user


def _summarize(raw_set: RawSet, checked: Checked) -> Iterator[str]:
    """The lines that are printed: the report without its long lists."""
    for split, examples in checked.splits.items():
        yield f"{split}: {len(examples)} examples"
    yield from _differing_counts(raw_set, checked)
    if raw_set.kind != "photos":
        yield _describe_sides(checked)
    if named := _left_out(checked):
        yield f"Left out, {len(named)} in all: {images.name_some(named, '; ')}."


def _left_out(checked: Checked) -> list[str]:
    return [f"{file} {reason}" for file, reason in checked.excluded]


def _differing_counts(raw_set: RawSet, checked: Checked) -> Iterator[str]:
    for split, published in raw_set.counts.items():
        count = len(checked.splits.get(split, ()))
        if count != published:
            yield f"Warning: {split} has {count} examples, published are {published}."


def _describe_sides(checked: Checked) -> str:
    votes = checked.votes()
    return (
        f"The rainy side, by its pixels: as expected in {votes[1]} pairs, unclear in "
        f"{votes[0]}, contradicted in {votes[-1]}."
    )


def _report(raw_set: RawSet, root: pathlib.Path, checked: Checked) -> Iterator[str]:
    """The lines of report.md."""
    source = decoding.printable(root.resolve())
    yield f"# {raw_set.name}\n\nPrepared from `{source}`.\n"
    for title, text in (
        ("Paper", raw_set.paper),
        ("Terms", raw_set.terms),
        ("Distributed at", raw_set.home),
        ("Note", raw_set.note),
    ):
        if text:
            yield f"- {title}: {text}"
    yield "\n| split | examples | published |\n|---|---|---|"
    for split in dict.fromkeys([*checked.splits, *raw_set.counts]):
        count = len(checked.splits.get(split, ()))
        yield f"| {split} | {count} | {raw_set.counts.get(split, '-')} |"
    yield ""
    yield from _differing_counts(raw_set, checked)
    if raw_set.kind != "photos":
        yield f"\n{_describe_sides(checked)}\n"
        for file, sides in checked.against():
            yield f"- contradicted, kept by --trust_sides: {file} ({sides})"
    yield f"\n## Left out: {len(checked.excluded)}\n"
    yield from (f"- {line}" for line in _left_out(checked))
    yield f"\n## Files without an image suffix, skipped: {len(checked.others)}\n"
    yield from (f"- {file}" for file in checked.others)
