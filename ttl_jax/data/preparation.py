"""Prepares a set: finds, checks and writes its examples, and reports on all of it."""

import dataclasses
import difflib
import hashlib
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import tqdm

from ttl_jax.data import (
    decoding,
    images,
    pair_checks,
    published_sets,
    raw_sets,
    record_writer,
    records,
)
from ttl_jax.data.pair_checks import Checked
from ttl_jax.data.raw_sets import Found, RawSet


class Prepared(NamedTuple):
    """A set that is ready to be read.

    Attributes:
      folder: Where it is.
      is_new: Whether it was made now, not before.
      sources: What it can be trained on as.
      summary: What there is to tell about it, for people.
    """

    folder: pathlib.Path
    is_new: bool
    sources: Sequence[str]
    summary: str


def find_set(what: str, name: str | None, rainy_half: str | None) -> RawSet:
    """The set to prepare, under the name that it will have.

    Args:
      what: A published set, or "pairs" or "photos".
      name: Of a set of one's own; None for published ones.
      rainy_half: Overrides on which half of side-by-side files the rain is.

    Raises:
      ValueError: If there is no such set, or it cannot be named so.
    """
    published = published_sets.SETS
    known = {**published, **published_sets.OWN}
    if what not in known:
        near = difflib.get_close_matches(what, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"Unknown set {what!r}; known are {', '.join(known)}{hint}")
    raw_set = known[what]
    if what in published and name:
        raise ValueError(f"{what} has its name; --name is for pairs and photos.")
    if what not in published:
        if not name or not re.fullmatch("[a-z][a-z0-9_]*", name) or name in known:
            raise ValueError(
                f"--name gives your own set its name, of small letters, digits and _, "
                f"for example my_{what}; {name!r} is none, or taken by a known set."
            )
        raw_set = dataclasses.replace(raw_set, name=name)
    if rainy_half and raw_set.kind != "halves":
        raise ValueError(
            f"--rainy_half is for sets of side-by-side files; {what} has none."
        )
    return dataclasses.replace(raw_set, rainy_half=rainy_half or raw_set.rainy_half)


def prepare(
    raw_set: RawSet,
    root: pathlib.Path,
    data_dir: pathlib.Path,
    *,
    trust_sides: bool = False,
    overwrite: bool = False,
) -> Prepared:
    """Makes the records of a set, unless they are there already.

    Nothing is put into its place before all is written. A process that was killed has
    left nothing but a hidden folder, which the next one removes.

    Args:
      raw_set: What to prepare.
      root: The folder of the set as distributed.
      data_dir: Where prepared sets are kept.
      trust_sides: Take pairs as they are where their pixels contradict.
      overwrite: Make the set again where it is there already.

    Raises:
      ValueError: If the folder is not as expected or holds nothing usable; if pixels
        contradict which side is rainy; if a set of that name was made from something
        else; or if the disk is too small.
      OSError: If the records cannot be written.
    """
    found = raw_set.find(root)
    raw_sets.require_examples(raw_set, root, found)
    source = _describe_source(raw_set, root, found)
    folder = records.folder_of(data_dir, raw_set.name)
    if folder.parent.exists() and not overwrite:
        return _keep(folder, source)
    with record_writer.staging(data_dir, raw_set.name) as staging:
        checked = pair_checks.check(raw_set, root, found)
        _require_usable(checked, root)
        if not trust_sides:
            pair_checks.refuse_exchanged_sides(raw_set, checked, root)
        _require_space(raw_set, checked, data_dir)
        written = record_writer.write(raw_set, root, checked, source, staging)
        report = "\n".join(_report(raw_set, root, checked))
        (written / "report.md").write_text(f"{report}\n", "utf-8")
        record_writer.publish(written, data_dir)
    summary = "\n".join(_summarize(raw_set, checked))
    return Prepared(folder, True, _sources(records.read_index(folder)), summary)


def _describe_source(
    raw_set: RawSet, root: pathlib.Path, found: Found
) -> dict[str, Any]:
    """What identifies the files that a set was made from, without reading them."""
    used = [
        file
        for examples in found.splits.values()
        for example in examples
        for file in example.files
    ]
    stated = []
    for file in [*used, *(file for file, _ in found.unused)]:
        try:
            status = os.stat(root / file)
            stated.append((file, status.st_size, status.st_mtime_ns))
        except OSError:
            stated.append((file, None, None))
    facts = json.dumps([raw_set.kind, raw_set.rainy_half, sorted(set(stated), key=str)])
    return {
        "folder": str(root.resolve()),
        "num_files": len(set(stated)),
        "digest": hashlib.sha256(facts.encode()).hexdigest(),
    }


def _keep(folder: pathlib.Path, source: dict[str, Any]) -> Prepared:
    """The set that is there already, if it is what would be made."""
    index = records.read_index(folder)
    if index is None:
        raise ValueError(
            f"{folder.parent} was made by another version of ttl_jax, or is no prepared "
            "set; --overwrite replaces it."
        )
    if index.source["digest"] != source["digest"]:
        raise ValueError(
            f"{folder} was made from other files than those of {source['folder']} now: "
            f"from {index.source['num_files']} files of {index.source['folder']}, where "
            f"{source['num_files']} are found now. --overwrite makes it again."
        )
    return Prepared(folder, False, _sources(index), "")


def _sources(index: records.Index) -> list[str]:
    return [f"tfds:{index.name}/{split}" for split in (*index.splits, *index.views)]


def _require_usable(checked: Checked, root: pathlib.Path) -> None:
    for split, examples in checked.splits.items():
        if not examples:
            named = [f"{file} {reason}" for file, reason in checked.excluded]
            raise ValueError(
                f"{root} has nothing usable for the split {split}: "
                f"{images.name_some(named, '; ')}."
            )


def _require_space(raw_set: RawSet, checked: Checked, data_dir: pathlib.Path) -> None:
    needed = sum(
        record_writer.estimate_bytes(raw_set, example)
        for examples in checked.splits.values()
        for example in examples
    )
    free = shutil.disk_usage(data_dir).free
    if free < needed:
        needed, free = (tqdm.tqdm.format_sizeof(size, "B") for size in (needed, free))
        raise ValueError(
            f"{raw_set.name} needs about {needed} in {data_dir}, where {free} are free; "
            "make room or name another --data_dir."
        )


# What there is to tell


def _summarize(raw_set: RawSet, checked: Checked) -> Iterator[str]:
    """The lines that a person sees: the report but for its long lists."""
    for split, examples in checked.splits.items():
        yield f"{split}: {len(examples)} examples"
    yield from _differing_counts(raw_set, checked)
    if raw_set.kind != "photos":
        yield _tell_sides(checked)
    if checked.excluded:
        named = [f"{file} {reason}" for file, reason in checked.excluded]
        yield f"Left out, {len(named)} in all: {images.name_some(named, '; ')}."


def _differing_counts(raw_set: RawSet, checked: Checked) -> Iterator[str]:
    for split, published in raw_set.counts.items():
        count = len(checked.splits.get(split, ()))
        if count != published:
            yield (f"Warning: {split} has {count} examples, published are {published}.")


def _tell_sides(checked: Checked) -> str:
    votes = checked.votes()
    return (
        f"The rainy side, told from the pixels: as expected in {votes[1]} pairs, unclear "
        f"in {votes[0]}, contradicted in {votes[-1]}."
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
        yield f"\n{_tell_sides(checked)}\n"
        for file, sides in checked.against():
            yield f"- contradicted, kept by --trust_sides: {file} ({sides})"
    yield f"\n## Left out: {len(checked.excluded)}\n"
    for file, reason in checked.excluded:
        yield f"- {file} {reason}"
    yield f"\n## Files without an image suffix, passed over: {len(checked.others)}\n"
    for file in checked.others:
        yield f"- {file}"
