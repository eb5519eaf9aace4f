"""Prepares a set: writes what its plan says, unless it is there already."""

import dataclasses
import pathlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tqdm

from ttl_jax.data.sets import published_sets, record_writer
from ttl_jax.data.sets.record_writer import Contents
from ttl_jax.data.sources import records

RENDERED = "rendered"  # the kind of set that is made, not found


@dataclasses.dataclass(frozen=True)
class Plan:
    """A set that is wanted.

    Attributes:
      name: That it is to have.
      source: What it is made from: "digest", which differs where anything does that its
        examples depend on, and "description", for people.
      check: Finds out what there is to write, which may take long. Raises a ValueError
        if there is nothing usable.
    """

    name: str
    source: Mapping[str, Any]
    check: Callable[[], Contents]


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


def require_own_name(name: str | None, what: str) -> str:
    """The name of a set of one's own.

    Raises:
      ValueError: If it cannot be that.
    """
    taken = {*published_sets.SETS, *published_sets.OWN, RENDERED}
    if not name or not re.fullmatch("[a-z][a-z0-9_]*", name) or name in taken:
        raise ValueError(
            f"--name gives your own set its name, of small letters, digits and _, "
            f"for example my_{what}; {name!r} is none, or taken by a known set."
        )
    return name


def prepare(plan: Plan, data_dir: pathlib.Path, *, overwrite: bool = False) -> Prepared:
    """Makes the records of a set, unless they are there already.

    Nothing is put into its place before all is written. A process that was killed has
    left nothing but a hidden folder, which the next one removes.

    Args:
      plan: What to prepare.
      data_dir: Where prepared sets are kept.
      overwrite: Make the set again where it is there already.

    Raises:
      ValueError: If there is nothing usable; if a set of that name was made from
        something else; or if the disk is too small.
      OSError: If the records cannot be written.
    """
    folder = records.folder_of(data_dir, plan.name)
    if folder.parent.exists() and not overwrite:
        return _keep(folder, plan.source)
    with record_writer.staging(data_dir, plan.name) as staging:
        contents = plan.check()
        _require_space(plan.name, contents.num_bytes, data_dir)
        written = record_writer.write(plan.name, contents, plan.source, staging)
        record_writer.publish(written, data_dir)
    index = records.read_index(folder)
    return Prepared(folder, True, _sources(index), contents.summary)


def _keep(folder: pathlib.Path, source: Mapping[str, Any]) -> Prepared:
    """The set that is there already, if it is what would be made."""
    index = records.read_index(folder)
    if index is None:
        raise ValueError(
            f"{folder.parent} was made by another version of ttl_jax, or is no prepared "
            "set; --overwrite replaces it."
        )
    if index.source["digest"] != source["digest"]:
        raise ValueError(
            f"{folder} was made from other files, or by other flags: from "
            f"{index.source['description']}, where this is {source['description']}. "
            "--overwrite makes it again."
        )
    return Prepared(folder, False, _sources(index), "")


def _sources(index: records.Index) -> list[str]:
    return [f"tfds:{index.name}/{split}" for split in (*index.splits, *index.views)]


def _require_space(name: str, needed: int, data_dir: pathlib.Path) -> None:
    free = shutil.disk_usage(data_dir).free
    if free < needed:
        needed, free = (tqdm.tqdm.format_sizeof(size, "B") for size in (needed, free))
        raise ValueError(
            f"{name} needs about {needed} in {data_dir}, where {free} are free; make "
            "room or name another --data_dir."
        )
