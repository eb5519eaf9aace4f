"""Photographs named on a command line, and where their restored copies go."""

import functools
import glob
import itertools
import os
import pathlib
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

from ttl_jax.data.files import encoding
from ttl_jax.inference.file_jobs import Job


def plan(inputs: Iterable[str], output: str | os.PathLike[str]) -> list[Job]:
    """Lists the photographs to restore and their targets, in a repeatable order.

    A file is written under its own name, the photographs of a folder with their path
    within it, those of a pattern with their path below its fixed part. Hidden files are
    skipped; so are other kinds of files in folders and patterns, and the output folder
    inside an input folder.

    Args:
      inputs: Files, folders and glob patterns (`**` for any depth).
      output: Folder to write to; need not exist.

    Raises:
      ValueError: If an input does not exist, is not a photograph, or holds none; a folder
        cannot be read; two photographs have the same target; or a target is an input.
    """
    output = str(pathlib.Path(output))
    if os.path.exists(output) and not os.path.isdir(output):
        raise ValueError(f"The output {output} is a file, not a folder.")
    photographs: dict[str, _Place] = {}  # by target
    for text in inputs:
        for photograph in _photographs(text, os.path.realpath(output)):
            target = os.path.join(output, photograph.relative)
            other = photographs.setdefault(target, photograph)
            if other.real != photograph.real:
                raise ValueError(
                    f"{other.path} and {photograph.path} would both become {target}; "
                    "restore them into different folders."
                )
    _check_kept({photograph.real for photograph in photographs.values()}, photographs)
    return [Job(one.path, target) for target, one in photographs.items()]


def list_missing(jobs: Iterable[Job]) -> list[Job]:
    """Returns the jobs whose target does not exist; lists each folder once."""
    list_once = functools.cache(_list_names)
    split = ((job, *os.path.split(job.target)) for job in jobs)
    return [job for job, folder, name in split if name not in list_once(folder)]


class _Place(NamedTuple):
    """A file or folder of an input.

    Attributes:
      path: Path of the file.
      real: Path without links.
      relative: Path within the output folder.
    """

    path: str
    real: str
    relative: str

    def join(self, name: str) -> "_Place":
        """Returns an entry of the folder, which must not be a link."""
        return _Place(*(os.path.join(path, name) for path in self))


def _photographs(text: str, output: str) -> Iterator[_Place]:
    """Yields the photographs of one input; `output` is given without links."""
    path = pathlib.Path(text)
    if path.is_file():  # Brackets in a file name are not a pattern.
        if not _is_photograph(path.name):
            raise ValueError(
                f"{path} is not a photograph; supported are {', '.join(encoding.SUFFIXES)}."
            )
        yield _Place(str(path), os.path.realpath(path), path.name)
        return
    if path.is_dir():
        root, found = _root(path), _walk(_root(path))
    elif _is_pattern(text):
        fixed = itertools.takewhile(lambda part: not _is_pattern(part), path.parts)
        root = _root(pathlib.Path(*fixed))
        found = _match(text, root)
    else:
        raise ValueError(f"{text} does not exist.")

    # Otherwise the outputs of one run would be inputs of the next.
    outputs = os.path.join(output, "")
    holds_outputs = output != root.real and outputs.startswith(
        os.path.join(root.real, "")
    )
    num_found = 0
    for photograph in found:
        if not (holds_outputs and photograph.real.startswith(outputs)):
            num_found += 1
            yield photograph
    if not num_found:
        raise ValueError(
            f"{text} holds no photographs; supported are {', '.join(encoding.SUFFIXES)}."
        )


def _root(path: pathlib.Path) -> _Place:
    """Returns an input folder, with the prefix of the paths in it."""
    return _Place("" if str(path) == "." else str(path), os.path.realpath(path), "")


def _walk(folder: _Place) -> Iterator[_Place]:
    """Yields the photographs below a folder, in the order of their paths.

    Takes all that it can from the listing: on network disks each further question about a
    file takes milliseconds.
    """
    try:
        with os.scandir(folder.path or ".") as entries:
            visible = sorted(
                (entry for entry in entries if not entry.name.startswith(".")),
                key=lambda entry: entry.name,
            )
    except OSError as error:
        raise ValueError(f"{folder.path} cannot be read: {error.strerror}.") from error
    for entry in visible:
        place = folder.join(entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(place)
        elif _is_photograph(entry.name) and entry.is_file():
            if entry.is_symlink():
                place = place._replace(real=os.path.realpath(place.path))
            yield place


def _match(pattern: str, root: _Place) -> Iterator[_Place]:
    """Yields the photographs that match a pattern, or lie in matching folders."""
    matches = {str(pathlib.Path(path)) for path in glob.iglob(pattern, recursive=True)}
    real_path = functools.cache(os.path.realpath)
    for path in sorted(matches, key=lambda path: path.split(os.sep)):
        relative = path[len(os.path.join(root.path, "")) :]  # empty for the root
        if any(part.startswith(".") for part in relative.split(os.sep)):
            continue
        if _is_photograph(path) and os.path.isfile(path):
            folder, name = os.path.split(path)
            real = os.path.join(real_path(folder), name)
            if os.path.islink(path):
                real = os.path.realpath(path)
            yield _Place(path, real, relative)
        elif os.path.isdir(path):
            yield from _walk(_Place(path, os.path.realpath(path), relative))


def _check_kept(sources: Container[str], targets: Iterable[str]) -> None:
    """Raises ValueError if a target is among the sources, given without links."""
    real_path = functools.cache(os.path.realpath)
    for target in targets:
        folder, name = os.path.split(target)
        if os.path.join(real_path(folder), name) in sources:
            raise ValueError(
                f"{target} is one of the photographs to restore and would be "
                "overwritten; choose another output folder."
            )


def _list_names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder or "."))
    except OSError:  # missing, or not a folder: writing reports that
        return frozenset()


def _is_photograph(name: str) -> bool:
    return name.lower().endswith(encoding.SUFFIXES)


def _is_pattern(text: str) -> bool:
    return any(character in text for character in "*?[")
