"""Finds photographs that show the same picture, within and between sources.

Two fingerprints are compared, one after the other:
1. Hashes of 143 bits: the signs of the lowest 12 x 12 coefficients, but the mean, of the
   discrete cosine transform of a thumbnail. A photograph has one as a whole, and one for
   each of 15 windows, which are narrower, lower or both. Where the hash of one's window
   is close to that of the whole other one, the two are a candidate.
   (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010,
   section 3.2, compares with the median of 8 x 8 coefficients instead. With signs,
   mirroring the picture flips the bits of odd horizontal frequency and no others, so
   that mirrored copies need no hashes of their own.)
2. The correlation of thumbnails, with the window moved and resized until it is largest.
   It tells copies from pictures of the same layout, such as two skies over two seas.

This survives scaling, re-encoding, changes of tone, mirroring, crops to 85 % of the width
and height, and most rain. Two views of one scene are not the same picture and are not
found.
"""

import concurrent.futures
import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.optimize
import scipy.sparse.csgraph
import tqdm
from PIL import Image

from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import NoPairsError, Photograph

NUM_FREQUENCIES = 12  # per axis
NUM_BITS = NUM_FREQUENCIES**2 - 1
# Measured on 667 photographs of different scenes. Of 200 of them 98 to 100 % are found
# again from a crop to 85 % of the width and height or more, wherever it is, two thirds
# from one to 80 %, and 98 % in heavy rendered rain. No two photographs match; of 5.6
# million couples of these and their quadrants, 3 do, which are all but plain.
MAX_DISTANCE = 40  # bits
MIN_CORRELATION = 0.95

_SIDE = 64  # pixels of a thumbnail, width and height
_COMPARED = 32  # pixels to which windows of it are reduced, likewise
_MIN_CONTRAST = 1.0  # standard deviation in levels; below it nothing can be told
_BLOCK = 1024  # rows of the distance matrix at once: 50 MB for 12,000 columns

# Windows as (left, top, right, bottom) in shares of the width and height; the whole first.
_SPANS = ((0.0, 1.0), (0.0, 0.88), (0.06, 0.94), (0.12, 1.0))
_WINDOWS = np.array(
    [
        (left, top, right, bottom)
        for (top, bottom), (left, right) in itertools.product(_SPANS, _SPANS)
    ]
)
# -1 for the bits of odd horizontal frequency, which mirroring flips.
_MIRRORED = (-1.0) ** (np.arange(1, NUM_BITS + 1) % NUM_FREQUENCIES)


class Fingerprints(NamedTuple):
    """What is compared of N photographs.

    Attributes:
      signs: int8 [N, 16, NUM_BITS], -1 or 1; the hashes of the whole and its windows.
      thumbnails: uint8 grey [N, 64, 64], whatever the aspect was.
    """

    signs: np.ndarray
    thumbnails: np.ndarray


class Match(NamedTuple):
    """Two photographs that show the same picture.

    Attributes:
      first: Index of one.
      second: Index of the other, the larger one.
      distance: Between their closest hashes, in bits.
      correlation: Of their thumbnails, up to 1.
      mirrored: Whether one is the other's mirror image.
    """

    first: int
    second: int
    distance: int
    correlation: float
    mirrored: bool


class Entry(NamedTuple):
    """A picture of a source, and all that shows it there.

    Attributes:
      source: Name of the source.
      photograph: What is compared: of pairs the clean side, as rain hides the scene.
      names: Of the photograph and of the rainy sides of its pairs.
    """

    source: str
    photograph: Photograph
    names: tuple[str, ...]


class Audit(NamedTuple):
    """What was found among the entries of some sources.

    Attributes:
      entries: All that was compared.
      test_sources: Those of the sources that are tested on.
      matches: Couples of entries, by index.
      groups: Indices of entries that matches connect, at least two in each.
    """

    entries: list[Entry]
    test_sources: tuple[str, ...]
    matches: list[Match]
    groups: list[list[int]]


def run(names: Sequence[str], test_names: Sequence[str] = ()) -> Audit:
    """Compares all photographs of all sources with each other.

    Args:
      names: Sources, each once.
      test_names: Further sources, which are tested on.

    Raises:
      ValueError: As `sources.open_photographs`, or if a source is named twice.
    """
    every = (*names, *test_names)
    if repeated := sorted({name for name in every if every.count(name) > 1}):
        raise ValueError(f"{', '.join(repeated)}: named twice; name each source once.")
    entries = [entry for name in every for entry in open_entries(name)]
    matches = find_matches(fingerprint_all([entry.photograph for entry in entries]))
    return Audit(entries, tuple(test_names), matches, group(len(entries), matches))


def open_entries(source: str) -> list[Entry]:
    """The entries of one source.

    Raises:
      ValueError: As `sources.open_photographs`.
    """
    shown: dict[str, tuple[Photograph, list[str]]] = {}
    try:
        for pair in source_names.open_pairs(source):
            shown.setdefault(pair.clean.name, (pair.clean, []))[1].append(pair.name)
    except NoPairsError:
        for photograph in source_names.open_photographs(source, "clean"):
            shown[photograph.name] = photograph, []
    return [
        Entry(source, photograph, (photograph.name, *rainy))
        for photograph, rainy in shown.values()
    ]


def excluded_names(audit: Audit) -> list[str]:
    """Names of all photographs that show a picture of a test source, outside of those.

    Pictures that are connected through others count as the same, so that none is left
    which leads to the test source in two steps.
    """
    excluded = set()  # a photograph may be in several sources
    for indices in audit.groups:
        members = [audit.entries[i] for i in indices]
        if any(entry.source in audit.test_sources for entry in members):
            excluded |= {
                name
                for entry in members
                if entry.source not in audit.test_sources
                for name in entry.names
            }
    return sorted(excluded)


# Fingerprints


def fingerprint_all(photographs: Sequence[Photograph]) -> Fingerprints:
    """Fingerprints of photographs, which are loaded in threads behind a progress bar."""

    def fingerprint(photograph: Photograph) -> tuple[np.ndarray, np.ndarray]:
        thumbnail = make_thumbnail(photograph.load())
        return hash_windows(thumbnail), thumbnail

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        progress = tqdm.tqdm(
            pool.map(fingerprint, photographs),
            total=len(photographs),
            desc="Fingerprints",
            unit="image",
            disable=None,
        )
        signs, thumbnails = zip(*progress, strict=True)
    return Fingerprints(np.stack(signs), np.stack(thumbnails))


def make_thumbnail(image: np.ndarray) -> np.ndarray:
    """Grey means over the cells of a grid on the image.

    Args:
      image: uint8 RGB [H, W, 3].

    Returns:
      uint8 [64, 64].
    """
    grey = Image.fromarray(image).convert("L")
    return np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX))


def hash_windows(thumbnail: np.ndarray) -> np.ndarray:
    """The hashes of a thumbnail uint8 [64, 64], as `Fingerprints.signs` has them."""
    windows = np.stack([_cut(thumbnail, window) for window in _WINDOWS])
    spectra = scipy.fft.dctn(windows, axes=(1, 2))
    lowest = spectra[:, :NUM_FREQUENCIES, :NUM_FREQUENCIES].reshape(len(windows), -1)
    return np.where(lowest[:, 1:] > 0, 1, -1).astype(np.int8)


def _cut(thumbnail: np.ndarray, window: np.ndarray) -> np.ndarray:
    """The window of a thumbnail, reduced to float32 [32, 32]."""
    image = Image.fromarray(thumbnail)
    size, box = (_COMPARED, _COMPARED), tuple(window * _SIDE)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box), np.float32)


# Matches


def find_matches(fingerprints: Fingerprints) -> list[Match]:
    """All couples that show the same picture, in the order of their indices."""
    candidates = find_candidates(fingerprints.signs)
    progress = tqdm.tqdm(candidates, desc="Candidates", unit="couple", disable=None)
    matches = []
    for one, other, distance, window, mirrored in progress:
        whole = _cut(fingerprints.thumbnails[other], _WINDOWS[0])
        if mirrored:
            whole = whole[:, ::-1]
        correlation = _align(fingerprints.thumbnails[one], _WINDOWS[window], whole)
        if correlation >= MIN_CORRELATION:
            first, second = sorted((one, other))
            matches.append(Match(first, second, distance, correlation, bool(mirrored)))
    return sorted(matches)


def find_candidates(signs: np.ndarray) -> list[list[int]]:
    """One row for each couple of close hashes, where they are closest.

    Args:
      signs: As `Fingerprints.signs`.

    Returns:
      Rows (index of the one whose window is meant, index of the other, distance, index
      of the window, 1 if mirrored).
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
    """Indices below `num` that matches connect, without those that are alone."""
    couples = ([match.first for match in matches], [match.second for match in matches])
    links = scipy.sparse.coo_array((np.ones(len(matches)), couples), shape=(num, num))
    _, labels = scipy.sparse.csgraph.connected_components(links, directed=False)
    groups: dict[int, list[int]] = {}
    for i, label in enumerate(labels):
        groups.setdefault(label, []).append(i)
    return [members for members in groups.values() if len(members) > 1]


def _close(rows: np.ndarray, columns: np.ndarray, mirrored: int) -> np.ndarray:
    """Row, column and distance of close hashes, int64 [num, 5] padded with zeros.

    The inner product of two hashes is the number of equal bits less that of others.
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
    """The largest correlation of a thumbnail's window with a target [32, 32].

    The window is moved and resized by the simplex method of Nelder and Mead, unless it
    is good enough as it is.
    """

    def loss(window: np.ndarray) -> float:
        left, top, right, bottom = window
        if min(window) < 0 or max(window) > 1 or min(right - left, bottom - top) < 0.5:
            return 1.0
        return -_correlation(_cut(thumbnail, window), target)

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


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's correlation of two pictures; -1 if either is all but flat."""
    contrasts = one.std(), other.std()
    if min(contrasts) < _MIN_CONTRAST:
        return -1.0
    covariance = np.mean((one - one.mean()) * (other - other.mean()))
    return float(covariance / np.prod(contrasts))
