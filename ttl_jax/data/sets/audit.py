"""Finds photographs that show the same picture, within and between sources.

Two fingerprints are compared, one after the other:
1. Hashes of 143 bits: the signs of the lowest 12 x 12 coefficients, without the mean, of
   the discrete cosine transform of a thumbnail. A photograph has one hash for the whole,
   and one for each of 15 windows that are narrower, lower or both. Two photographs are a
   candidate if the hash of a window of one is close to the hash of the other as a whole.
   (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010,
   section 3.2, compares with the median of 8 x 8 coefficients instead. With signs,
   mirroring the picture flips only the bits of odd horizontal frequency, so mirrored
   copies need no separate hashes.)
2. The correlation of thumbnails, maximized over position and size of the window. It
   separates copies from pictures with a similar layout, such as two skies over two seas.

Pictures are found despite scaling, re-encoding, changes of tone, mirroring, crops to 85 %
of the width and height, and most rain. Two views of one scene are different pictures.
Different pictures with the same coarse light, such as a bright sky over dark ground, can
match: one such couple has a correlation of 0.963. The report therefore shows both.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.optimize
import scipy.sparse.csgraph
from PIL import Image

from ttl_jax import progress, threads
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import NoPairsError, Photograph

NUM_FREQUENCIES = 12  # per axis
NUM_BITS = NUM_FREQUENCIES**2 - 1
# Measured on 667 photographs of different scenes. Of 200 of them, the audit finds 98 to
# 100 % of crops to 85 % or more of the width and height, two thirds of crops to 80 %, and
# 98 % of copies with heavy rendered rain. No two photographs match. Of 5.6 million couples
# of these and their quadrants, 3 match, which are nearly flat.
MAX_DISTANCE = 40  # bits
MIN_CORRELATION = 0.95

_SIDE = 64  # pixels of a thumbnail, width and height
_COMPARED = 32  # pixels of a reduced window, width and height
_MIN_CONTRAST = 1.0  # standard deviation in levels; flatter pictures never match
_BLOCK = 1024  # rows of the distance matrix at once: 50 MB for 12,000 columns

# Windows as (left, top, right, bottom) in shares of the width and height; the whole first.
_SPANS = ((0.0, 1.0), (0.0, 0.88), (0.06, 0.94), (0.12, 1.0))
_WINDOWS = np.array(
    [(x[0], y[0], x[1], y[1]) for y, x in itertools.product(_SPANS, _SPANS)]
)
# -1 for the bits of odd horizontal frequency, which mirroring flips.
_MIRRORED = (-1.0) ** (np.arange(1, NUM_BITS + 1) % NUM_FREQUENCIES)


class Fingerprints(NamedTuple):
    """Fingerprints of N photographs.

    Attributes:
      signs: Hashes of the whole and its windows, int8 [N, 16, NUM_BITS], -1 or 1.
      thumbnails: Grey thumbnails, uint8 [N, 64, 64]; the aspect ratio is not kept.
    """

    signs: np.ndarray
    thumbnails: np.ndarray


class Match(NamedTuple):
    """Two photographs that show the same picture.

    Attributes:
      first: Index of one photograph.
      second: Index of the other, which is larger.
      distance: Hamming distance of their closest hashes, in bits.
      correlation: Correlation of their thumbnails, up to 1.
      mirrored: Whether one is the mirror image of the other.
    """

    first: int
    second: int
    distance: int
    correlation: float
    mirrored: bool


class Entry(NamedTuple):
    """A picture of a source, and the photographs of the source that show it.

    Attributes:
      source: Name of the source.
      photograph: Photograph to compare; for pairs the clean side, since rain hides scenes.
      names: Names of the photograph and of the rainy sides of its pairs.
    """

    source: str
    photograph: Photograph
    names: tuple[str, ...]


class Audit(NamedTuple):
    """Matches among the entries of some sources.

    Attributes:
      entries: All entries.
      test_sources: Names of the sources used for tests.
      matches: Couples of entries, by index.
      groups: Indices of entries that are connected by matches, at least two per group.
    """

    entries: list[Entry]
    test_sources: tuple[str, ...]
    matches: list[Match]
    groups: list[list[int]]


def run(names: Sequence[str], test_names: Sequence[str] = ()) -> Audit:
    """Compares all photographs of all sources with each other.

    Args:
      test_names: Further sources, which are used for tests.

    Raises:
      ValueError: If a source is named twice or cannot be opened, or an image is damaged.
    """
    every = (*names, *test_names)
    if repeated := sorted({name for name in every if every.count(name) > 1}):
        raise ValueError(f"{', '.join(repeated)}: named twice; name each source once.")
    entries = [entry for name in every for entry in _open_entries(name)]
    matches = find_matches(fingerprint_all([entry.photograph for entry in entries]))
    return Audit(entries, tuple(test_names), matches, group(len(entries), matches))


def _open_entries(source: str) -> list[Entry]:
    shown: dict[str, tuple[Photograph, list[str]]] = {}
    try:
        for pair in source_names.open_pairs(source):
            shown.setdefault(pair.clean.name, (pair.clean, []))[1].append(pair.name)
    except NoPairsError:
        for photograph in source_names.open_photographs(source, "clean"):
            shown[photograph.name] = photograph, []
    return [Entry(source, clean, (n, *rainy)) for n, (clean, rainy) in shown.items()]


def excluded_names(audit: Audit) -> list[str]:
    """Returns the names of all photographs that show a picture of a test source.

    Names in the test sources themselves are left out. Pictures that are connected through
    others count as the same, so that no chain of matches leads to a test source.
    """
    excluded = set()  # a photograph may be in several sources
    for indices in audit.groups:
        members = [audit.entries[i] for i in indices]
        others = [e for e in members if e.source not in audit.test_sources]
        if len(others) < len(members):
            excluded.update(name for entry in others for name in entry.names)
    return sorted(excluded)


# Fingerprints


def fingerprint_all(photographs: Sequence[Photograph]) -> Fingerprints:
    """Returns the fingerprints of photographs, loaded in threads with a progress bar."""
    made = threads.map_ahead(
        lambda photograph: fingerprint(photograph.load()), photographs
    )
    shown = progress.track(
        made, total=len(photographs), what="Fingerprints", unit="image"
    )
    return Fingerprints(*map(np.stack, zip(*shown, strict=True)))


def fingerprint(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of `Fingerprints` for an image, uint8 [H, W, 3]."""
    thumbnail = make_thumbnail(image)
    return hash_windows(thumbnail), thumbnail


def make_thumbnail(image: np.ndarray) -> np.ndarray:
    """Returns a grey thumbnail, uint8 [64, 64], of an image, uint8 [H, W, 3]."""
    grey = Image.fromarray(image).convert("L")
    return np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX))


def hash_windows(thumbnail: np.ndarray) -> np.ndarray:
    """Returns a row of `Fingerprints.signs` for a thumbnail, uint8 [64, 64]."""
    windows = np.stack([_cut(thumbnail, window) for window in _WINDOWS])
    spectra: np.ndarray = scipy.fft.dctn(windows, axes=(1, 2))  # pyright: ignore[reportAssignmentType]
    lowest = spectra[:, :NUM_FREQUENCIES, :NUM_FREQUENCIES].reshape(len(windows), -1)
    return np.where(lowest[:, 1:] > 0, 1, -1).astype(np.int8)


def _cut(thumbnail: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Returns a window of a thumbnail, scaled to float32 [32, 32]."""
    image = Image.fromarray(thumbnail)
    size, box = (_COMPARED, _COMPARED), tuple(window * _SIDE)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box), np.float32)


# Matches


def find_matches(fingerprints: Fingerprints) -> list[Match]:
    """Returns all couples that show the same picture, in the order of their indices."""
    candidates = find_candidates(fingerprints.signs)
    shown = progress.track(candidates, what="Candidates", unit="couple")
    matches = []
    for one, other, distance, window, mirrored in shown:
        whole = _cut(fingerprints.thumbnails[other], _WINDOWS[0])
        if mirrored:
            whole = whole[:, ::-1]
        correlation = _align(fingerprints.thumbnails[one], _WINDOWS[window], whole)
        if correlation >= MIN_CORRELATION:
            first, second = sorted((one, other))
            matches.append(Match(first, second, distance, correlation, bool(mirrored)))
    return sorted(matches)


def find_candidates(signs: np.ndarray) -> list[list[int]]:
    """Returns one row for each couple of photographs with close hashes.

    A row has the index of the photograph with the window, the index of the other, their
    distance, the index of the closest window, and 1 if mirrored.

    Args:
      signs: `Fingerprints.signs`.
    """
    whole = signs[:, 0].astype(np.float32)
    found = np.concatenate(
        [
            _close(signs[start : start + _BLOCK, window], whole, mirrored)
            + (start, 0, 0, window, mirrored)
            for start in range(0, len(signs), _BLOCK)
            for window in range(len(_WINDOWS))
            for mirrored in (0, 1)
        ]
    )
    found = found[found[:, 0] != found[:, 1]]
    # By distance, then by window, so that whole photographs come first.
    found = found[np.lexsort((found[:, 4], found[:, 3], found[:, 2]))]
    couples = np.sort(found[:, :2], axis=1)
    _, closest = np.unique(couples, axis=0, return_index=True)
    return found[closest].tolist()


def group(num: int, matches: Sequence[Match]) -> list[list[int]]:
    """Returns groups of indices below `num` that are connected by matches.

    Each group has at least two indices.
    """
    couples = ([match.first for match in matches], [match.second for match in matches])
    links = scipy.sparse.coo_array((np.ones(len(matches)), couples), shape=(num, num))
    _, labels = scipy.sparse.csgraph.connected_components(links, directed=False)
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return [members.tolist() for members in groups if len(members) > 1]


def _close(rows: np.ndarray, columns: np.ndarray, mirrored: int) -> np.ndarray:
    """Returns row, column and distance of close hashes, int64 [num, 5] padded with zeros.

    The inner product of two hashes is the number of equal minus that of different bits.
    """
    rows = (rows * _MIRRORED if mirrored else rows).astype(np.float32)
    products = rows @ columns.T
    # `np.nonzero` of two dimensions would take as long as the product.
    found = np.flatnonzero(products >= NUM_BITS - 2 * MAX_DISTANCE)
    close = np.zeros((len(found), 5), np.int64)
    close[:, 0], close[:, 1] = np.divmod(found, len(columns))
    close[:, 2] = (NUM_BITS - products.flat[found]) / 2
    return close


def _align(thumbnail: np.ndarray, window: np.ndarray, target: np.ndarray) -> float:
    """Returns the largest correlation of a window of a thumbnail with a target [32, 32].

    The window is moved and resized by the Nelder-Mead method, unless it already matches.
    The result for nearly flat pictures is -1.
    """

    def loss(window: np.ndarray) -> float:
        left, top, right, bottom = window
        if min(window) < 0 or max(window) > 1 or min(right - left, bottom - top) < 0.5:
            return 1.0
        cut = _cut(thumbnail, window)
        if cut.std() < _MIN_CONTRAST:
            return 1.0
        return -float(np.corrcoef(cut.ravel(), target.ravel())[0, 1])

    if target.std() < _MIN_CONTRAST:
        return -1.0
    if (start := -loss(window)) >= MIN_CORRELATION:
        return start
    inward = np.diag([0.04, 0.04, -0.04, -0.04])
    options = {
        "initial_simplex": np.vstack([window, window + inward]),
        "maxfev": 120,
        "xatol": 0.003,
        "fatol": 0.0005,
    }
    found = scipy.optimize.minimize(loss, window, method="Nelder-Mead", options=options)
    return -float(found.fun)
