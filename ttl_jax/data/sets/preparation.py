"""Prepares a set: writes what its plan describes, unless it is there already."""

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
    """A set that is to be prepared.

    Attributes:
      name: Name of the set.
      source: Origin of the set: "digest", which changes with anything that its examples
        depend on, and "description", a text.
      check: Checks the files, which may take long, and returns what to write. Raises a
        ValueError if nothing can be used.
    """

    name: str
    source: Mapping[str, Any]
    check: Callable[[], Contents]


class Prepared(NamedTuple):
    """A set that is ready to be read.

    Attributes:
      folder: Folder of the records.
      is_new: Whether it was written now, not before.
      sources: Sources that name its splits.
      summary: Text for the user.
    """

    folder: pathlib.Path
    is_new: bool
    sources: Sequence[str]
    summary: str


def require_own_name(name: str | None, what: str) -> str:
    """Returns the name of the user's own set.

    Raises:
      ValueError: If it is malformed or taken.
    """
    taken = {*published_sets.SETS, *published_sets.OWN, RENDERED}
    if not name or not re.fullmatch("[a-z][a-z0-9_]*", name) or name in taken:
        raise ValueError(
            f"--name gives your own set its name, for example my_{what}; got {name!r}; "
            "use lowercase letters, digits and _, and no known set's name."
        )
    return name


def prepare(plan: Plan, data_dir: pathlib.Path, *, overwrite: bool = False) -> Prepared:
    """Makes the records of a set, unless they are there already.

    The set appears when all is written. A killed process leaves only a hidden folder,
    which the next one removes.

    Args:
      plan: Set to prepare.
      data_dir: Folder of the prepared sets.
      overwrite: Whether to replace a set that is there already.

    Raises:
      ValueError: If nothing can be used; if a set of that name was made from something
        else; or if the disk is too small.
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
    assert index is not None  # it was published just now
    return Prepared(folder, True, _sources(index), contents.summary)


def _keep(folder: pathlib.Path, source: Mapping[str, Any]) -> Prepared:
    """The set that is there already, if it is what would be made."""
    index = records.read_index(folder)
    if index is None:
        raise ValueError(
            f"{folder.parent} was made by another version of ttl_jax, or is not a "
            "prepared set; --overwrite replaces it."
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
        needs, has = (tqdm.tqdm.format_sizeof(size, "B") for size in (needed, free))
        raise ValueError(
            f"{name} needs about {needs} in {data_dir}, where {has} are free; make "
            "room or name another --data_dir."
        )
