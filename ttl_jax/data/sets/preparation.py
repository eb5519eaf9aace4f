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

RENDERED = "rendered"  # the kind of set that is made, not found


class Plan(NamedTuple):
    """A set to prepare.

    Attributes:
      name: Name of the set.
      description: Origin of the set, as text.
      facts: JSON value that changes with everything that the examples depend on.
      check: Checks the files, which may take long, and returns the contents to write.
        Raises a ValueError if nothing can be used.
    """

    name: str
    description: str
    facts: Any
    check: Callable[[], Contents]

    @property
    def source(self) -> dict[str, str]:
        """Origin, as `records.Index` stores it."""
        digest = hashlib.sha256(json.dumps(self.facts).encode()).hexdigest()
        return {"description": self.description, "digest": digest}


class Prepared(NamedTuple):
    """A set that is ready to be read.

    Attributes:
      folder: Folder of the records.
      is_new: Whether it was written now, not before.
      sources: Sources that name its splits.
      summary: Text for the user; empty if the set was there already.
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
    which the next one removes. Raises a ValueError if nothing can be used, if a set of
    that name was made from something else, or if the disk is too small; an OSError if
    the records cannot be written.
    """
    folder = records.folder_of(data_dir, plan.name)
    is_new, summary = overwrite or not folder.parent.exists(), ""
    if is_new:
        with record_writer.staging(data_dir, plan.name) as staging:
            contents = plan.check()
            needed = sum(part.num_bytes for part in contents.parts)
            if (free := shutil.disk_usage(data_dir).free) < needed:
                sizes = [tqdm.tqdm.format_sizeof(n, "B") for n in (needed, free)]
                raise ValueError(
                    f"{plan.name} needs about {sizes[0]} in {data_dir}, where {sizes[1]} "
                    "are free; make room or name another --data_dir."
                )
            written = record_writer.write(plan.name, contents, plan.source, staging)
            record_writer.publish(written, data_dir)
        summary = contents.summary
    index = records.read_index(folder)
    if index is None:
        raise ValueError(
            f"{folder.parent} was made by another version of ttl_jax, or is not a "
            "prepared set; --overwrite replaces it."
        )
    if index.source["digest"] != plan.source["digest"]:
        raise ValueError(
            f"{folder} was made from other files, or by other flags: from "
            f"{index.source['description']}, where this is {plan.description}. "
            "--overwrite makes it again."
        )
    splits = [*index.splits, *index.views]
    return Prepared(folder, is_new, [f"tfds:{index.name}/{s}" for s in splits], summary)
