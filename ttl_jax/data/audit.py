"""Finds photographs that show the same picture, within and between sources.

Two fingerprints are compared, one after the other:
1. A hash of 143 bits: the signs of the lowest 12 x 12 coefficients, but the mean, of the
   discrete cosine transform of a thumbnail. A small Hamming distance makes a candidate.
   (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010,
   section 3.2, compares with the median of 8 x 8 coefficients instead. With signs,
   mirroring the picture flips the bits of odd horizontal frequency and no others, so
   that mirrored copies are found without hashing twice.)
2. The thumbnails' correlation, tried with either as a crop of the other, which tells
   copies from pictures of the same layout, such as two skies over two seas.

This survives scaling, re-encoding, changes of tone, mirroring, crops of a few per cent,
and rain. Two views of one scene are not the same picture and are not found.
"""

import concurrent.futures
import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.sparse.csgraph
import tqdm
from PIL import Image
from skimage import feature

from ttl_jax.data import sources
from ttl_jax.data.sources import Photograph

NUM_FREQUENCIES = 12  # per axis
NUM_BITS = NUM_FREQUENCIES**2 - 1
# Chosen on 667 photographs of different scenes and their quadrants, 11 million couples.
# At up to 45 bits lie 254 of these, and 95 % of centre crops of 90 % of the width and of
# corner crops of 95 %. Of the 254 none correlates beyond 0.931; of such crops, and of
# photographs in heavy rendered rain, none less than 0.942.
MAX_DISTANCE = 45  # bits
MIN_CORRELATION = 0.94

_THUMBNAIL = 32  # pixels, width and height
_CROPS = range(_THUMBNAIL, 25, -1)  # pixels of a thumbnail that the other one may cover
_MIN_CONTRAST = 1.0  # standard deviation in levels; below it nothing can be told
_BLOCK = 1024  # rows of the distance matrix at once: 50 MB for 12,000 columns

# Whether the horizontal frequency of a bit is odd, as -1, else 1.
_MIRRORED_SIGNS = np.array(
    [-1.0 if i % NUM_FREQUENCIES % 2 else 1.0 for i in range(1, NUM_FREQUENCIES**2)],
    np.float32,
)


class Fingerprints(NamedTuple):
    """What is compared of N photographs.

    Attributes:
      signs: float32 [N, NUM_BITS], -1 or 1.
      thumbnails: uint8 grey [N, 32, 32], whatever the aspect was.
    """

    signs: np.ndarray
    thumbnails: np.ndarray


class Match(NamedTuple):
    """Two photographs that show the same picture.

    Attributes:
      first: Index of one.
      second: Index of the other, the larger one.
      distance: Between their hashes, in bits.
      correlation: Of their thumbnails at the best crop, up to 1.
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
    photographs = sources.open_photographs(source, "clean")
    names = {photograph.name: [photograph.name] for photograph in photographs}
    with contextlib.suppress(sources.NoPairsError):
        for pair in sources.open_pairs(source):
            names[pair.clean.name].append(pair.rainy.name)
    return [Entry(source, item, tuple(names[item.name])) for item in photographs]


def excluded_names(audit: Audit) -> list[str]:
    """Names of all photographs that show a picture of a test source, outside of those.

    Pictures that are connected through others count as the same, so that none is left
    which leads to the test source in two steps.
    """
    excluded = []
    for indices in audit.groups:
        members = [audit.entries[i] for i in indices]
        if any(entry.source in audit.test_sources for entry in members):
            excluded += [
                name
                for entry in members
                if entry.source not in audit.test_sources
                for name in entry.names
            ]
    return sorted(excluded)


# Fingerprints


def fingerprint_all(photographs: Sequence[Photograph]) -> Fingerprints:
    """Fingerprints of photographs, which are loaded in threads behind a progress bar."""

    def load(photograph: Photograph) -> np.ndarray:
        return make_thumbnail(photograph.load())

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        thumbnails = list(
            tqdm.tqdm(
                pool.map(load, photographs),
                total=len(photographs),
                desc="Fingerprints",
                unit="image",
                disable=None,
            )
        )
    stacked = np.array(thumbnails, np.uint8).reshape(-1, _THUMBNAIL, _THUMBNAIL)
    return Fingerprints(hash_signs(stacked), stacked)


def make_thumbnail(image: np.ndarray) -> np.ndarray:
    """Grey means over the cells of a grid on the image.

    Args:
      image: uint8 RGB [H, W, 3].

    Returns:
      uint8 [32, 32].
    """
    size = (_THUMBNAIL, _THUMBNAIL)
    grey = Image.fromarray(image).convert("L")
    return np.asarray(grey.resize(size, Image.Resampling.BOX))


def hash_signs(thumbnails: np.ndarray) -> np.ndarray:
    """The bits of each thumbnail's hash, as `Fingerprints.signs`.

    Args:
      thumbnails: [N, 32, 32].
    """
    spectra = scipy.fft.dctn(thumbnails.astype(np.float32), axes=(1, 2))
    lowest = spectra[:, :NUM_FREQUENCIES, :NUM_FREQUENCIES]
    bits = lowest.reshape(len(thumbnails), NUM_BITS + 1)[:, 1:] > 0
    return np.where(bits, 1, -1).astype(np.float32)


# Matches


def find_matches(fingerprints: Fingerprints) -> list[Match]:
    """All couples that show the same picture, in the order of their indices."""
    candidates = sorted(_candidates(fingerprints.signs))
    progress = tqdm.tqdm(candidates, desc="Candidates", unit="couple", disable=None)
    verified = (_verify(fingerprints.thumbnails, *couple) for couple in progress)
    matches = [match for match in verified if match is not None]
    # A symmetric picture is its mirror image's match as well; the closer one counts.
    best: dict[tuple[int, int], Match] = {}
    for match in sorted(matches, key=lambda match: -match.distance):
        best[match.first, match.second] = match
    return sorted(best.values())


def group(num: int, matches: Sequence[Match]) -> list[list[int]]:
    """Indices below `num` that matches connect, without those that are alone."""
    first = [match.first for match in matches]
    second = [match.second for match in matches]
    links = scipy.sparse.coo_array(
        (np.ones(len(matches)), (first, second)), shape=(num, num)
    )
    _, labels = scipy.sparse.csgraph.connected_components(links, directed=False)
    groups: dict[int, list[int]] = {}
    for i, label in enumerate(labels):
        groups.setdefault(label, []).append(i)
    return [members for members in groups.values() if len(members) > 1]


def _candidates(signs: np.ndarray) -> Iterator[tuple[int, int, bool, int]]:
    """Couples of close hashes: first, second, whether mirrored, distance.

    The inner product of two hashes is the number of equal bits less that of others.
    """
    for start, mirrored in itertools.product(
        range(0, len(signs), _BLOCK), (False, True)
    ):
        rows = signs[start : start + _BLOCK]
        if mirrored:
            rows = rows * _MIRRORED_SIGNS
        distances = (NUM_BITS - rows @ signs[start:].T) / 2
        for i, j in np.argwhere(distances <= MAX_DISTANCE):
            if i < j:
                yield (
                    int(start + i), int(start + j), mirrored, round(distances[i, j])
                )  # fmt: skip


def _verify(
    thumbnails: np.ndarray, first: int, second: int, mirrored: bool, distance: int
) -> Match | None:
    one, other = thumbnails[first], thumbnails[second]
    if mirrored:
        other = other[:, ::-1]
    correlation = max_correlation(one, other)
    if correlation < MIN_CORRELATION:
        return None
    return Match(first, second, distance, correlation, mirrored)


def max_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Normalised cross-correlation of two thumbnails, either a crop of the other.

    The search over crops ends at the first that reaches `MIN_CORRELATION`.

    Args:
      one: uint8 [32, 32].
      other: As `one`.

    Returns:
      The largest that was seen; -1 if a thumbnail is all but flat.
    """
    best = -1.0
    if min(one.std(), other.std()) < _MIN_CONTRAST:
        return best
    for size, (whole, part) in itertools.product(_CROPS, ((one, other), (other, one))):
        scores = feature.match_template(whole, _resized(part, size))
        best = max(best, min(float(scores.max()), 1.0))  # rounding may exceed 1
        if best >= MIN_CORRELATION:
            break
    return best


def _resized(thumbnail: np.ndarray, size: int) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(thumbnail))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
