"""Plans sets made from files: published sets, and the user's own folders.

Unknown sets, arguments that do not fit a set, and unexpected folders raise ValueError.
"""

import dataclasses
import functools
import os
import pathlib
import zlib
from collections.abc import Iterator

from ttl_jax import suggestions
from ttl_jax.data.files import decoding, images
from ttl_jax.data.sets import pair_checks, published_sets, record_writer
from ttl_jax.data.sets.pair_checks import Checked, CheckedExample
from ttl_jax.data.sets.preparation import RENDERED, Plan, require_own_name
from ttl_jax.data.sets.raw_sets import Found, RawSet
from ttl_jax.data.sets.record_writer import Contents, Part
from ttl_jax.data.sources.records import Row


def find_set(what: str, name: str | None, rainy_half: str | None) -> RawSet:
    """Returns the set to prepare, under the name that it will have.

    Args:
      what: Published set, or "pairs" or "photos".
      name: Name of the user's own set; None for published ones.
      rainy_half: Rainy half of side-by-side files; None for the published one.
    """
    known = published_sets.SETS | published_sets.OWN
    if what not in known:
        names = suggestions.known_and_hint(what, [*known, RENDERED])
        raise ValueError(f"Unknown set {what!r}; known: {names}")
    raw_set = known[what]
    if what in published_sets.OWN:
        raw_set = dataclasses.replace(raw_set, name=require_own_name(name, what))
    elif name:
        raise ValueError(f"{what} has a fixed name; --name is for sets of your own.")
    if rainy_half and raw_set.kind != "halves":
        raise ValueError(
            f"--rainy_half is for sets of side-by-side files; {what} has no such files."
        )
    return dataclasses.replace(raw_set, rainy_half=rainy_half or raw_set.rainy_half)


def make_plan(
    raw_set: RawSet, root: pathlib.Path, *, trust_sides: bool = False
) -> Plan:
    """Returns the plan of a set of files.

    Args:
      root: Folder of the set as distributed.
      trust_sides: Whether to accept pairs whose sides seem exchanged, judged by pixels.
        Otherwise the plan's check raises ValueError for them.
    """
    found = raw_set.find(root)
    files = [f for split in found.splits.values() for raw in split for f in raw.files]
    stated = {_state(root, file) for file in [*files, *(f for f, _ in found.unused)]}
    facts = [raw_set.kind, raw_set.rainy_half, sorted(stated, key=str)]
    if raw_set.lists:  # the same files may be in other pairs
        facts.append(found.splits)
    return Plan(
        raw_set.name,
        f"{len(stated)} files of {decoding.printable(root.resolve())}",
        facts,
        functools.partial(_check, raw_set, root, found, trust_sides),
    )


def _state(root: pathlib.Path, file: str) -> tuple[str, int | None, int | None]:
    """Returns path, size and modification time of a file, to detect a change of content."""
    try:
        status = os.stat(root / file)
    except OSError:
        return file, None, None
    return file, status.st_size, status.st_mtime_ns


def _check(
    raw_set: RawSet, root: pathlib.Path, found: Found, trust_sides: bool
) -> Contents:
    checked = pair_checks.check(raw_set, root, found)
    for split, examples in checked.splits.items():
        if not examples:
            raise ValueError(
                f"{root} has nothing usable for the split {split}: "
                f"{suggestions.name_some(_left_out(checked), '; ')}."
            )
    if not trust_sides:
        pair_checks.refuse_exchanged_sides(raw_set, checked, root)
    return Contents(
        image_names=("image",) if raw_set.kind == "photos" else ("rainy", "clean"),
        splits={
            split: [_make_part(raw_set, root, example) for example in examples]
            for split, examples in checked.splits.items()
        },
        views=_make_views(raw_set, checked),
        excluded=checked.excluded,
        summary="\n".join(_summarize(raw_set, checked)),
        report="\n".join(_report(raw_set, root, checked)),
    )


def _make_part(raw_set: RawSet, root: pathlib.Path, example: CheckedExample) -> Part:
    num_bytes = sum(example.num_bytes)
    if raw_set.kind == "halves":
        num_bytes = 2 * record_writer.estimate_png(example.width, example.height)
    return Part(1, num_bytes, functools.partial(_make, raw_set, root, example))


def _make(
    raw_set: RawSet, root: pathlib.Path, example: CheckedExample
) -> list[tuple[Row, list[bytes]]]:
    """Returns the row and the images: the bytes of each file, or a PNG of each half."""
    raw, encoded = example.raw, []
    for file, checksum in zip(raw.files, example.checksums, strict=True):
        encoded.append((root / file).read_bytes())
        if zlib.crc32(encoded[-1]) != checksum:
            raise ValueError(
                f"{root / file} changed while the set was prepared; prepare it again."
            )
    last_file = raw.files[-1]
    if raw_set.kind == "halves":
        image = images.decode(encoded[0], raw.files[0])
        halves = pair_checks.split_halves(image, raw_set.rainy_half)
        encoded = [record_writer.encode_png(half) for half in halves]
        last_file = raw.name  # a half has no file of its own
    name, scene = map(decoding.printable, (raw.name, raw.scene))
    num_bytes = [len(data) for data in encoded]
    row = Row(name, scene, example.width, example.height, num_bytes, last_file)
    return [(row, encoded)]


def _make_views(raw_set: RawSet, checked: Checked) -> dict[str, tuple[str, list[int]]]:
    views = {}
    for view, (split, first, last) in raw_set.views.items():
        scenes = [int(example.raw.scene) for example in checked.splits[split]]
        positions = [i for i, scene in enumerate(scenes) if first <= scene <= last]
        views[view] = split, positions
    return views


# Texts for the user


def _summarize(raw_set: RawSet, checked: Checked) -> Iterator[str]:
    """Yields the lines to print: the report without its long lists."""
    for split, examples in checked.splits.items():
        yield f"{split}: {len(examples)} examples"
    yield from _warnings(raw_set, checked)
    if raw_set.kind != "photos":
        yield _describe_sides(checked)
    if named := _left_out(checked):
        yield f"Left out, {len(named)} in all: {suggestions.name_some(named, '; ')}."


def _left_out(checked: Checked) -> list[str]:
    return [f"{file} {reason}" for file, reason in checked.excluded]


def _warnings(raw_set: RawSet, checked: Checked) -> Iterator[str]:
    for split, published in raw_set.counts.items():
        if (count := len(checked.splits.get(split, ()))) != published:
            yield f"Warning: {split} has {count} examples, but {published} are published."


def _describe_sides(checked: Checked) -> str:
    votes = checked.votes()
    return (
        f"Rainy side according to the pixels: as expected in {votes[1]} pairs, unclear in "
        f"{votes[0]}, contradicted in {votes[-1]}."
    )


def _report(raw_set: RawSet, root: pathlib.Path, checked: Checked) -> Iterator[str]:
    """Yields the lines of report.md."""
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
    yield from _warnings(raw_set, checked)
    if raw_set.kind != "photos":
        yield f"\n{_describe_sides(checked)}\n"
        for file in checked.exchanged():
            yield f"- contradicted, kept by --trust_sides: {file}"
    for title, lines in (
        ("Left out", _left_out(checked)),
        ("Files without an image suffix, skipped", checked.others),
    ):
        yield f"\n## {title}: {len(lines)}\n"
        yield from (f"- {line}" for line in lines)
