"""Prepares a set: writes the records that its plan describes, unless they exist."""

import hashlib
import json
import pathlib
import re
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tqdm

from ttl_jax.data.sets import published_sets, record_writer
from ttl_jax.data.sets.record_writer import Contents
from ttl_jax.data.sources import records

RENDERED = "rendered"  # kind of set whose rain is rendered, not read from files


class Plan(NamedTuple):
    """A set to prepare.

    Attributes:
      name: Name of the set.
      description: Origin of the set, as text.
      facts: JSON value that changes with everything on which the examples depend.
      check: Checks the files, which may take long, and returns the contents to write.
        Raises ValueError if nothing can be used.
      bases: Names of the sources on whose photographs rain is rendered.
    """

    name: str
    description: str
    facts: Any
    check: Callable[[], Contents]
    bases: Sequence[str] = ()

    @property
    def source(self) -> dict[str, Any]:
        """Origin, in the form of `records.Index`."""
        digest = hashlib.sha256(json.dumps(self.facts).encode()).hexdigest()
        return {
            "description": self.description,
            "digest": digest,
            "bases": list(self.bases),
        }


class Prepared(NamedTuple):
    """A set that is ready to be read.

    Attributes:
      folder: Folder of the records.
      is_new: Whether it was written by this call.
      sources: Names of its splits as sources.
      summary: Text for the user; empty if the set existed already.
    """

    folder: pathlib.Path
    is_new: bool
    sources: Sequence[str]
    summary: str


def require_own_name(name: str | None, what: str) -> str:
    """Returns the name of the user's own set after checking it.

    Args:
      name: Name from the command line, or None.
      what: Kind of set, for an example in the error message.

    Raises:
      ValueError: If the name is missing, malformed or already taken.
    """
    taken = {*published_sets.SETS, *published_sets.OWN, RENDERED}
    if not name or not re.fullmatch("[a-z][a-z0-9_]*", name) or name in taken:
        raise ValueError(
            f"--name gives your own set its name, for example my_{what}; got {name!r}; "
            "use lowercase letters, digits and _, and no known set's name."
        )
    return name


def prepare(plan: Plan, data_dir: pathlib.Path, *, overwrite: bool = False) -> Prepared:
    """Writes the records of a set, unless they exist already.

    The set appears when everything is written. A killed process leaves only hidden
    folders, which the next call removes. It first puts back a set that was being replaced.

    Raises:
      ValueError: If nothing can be used, a set with this name was made from other data, or
        the disk has too little space.
      OSError: If the records cannot be written.
    """
    folder = records.folder_of(data_dir, plan.name)
    is_new, summary = False, ""
    if overwrite or not folder.parent.exists():
        with record_writer.staging(data_dir, plan.name) as staging:
            # The folder exists now if the set was put back.
            if is_new := overwrite or not folder.parent.exists():
                summary = _write(plan, data_dir, staging)
    index = records.read_index(folder)
    if index is None:
        raise ValueError(
            f"{folder.parent} was made by another version of ttl_jax, or is not a "
            "prepared set; --overwrite replaces it."
        )
    if index.source["digest"] != plan.source["digest"]:
        raise ValueError(
            f"{folder} was made from other files or with other flags: from "
            f"{index.source['description']}, not from {plan.description}. "
            "--overwrite replaces it."
        )
    splits = [*index.splits, *index.views]
    return Prepared(folder, is_new, [f"tfds:{index.name}/{s}" for s in splits], summary)


def _write(plan: Plan, data_dir: pathlib.Path, staging: pathlib.Path) -> str:
    """Writes a set, and returns its summary; raises as `prepare`."""
    contents = plan.check()
    needed = sum(part.num_bytes for part in contents.parts)
    if (free := shutil.disk_usage(data_dir).free) < needed:
        sizes = [tqdm.tqdm.format_sizeof(n, "B") for n in (needed, free)]
        raise ValueError(
            f"{plan.name} needs about {sizes[0]} in {data_dir}, which has {sizes[1]} left; "
            "free some space or name another --data_dir."
        )
    written = record_writer.write(plan.name, contents, plan.source, staging)
    record_writer.publish(written, data_dir)
    return contents.summary
