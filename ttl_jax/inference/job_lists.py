"""Finds the photographs and videos named on a command line, and their output files."""

import dataclasses
import functools
import glob
import itertools
import os
import pathlib
from collections.abc import Callable, Container, Iterable, Iterator
from typing import NamedTuple

from ttl_jax import user_paths
from ttl_jax.data.files import decoding, encoding, image_folders
from ttl_jax.inference import before_after, output_log, video
from ttl_jax.inference.file_jobs import Job


@dataclasses.dataclass
class Skipped:
    """Files in folders or matching patterns that are not restored.

    Attributes:
      others: Files that are not photographs.
      broken: Links to files that do not exist.
      results: Results of runs into other folders within the input.
    """

    others: set[str] = dataclasses.field(default_factory=set)
    broken: set[str] = dataclasses.field(default_factory=set)
    results: set[str] = dataclasses.field(default_factory=set)

    def describe(self) -> list[str]:
        """Returns a line for each kind."""
        lines = image_folders.describe_others(self.others)
        if any(map(video.is_video, self.others)):
            lines.append(video.INSTALL)
        lines += [f"Skipped {name}: a link to no file." for name in sorted(self.broken)]
        if self.results:
            lines.append(
                f"Skipped {len(self.results)} results of earlier runs, such as "
                f"{min(self.results)}; name their folder to restore them again."
            )
        return lines


def plan(
    inputs: Iterable[str],
    output: str | os.PathLike[str],
    *,
    ending: str = "",
    suffix: str | None = None,
    arriving: bool = False,
) -> tuple[list[Job], Skipped]:
    """Lists the photographs and videos to restore and their targets, in a fixed order.

    A file keeps its name. A photograph of a folder keeps its path within the folder. A
    photograph of a pattern keeps its path below the fixed part of the pattern. Linked
    folders are followed, each once. These are skipped:
    - hidden files, and files that systems make, such as Thumbs.db;
    - other kinds of files in folders and patterns;
    - the output folder inside an input folder;
    - results of earlier runs, if the output folder is the input folder;
    - results in other folders below the input.

    Args:
      inputs: Files, folders and glob patterns (`**` for any depth).
      output: Folder to write to; need not exist.
      ending: Text added to the name of each target, before its suffix.
      suffix: Suffix of all targets; None keeps that of the photograph, or uses .png for
        formats that cannot be written (GIF, HEIC). Videos keep their suffix, or use .mkv.
      arriving: Whether photographs may still arrive. Then an input may hold none, and of
        two photographs with the same target, the second is left out with a warning.

    Raises:
      ValueError: If an input does not exist, is not a photograph, or holds none. If a
        folder cannot be read, two photographs have the same target, or a target is an
        input. If the output is a file, or does not exist and has the suffix of a
        photograph.
    """
    output = str(pathlib.Path(output))
    if os.path.exists(output) and not os.path.isdir(output):
        raise ValueError(f"The output {output} is a file, not a folder.")
    if _is_photograph(output) and not os.path.exists(output):
        raise ValueError(
            f"The output {output} would be a folder; to name a single restored "
            f"photograph, write IN {output} without --output."
        )
    finder = _Finder(os.path.realpath(output), may_find_none=arriving)
    photographs: dict[str, _Place] = {}  # by target
    for text in inputs:
        for photograph in finder.find(text):
            name = _rename(photograph.relative, ending, suffix)
            target = os.path.join(output, name)
            other = photographs.setdefault(target, photograph)
            if other.real != photograph.real:
                fault = (
                    f"{other.path} and {photograph.path} would both become {target}; "
                    "restore them into different folders."
                )
                if not arriving:
                    raise ValueError(fault)
                decoding.warn_once(fault)  # lists are made again and again
    _check_kept({photograph.real for photograph in photographs.values()}, photographs)
    jobs = [Job(one.path, target) for target, one in photographs.items()]
    return jobs, finder.skipped


def plan_one(
    source: str, target: str, *, overwrite: bool, wanted: str | None = None
) -> Job:
    """Returns the job of one photograph with a given target.

    Args:
      source: Path of the photograph.
      target: Path of the file to write; its suffix is the format.
      overwrite: Whether an existing target may be replaced.
      wanted: Format that the user named, such as "png"; None accepts any.

    Raises:
      ValueError: If the source is not a photograph. If the target has an unknown suffix,
        or not that of the format wanted. If it is a folder, is the source, or exists and
        must not be replaced.
    """
    source, target = (str(user_paths.expand(name)) for name in (source, target))
    if not os.path.isfile(source):
        kind = "is a folder" if os.path.isdir(source) else "does not exist"
        raise ValueError(f"{source} {kind}; name a photograph.")
    if os.path.isdir(target):
        raise ValueError(f"{target} is a folder; use --output {target}.")
    if video.is_video(source):
        video.check_packages()
        if not target.lower().endswith(video.WRITTEN):
            raise ValueError(
                f"{target}: videos are written as {', '.join(video.WRITTEN)}."
            )
    elif wanted and encoding.format_of(target) != encoding.format_of(f"x.{wanted}"):
        raise ValueError(f"{target} and --format {wanted} differ; name one format.")
    else:
        encoding.format_of(target)
    if os.path.realpath(source) == os.path.realpath(target):
        raise ValueError(f"{target} is the photograph itself; choose another name.")
    if os.path.exists(target) and not overwrite:
        raise ValueError(f"{target} exists; --overwrite replaces it.")
    return Job(source, target)


def _rename(path: str, ending: str, suffix: str | None) -> str:
    stem, own = os.path.splitext(path)
    if video.is_video(path):
        suffix = video.target_suffix(path)
    elif suffix is None:
        suffix = own if own.lower() in encoding.FORMATS else ".png"
    return f"{stem}{ending}{suffix}"


def list_missing(jobs: Iterable[Job], compare: str | None = None) -> list[Job]:
    """Returns the jobs whose target does not exist; lists each folder once.

    Args:
      compare: Kind of the comparison that photographs need too, see `before_after.write`.
    """
    list_once = functools.cache(_list_names)

    def exists(path: str) -> bool:
        folder, name = os.path.split(path)
        return name in list_once(folder)

    def is_done(job: Job) -> bool:
        needs_comparison = compare and not video.is_video(job.source)
        return exists(job.target) and (
            not needs_comparison
            or exists(before_after.path_beside(job.target, compare or ""))
        )

    return [job for job in jobs if not is_done(job)]


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
        """Returns an entry of the folder; `real` is wrong if it is a link."""
        return _Place(*(os.path.join(path, name) for path in self))


class _Finder:
    """Finds the photographs of inputs."""

    def __init__(self, output: str, may_find_none: bool):
        """Creates a finder.

        Args:
          output: Real path of the output folder.
          may_find_none: Whether an input without photographs is no error.
        """
        self.skipped = Skipped()
        self._output, self._may_find_none = output, may_find_none
        self._root, self._entered = "", set()  # of the current input
        self._path = ""  # of the current input
        self._recorded = functools.cache(_list_results)

    def find(self, text: str) -> Iterator[_Place]:
        """Yields the photographs of one input."""
        path = user_paths.expand(text)
        # Brackets in a file name are not a pattern. Methods of Path may raise OSError.
        if os.path.isfile(path):
            if video.is_video(path):
                video.check_packages()
            elif not _is_photograph(path.name):
                raise ValueError(f"{path} is not a photograph; {_supported()}.")
            yield _Place(str(path), os.path.realpath(path), path.name)
            return
        self._entered.clear()
        if os.path.isdir(path):
            root = _root(path)
            found = self._walk(root)
        elif _is_pattern(str(path)):
            fixed = itertools.takewhile(lambda part: not _is_pattern(part), path.parts)
            root = _root(pathlib.Path(*fixed))
            found = self._match(str(path), root)
        else:
            raise ValueError(f"{text} does not exist.")

        self._root, self._path = os.path.join(root.real, ""), root.path

        # Otherwise the outputs of one run would be inputs of the next.
        is_output = self._find_outputs()
        num_found = 0
        for photograph in found:
            if not is_output(photograph.real):
                num_found += 1
                yield photograph
        if not num_found and not self._may_find_none:
            found = " ".join(self.skipped.describe())
            raise ValueError(f"{text} holds no photographs; {_supported()}. {found}")

    def _find_outputs(self) -> Callable[[str], bool]:
        """Returns a function from the real path of a file to whether it is a result."""
        outputs = os.path.join(self._output, "")
        if outputs == self._root:  # with other names, as by --suffix
            written = _list_results(outputs)
            return lambda path: path.removeprefix(outputs) in written
        if outputs.startswith(self._root):
            return lambda path: path.startswith(outputs)
        return lambda path: False

    def _is_in_output(self, folder: str) -> bool:
        """Returns whether a folder, a real path, is the output folder or inside it.

        It is always False if the current input is the output folder or inside it.
        """
        outputs = os.path.join(self._output, "")
        return not self._root.startswith(outputs) and os.path.join(
            folder, ""
        ).startswith(outputs)

    def _is_result(self, file: _Place) -> bool:
        """Returns whether the record of a folder below the current input lists a file.

        The record of the input itself does not count: whoever names a folder of results
        wants to restore them.
        """
        folder, name = os.path.split(file.relative)
        while folder:
            if name in self._recorded(os.path.join(self._path, folder)):
                return True
            folder, parent = os.path.split(folder)
            name = os.path.join(parent, name)
        return False

    def _walk(self, folder: _Place) -> Iterator[_Place]:
        """Yields the photographs below a folder, in the order of their paths.

        As far as possible, it uses the listing of the folder: on network disks, each
        further query of a file takes milliseconds.
        """
        # A link may lead to a folder that was already read, or to the output folder.
        if folder.real in self._entered or self._is_in_output(folder.real):
            return
        self._entered.add(folder.real)
        try:
            with os.scandir(folder.path or ".") as entries:
                visible = sorted(
                    (e for e in entries if not image_folders.is_clutter(e.name)),
                    key=lambda entry: entry.name,
                )
        except OSError as error:
            raise ValueError(
                f"{folder.path} cannot be read: {error.strerror}."
            ) from error
        for entry in visible:
            place = folder.join(entry.name)
            if entry.is_symlink():
                place = place._replace(real=os.path.realpath(place.path))
            kind = _kind(entry)
            if kind == "folder":
                # A link into the input would only list photographs twice.
                if not (entry.is_symlink() and place.real.startswith(self._root)):
                    yield from self._walk(place)
            elif kind != "file":
                self._skip(place)
            elif self._takes(place):
                yield place

    def _match(self, pattern: str, root: _Place) -> Iterator[_Place]:
        """Yields the photographs that match a pattern or are in matching folders."""
        matches = {
            str(pathlib.Path(path)) for path in glob.iglob(pattern, recursive=True)
        }
        real_path = functools.cache(os.path.realpath)
        for path in sorted(matches, key=lambda path: path.split(os.sep)):
            relative = path[len(os.path.join(root.path, "")) :]  # empty for the root
            if any(map(image_folders.is_clutter, relative.split(os.sep))):
                continue
            folder, name = os.path.split(path)
            if self._is_in_output(real_path(folder)):
                continue
            real = os.path.join(real_path(folder), name)
            if os.path.islink(path):
                real = os.path.realpath(path)
            place = _Place(path, real, relative)
            if os.path.isdir(path):
                yield from self._walk(place)
            elif not os.path.isfile(path):
                self._skip(place)
            elif self._takes(place):
                yield place

    def _takes(self, file: _Place) -> bool:
        """Returns whether a file is to be restored; records it as skipped if not."""
        if not _is_photograph(file.path) and not (
            video.is_video(file.path) and video.is_installed()
        ):
            self.skipped.others.add(decoding.printable(file.path))
        elif self._is_result(file):
            self.skipped.results.add(decoding.printable(file.path))
        else:
            return True
        return False

    def _skip(self, place: _Place) -> None:
        """Records a broken link as skipped; pipes and devices are ignored."""
        if os.path.islink(place.path):
            self.skipped.broken.add(decoding.printable(place.path))


def _kind(entry: os.DirEntry) -> str:
    """Returns "folder", "file" or "other"."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
    except OSError:  # a link to itself, or into a folder that cannot be entered
        return "other"


def _root(path: pathlib.Path) -> _Place:
    """Returns an input folder as a place."""
    return _Place("" if str(path) == "." else str(path), os.path.realpath(path), "")


def _supported() -> str:
    return f"supported are {', '.join(decoding.SUFFIXES)}"


def _check_kept(sources: Container[str], targets: Iterable[str]) -> None:
    """Raises ValueError if a target is one of the sources, which are real paths."""
    real_path = functools.cache(os.path.realpath)
    for target in targets:
        folder, name = os.path.split(target)
        if os.path.join(real_path(folder), name) in sources:
            raise ValueError(
                f"{target} is one of the photographs to restore and would be "
                "overwritten; choose another output folder."
            )


def _list_results(folder: str) -> set[str]:
    """Returns the paths within a folder of the results that its record lists."""
    written = output_log.read(folder)
    return {*written, *(before_after.path_beside(name, "jpg") for name in written)}


def _list_names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder or "."))
    except OSError:  # missing, or not a folder: writing reports that
        return frozenset()


def _is_photograph(name: str) -> bool:
    return name.lower().endswith(decoding.SUFFIXES)


def _is_pattern(text: str) -> bool:
    return any(character in text for character in "*?[")
