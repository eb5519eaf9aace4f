"""Photographs named on a command line, and their restored copies in another folder."""

import glob
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tqdm
from absl import logging

from ttl_jax.data import decoding
from ttl_jax.inference import images


class Job(NamedTuple):
    """One photograph to restore.

    Attributes:
      source: The file to read.
      target: The file to write, in the same format.
    """

    source: pathlib.Path
    target: pathlib.Path


def plan(inputs: Iterable[str], output: str | os.PathLike[str]) -> list[Job]:
    """What to restore and where to, each photograph once, in a repeatable order.

    A file is written under its own name, the photographs of a folder with their path
    within it, those of a pattern with their path below its fixed part. Hidden files,
    and in folders and patterns whatever is no photograph, are passed over. So is the
    output folder where it lies within an input folder.

    Args:
      inputs: Files, folders and glob patterns (`**` for any depth).
      output: The folder to write to; need not exist.

    Raises:
      ValueError: An input does not exist, is no photograph, or holds none; two
        photographs would become the same file; or one would be overwritten.
    """
    output = pathlib.Path(output)
    if output.exists() and not output.is_dir():
        raise ValueError(f"The output {output} is a file, not a folder.")
    sources: dict[pathlib.Path, pathlib.Path] = {}  # by target
    for text in inputs:
        for source, relative in _photographs(text, output):
            target = output / relative
            other = sources.setdefault(target, source)
            if other.resolve() != source.resolve():
                raise ValueError(
                    f"{other} and {source} would both become {target}; restore them "
                    "into different folders."
                )
    jobs = [Job(source, target) for target, source in sources.items()]
    resolved = {job.source.resolve() for job in jobs}
    for job in jobs:
        if job.target.resolve() in resolved:
            raise ValueError(
                f"{job.target} is one of the photographs to restore and would be "
                "overwritten; choose another output folder."
            )
    return jobs


def restore_files(
    jobs: Sequence[Job], restore: Callable[[np.ndarray], np.ndarray]
) -> list[str]:
    """Restores each photograph; one that fails does not keep the rest from being done.

    Args:
      jobs: What to restore and where to; existing targets are replaced.
      restore: From pixels to restored pixels, as `Restorer.restore`.

    Returns:
      One line for each photograph that failed, with its name.
    """
    failures = []
    for job in tqdm.tqdm(jobs, unit="image", disable=None):  # None: only in a terminal
        try:
            picture = decoding.read_image(job.source)
            job.target.parent.mkdir(parents=True, exist_ok=True)
            restored = restore(picture.array)
            images.write_image(job.target, restored, picture.info)
        except Exception as error:  # noqa: BLE001 (whatever it is, the rest goes on)
            logging.debug("Restoring %s failed:", job.source, exc_info=True)
            reason = (str(error) or type(error).__name__).splitlines()[0]
            name = decoding.printable(job.source)
            failures.append(reason if name in reason else f"{name}: {reason}")
    return failures


def _photographs(
    text: str, output: pathlib.Path
) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """The photographs that one input names, and their paths in the output folder."""
    path = pathlib.Path(text)
    if path.is_file():  # Brackets in the name of a file are no pattern.
        if not _is_photograph(path):
            raise ValueError(
                f"{path} is no photograph; supported are {', '.join(images.SUFFIXES)}."
            )
        yield path, pathlib.Path(path.name)
        return
    if path.is_dir():
        root, found = path, path.rglob("*")
    elif _is_pattern(text):
        fixed = itertools.takewhile(lambda part: not _is_pattern(part), path.parts)
        root = pathlib.Path(*fixed)
        matches = [pathlib.Path(match) for match in glob.glob(text, recursive=True)]
        inside = (match.rglob("*") for match in matches if match.is_dir())
        found = itertools.chain(matches, *inside)
    else:
        raise ValueError(f"{text} does not exist.")

    # Otherwise the outputs of one run would be inputs of the next.
    outputs = output.resolve() if root.resolve() in output.resolve().parents else None
    num_found = 0
    for source in sorted(set(found)):
        relative = source.relative_to(root)
        if (
            _is_photograph(source)
            and source.is_file()
            and not any(part.startswith(".") for part in relative.parts)
            and outputs not in source.resolve().parents
        ):
            num_found += 1
            yield source, relative
    if not num_found:
        raise ValueError(
            f"{text} holds no photographs; supported are {', '.join(images.SUFFIXES)}."
        )


def _is_photograph(path: pathlib.Path) -> bool:
    return path.suffix.lower() in images.SUFFIXES


def _is_pattern(text: str) -> bool:
    return any(character in text for character in "*?[")
