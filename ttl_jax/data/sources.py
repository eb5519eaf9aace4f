"""Photographs and rainy/clean pairs by the name of their source.

A source is one of
  sample, sample/train, sample/test: photographs inside the packages scikit-image and
    scikit-learn, and rain rendered on them. Two of the eight are the test split.
  folder:PATH: all images below a folder, or pairs of the same relative name in its
    subfolders rainy and clean, or input and target.
  list:FILE: one image per line of a text file, or a rainy and a clean one with a TAB
    between them; relative to the file's folder. Lines that begin with # are comments.
  selection:FILE: what a text file picks out of other sources by name, see `selections`.
Paths may begin with ~. In folders, hidden files and what has no image suffix are
passed over. Where a source holds pairs, its role "rainy" or "clean" is one side of them.
"""

import dataclasses
import difflib
import functools
import importlib.util
import os
import pathlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np

from ttl_jax.data import decoding, images, rain, selections

ROLES = ("rainy", "clean")
KNOWN = (
    "sample",
    "sample/train",
    "sample/test",
    "folder:PATH",
    "list:FILE",
    "selection:FILE",
)

_PAIR_LAYOUTS = (("rainy", "clean"), ("input", "target"))  # subfolders
_SAMPLE_PHOTOGRAPHS = {
    "astronaut": ("skimage", "data/astronaut.png"),
    "camera": ("skimage", "data/camera.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "coffee": ("skimage", "data/coffee.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "motorcycle_left": ("skimage", "data/motorcycle_left.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
}
# Renderings of each photograph, a third of them of each intensity. They are kept once
# rendered: about 75 MB when all are.
_NUM_VARIANTS = {"train": 15, "test": 3}


@dataclasses.dataclass(frozen=True)
class Photograph:
    """One image, read when asked for.

    Attributes:
      name: Printable, unique within a listing.
      width: In pixels, upright.
      height: In pixels, upright.
      num_bytes: Size of the file; None for what comes with an installed package.
      load: Returns uint8 RGB [height, width, 3], which may be read-only.
    """

    name: str
    width: int
    height: int
    num_bytes: int | None
    load: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Pair:
    """The same scene with and without rain, of the same size."""

    rainy: Photograph
    clean: Photograph

    @property
    def name(self) -> str:
        return self.rainy.name

    @property
    def width(self) -> int:
        return self.rainy.width

    @property
    def height(self) -> int:
        return self.rainy.height

    def load(self) -> tuple[np.ndarray, np.ndarray]:
        """The rainy and the clean image, each uint8 RGB [height, width, 3]."""
        return self.rainy.load(), self.clean.load()


def open_photographs(sources: str | Sequence[str], role: str) -> list[Photograph]:
    """The photographs of all sources, in an order that depends on their names alone.

    Args:
      sources: One name or several.
      role: "rainy" or "clean". Of a source that holds pairs it selects the side; any
        other source is taken to hold what it is named for.

    Raises:
      ValueError: If a source is unknown, missing or empty; if one of its images cannot
        be used; or if a photograph comes twice.
    """
    if role not in ROLES:
        raise ValueError(f"A role is one of {ROLES}, not {role!r}.")
    return _concatenate(sources, lambda source: source.photographs(role))


def open_pairs(sources: str | Sequence[str]) -> list[Pair]:
    """The pairs of all sources, in an order that depends on their names alone.

    Raises:
      NoPairsError: If a source holds no pairs.
      ValueError: As `open_photographs`; and if an image lacks its partner, or if the two
        are not of the same size.
    """
    return _concatenate(sources, lambda source: source.pairs())


class NoPairsError(ValueError):
    """A source holds photographs, but no pairs."""


class _Source(Protocol):
    def photographs(self, role: str) -> list[Photograph]:
        """As `open_photographs`, of this source alone."""

    def pairs(self) -> list[Pair]:
        """As `open_pairs`, of this source alone."""


def _concatenate(sources: str | Sequence[str], open_one: Callable) -> list:
    names = (sources,) if isinstance(sources, str) else tuple(sources)
    if not names:
        raise ValueError(f"No source is named; name one of {', '.join(KNOWN)}.")
    found = [(name, item) for name in names for item in open_one(_parse(name))]
    origin: dict[str, str] = {}
    for name, item in found:
        if item.name in origin:
            raise ValueError(
                f"{item.name} is in {origin[item.name]!r} and again in {name!r}; "
                "name each photograph once."
            )
        origin[item.name] = name
    return [item for _, item in found]


def _parse(name: str) -> _Source:
    kind, colon, path = name.partition(":")
    if name in KNOWN and not colon:
        return _Sample(name.partition("/")[2] or None)
    if kind == "folder" and path:
        return _Folder(name, pathlib.Path(path).expanduser())
    if kind == "list" and path:
        return _List(name, pathlib.Path(path).expanduser())
    if name.startswith(selections.PREFIX) and path:
        return _Selection(name, path)
    hint = f"; did you mean {near!r}?" if (near := _nearest(name)) else "."
    raise ValueError(f"Unknown source {name!r}; known are {', '.join(KNOWN)}{hint}")


def _nearest(name: str) -> str | None:
    """The source that was probably meant."""
    kind, colon, path = name.partition(":")
    expanded = pathlib.Path(name).expanduser()
    if expanded.is_dir():
        return f"folder:{name}"
    if expanded.is_file():
        return f"list:{name}"
    if near := difflib.get_close_matches(kind, ("folder", "list", "selection"), n=1):
        return f"{near[0]}:{path}" if colon else f"{near[0]}:PATH"
    near = difflib.get_close_matches(
        name, ("sample", "sample/train", "sample/test"), n=1
    )
    return near[0] if near else None


class _Sample:
    """See the module's docstring; every fourth photograph is for testing."""

    def __init__(self, split: str | None):
        self._split = split

    def photographs(self, role: str) -> list[Photograph]:
        if role == "clean":
            return [self._clean(name) for name, _ in self._names()]
        return [pair.rainy for pair in self.pairs()]

    def pairs(self) -> list[Pair]:
        return [
            Pair(self._rainy(name, variant), self._clean(name))
            for name, split in self._names()
            for variant in range(_NUM_VARIANTS[split])
        ]

    def _names(self) -> Iterable[tuple[str, str]]:
        for i, name in enumerate(_SAMPLE_PHOTOGRAPHS):
            split = "test" if i % 4 == 3 else "train"
            if self._split in (None, split):
                yield name, split

    def _clean(self, name: str) -> Photograph:
        load = functools.partial(_load_sample, name)
        height, width, _ = load().shape
        return Photograph(f"sample/{name}", width, height, None, load)

    def _rainy(self, name: str, variant: int) -> Photograph:
        clean = self._clean(name)
        load = functools.partial(_render_sample, name, variant)
        return dataclasses.replace(
            clean, name=f"{clean.name}/rain{variant:02}", load=load
        )


@functools.cache
def _load_sample(name: str) -> np.ndarray:
    package, path = _SAMPLE_PHOTOGRAPHS[name]
    # Found without importing the package, which would take a second.
    spec = importlib.util.find_spec(package)
    file = spec and pathlib.Path(spec.submodule_search_locations[0], path)
    if file is None or not file.is_file():
        raise ValueError(
            f"The source 'sample' needs {path} of the package {package}; "
            "pip install scikit-image scikit-learn, or name a source of your own."
        )
    return _read_only(images.load(file))


@functools.cache
def _render_sample(name: str, variant: int) -> np.ndarray:
    """Rain on a photograph: a pure function of its name and the variant.

    Without a veil: from six scenes, a network learns to shift colours, not to see it.
    """
    rng = np.random.default_rng((zlib.crc32(name.encode()), variant))
    intensity = rain.INTENSITIES[variant % len(rain.INTENSITIES)]
    parameters = dataclasses.replace(rain.draw_parameters(rng, intensity), veil=0.0)
    return _read_only(rain.render(_load_sample(name), parameters, rng))


def _read_only(image: np.ndarray) -> np.ndarray:
    image.flags.writeable = False  # it is shared between all who load it
    return image


class _Folder:
    """All images below a folder, or the pairs of two subfolders."""

    def __init__(self, source: str, root: pathlib.Path):
        if not root.is_dir():
            raise ValueError(
                f"{source!r}: there is no folder {root}; check the path, which is "
                f"relative to {pathlib.Path.cwd()}."
            )
        self._source, self._root = source, root
        self._layout = self._find_layout()

    def photographs(self, role: str) -> list[Photograph]:
        if self._layout is None:
            return _open_files(self._find(self._root))
        return _open_files(self._find(self._root / self._layout[ROLES.index(role)]))

    def pairs(self) -> list[Pair]:
        if self._layout is None:
            layouts = " or ".join("/ and ".join(names) for names in _PAIR_LAYOUTS)
            raise NoPairsError(
                f"{self._source!r} holds no pairs: they are expected in its "
                f"subfolders {layouts}/. Rename them so, or use a list:FILE."
            )
        rainy, clean = (
            self._by_stem(self._root / subfolder) for subfolder in self._layout
        )
        for subfolder, alone in zip(
            reversed(self._layout),
            (rainy.keys() - clean.keys(), clean.keys() - rainy.keys()),
            strict=True,
        ):
            if alone:
                raise ValueError(
                    f"{self._source!r}: {subfolder}/ lacks the partners of "
                    f"{images.name_some(sorted(alone))}; partners have the same path "
                    "but for the suffix. Add them or remove those without."
                )
        return _open_file_pairs([(rainy[stem], clean[stem]) for stem in rainy])

    def _find_layout(self) -> tuple[str, str] | None:
        layouts = [
            names
            for names in _PAIR_LAYOUTS
            if all((self._root / name).is_dir() for name in names)
        ]
        if len(layouts) > 1:
            raise ValueError(
                f"{self._source!r} holds pairs twice, as "
                f"{' and '.join('+'.join(names) for names in layouts)}; name a folder "
                "that holds them once."
            )
        return layouts[0] if layouts else None

    def _by_stem(self, side: pathlib.Path) -> dict[str, str]:
        """Files of one side by their path within it, less the suffix."""
        by_stem: dict[str, str] = {}
        for path in self._find(side):
            stem = os.path.splitext(os.path.relpath(path, side))[0]
            if stem in by_stem:
                raise ValueError(
                    f"{self._source!r}: {by_stem[stem]} and {path} differ in their "
                    "suffix only, so which is one of the pair? Remove or rename one."
                )
            by_stem[stem] = path
        return by_stem

    def _find(self, root: pathlib.Path) -> list[str]:
        """Paths of all images below a folder, in the order of their relative paths."""
        found, seen = [], set()
        for folder, subfolders, files in os.walk(
            root, followlinks=True, onerror=_raise_unreadable
        ):
            # A link may lead back up; each folder is entered once.
            real = os.path.realpath(folder)
            if real in seen:
                subfolders.clear()
                continue
            seen.add(real)
            subfolders[:] = sorted(name for name in subfolders if name[0] != ".")
            found += [
                os.path.join(folder, name)
                for name in files
                if name[0] != "." and name.lower().endswith(images.SUFFIXES)
            ]
        if not found:
            raise ValueError(
                f"{self._source!r}: {root} holds no images; their names are expected "
                f"to end in {', '.join(images.SUFFIXES)}."
            )
        return sorted(found, key=lambda path: pathlib.Path(path).parts)


def _raise_unreadable(error: OSError):
    raise ValueError(
        f"The folder {error.filename} cannot be read: {error.strerror}. Change its "
        "permissions or name another one."
    ) from error


class _List:
    """The images that a text file names, line by line."""

    def __init__(self, source: str, file: pathlib.Path):
        self._source = source
        try:
            text = file.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{source!r}: {file} cannot be read as UTF-8 text: {error}"
            ) from error
        self._lines = [
            [str(file.parent / pathlib.Path(path).expanduser()) for path in columns]
            for columns in self._split(text)
        ]

    def photographs(self, role: str) -> list[Photograph]:
        column = ROLES.index(role) if len(self._lines[0]) == 2 else 0
        # Several rainy photographs may share a clean one, which still counts once.
        paths = [line[column] for line in self._lines]
        if role == "clean":
            paths = list(dict.fromkeys(paths))
        return _open_files(paths)

    def pairs(self) -> list[Pair]:
        if len(self._lines[0]) != 2:
            raise NoPairsError(
                f"{self._source!r} has one column; pairs need two, rainy and clean, "
                "with a TAB between them."
            )
        return _open_file_pairs([tuple(line) for line in self._lines])

    def _split(self, text: str) -> list[list[str]]:
        lines = []
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            columns = [column.strip() for column in line.split("\t")]
            expected = {len(lines[0])} if lines else {1, 2}
            if len(columns) not in expected or "" in columns:
                raise ValueError(
                    f"{self._source!r}, line {number}: {line!r} has {len(columns)} "
                    f"columns, or an empty one; expected are "
                    f"{' or '.join(map(str, sorted(expected)))}, with TABs between."
                )
            lines.append(columns)
        if not lines:
            raise ValueError(f"{self._source!r} names no images; one per line, please.")
        return lines


class _Selection:
    """What a text file picks out of other sources by name."""

    def __init__(self, source: str, file: str):
        self._source, self._sections = source, selections.read(file)
        self._holds_pairs = len(self._sections[0].lines[0]) == 2

    def photographs(self, role: str) -> list[Photograph]:
        if not self._holds_pairs:
            return self._select(lambda source: open_photographs(source, role))
        sides = [getattr(pair, role) for pair in self.pairs()]
        # Several rainy photographs may share a clean one, which still counts once.
        return list({side.name: side for side in sides}.values())

    def pairs(self) -> list[Pair]:
        if not self._holds_pairs:
            raise NoPairsError(
                f"{self._source!r} has one column, of photographs; pairs need two."
            )
        return self._select(open_pairs)

    def _select(self, open_one: Callable[[str], list]) -> list:
        return [
            item
            for section in self._sections
            for item in selections.select(
                open_one(section.source), (names[0] for names in section.lines)
            )
        ]


def _open_files(paths: Sequence[str]) -> list[Photograph]:
    return [
        Photograph(
            decoding.printable(path),
            facts.width,
            facts.height,
            facts.num_bytes,
            functools.partial(images.load, path),
        )
        for path, facts in zip(paths, images.check(paths), strict=True)
    ]


def _open_file_pairs(paths: Sequence[tuple[str, str]]) -> list[Pair]:
    opened = _open_files([path for pair in paths for path in pair])
    pairs = [Pair(*sides) for sides in zip(opened[0::2], opened[1::2], strict=True)]
    unequal = [
        f"{rainy.name} is {rainy.width}x{rainy.height}, "
        f"{clean.name} {clean.width}x{clean.height}"
        for rainy, clean in ((pair.rainy, pair.clean) for pair in pairs)
        if (rainy.width, rainy.height) != (clean.width, clean.height)
    ]
    if unequal:
        raise ValueError(
            f"{len(unequal)} of {len(pairs)} pairs are not of one size: "
            f"{images.name_some(unequal, '; ')}. Crop the larger side, or remove them."
        )
    return pairs
