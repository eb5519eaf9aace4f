import csv
import io
import itertools
import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from tests.pictures import noise
from ttl_jax.data.rain import renderer
from ttl_jax.data.sets import audit
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import Photograph


def photograph(name, array):
    height, width, _ = array.shape
    return Photograph(name, width, height, None, lambda: array)


def match(*arrays):
    named = [photograph(str(i), array) for i, array in enumerate(arrays)]
    return audit.find_matches(audit.fingerprint_all(named))


def couples(matches):
    return {(match.first, match.second) for match in matches}


def resized(image, width, height):
    return np.asarray(Image.fromarray(image).resize((width, height)))


@pytest.fixture(scope="module")
def originals():
    photographs = source_names.open_photographs("sample", "clean")
    return [resized(p.load(), p.width // 2, p.height // 2) for p in photographs]


def as_jpeg(image, quality):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def cropped(image, share, at):
    """A share of the width and height, at a place from 0, top left, to 1."""
    height, width, _ = image.shape
    top, left = round(height * (1 - share) * at[0]), round(width * (1 - share) * at[1])
    return image[top : top + round(height * share), left : left + round(width * share)]


def rained_on(image):
    rng = np.random.default_rng(0)
    return renderer.render(image, renderer.draw_parameters(rng, "heavy"), rng)


COPIES = {
    "a quarter of the size": lambda x: resized(x, x.shape[1] // 4, x.shape[0] // 4),
    "another aspect": lambda x: resized(x, 512, 256),
    "JPEG of quality 10": lambda x: as_jpeg(x, 10),
    "without the last row and column": lambda x: x[:-1, :-1],
    "crop at the top left": lambda x: cropped(x, 0.93, (0.0, 0.0)),
    "crop at the bottom": lambda x: cropped(x, 0.9, (1.0, 0.4)),
    "darker": lambda x: (255 * (x / 255) ** 1.5).astype(np.uint8),
    "in heavy rain": rained_on,
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_matches_its_original_and_nothing_else(originals, name):
    originals = originals[::2]  # for time
    copies = [COPIES[name](image) for image in originals]
    matches = match(*originals, *copies)
    assert couples(matches) == {(i, i + len(copies)) for i in range(len(copies))}
    assert not any(match.mirrored for match in matches)


def test_a_mirrored_copy_is_found_as_such(originals):
    matches = match(*originals, *(image[:, ::-1] for image in originals))
    assert couples(matches) == {(i, i + len(originals)) for i in range(len(originals))}
    assert all(match.mirrored for match in matches)


def test_parts_of_photographs_that_do_not_overlap_do_not_match(originals):
    def quadrants(image):
        height, width, _ = image.shape
        for rows in (slice(height // 2), slice(height // 2, None)):
            for columns in (slice(width // 2), slice(width // 2, None)):
                yield image[rows, columns]

    parts = [part for image in originals for part in quadrants(image)]
    assert match(*parts) == []


def test_flat_pictures_never_match():
    grey = np.full((50, 60, 3), 127, np.uint8)
    assert match(grey, grey, grey + 1) == []


def test_matches_are_those_of_the_photographs_in_any_order(originals):
    copies = [cropped(image, 0.9, (0.3, 0.8)) for image in originals]
    arrays = [*originals, *copies]
    order = np.random.default_rng(0).permutation(len(arrays))
    there = couples(match(*(arrays[i] for i in order)))
    back = {tuple(sorted((order[i], order[j]))) for i, j in there}
    assert back == couples(match(*arrays))


def test_candidates_are_all_couples_of_hashes_within_the_distance(monkeypatch):
    monkeypatch.setattr(audit, "_BLOCK", 7)
    thumbnails = noise(20, 64, 64)
    thumbnails[11] = thumbnails[3]
    thumbnails[15, :, 4:] = thumbnails[8, :, :-4]
    thumbnails[18] = thumbnails[2, :, ::-1]
    signs = np.stack([audit.hash_windows(thumbnail) for thumbnail in thumbnails])
    mirrored = np.stack([audit.hash_windows(x[:, ::-1]) for x in thumbnails])

    def distance(i, j):
        # Mirroring the other whole picture is mirroring the window.
        return min(
            (windows[i] != whole[j, 0]).sum(axis=1).min()
            for windows, whole in ((signs, signs), (signs, mirrored))
        )

    expected = {}
    for i, j in itertools.combinations(range(len(signs)), 2):
        if (closest := min(distance(i, j), distance(j, i))) <= audit.MAX_DISTANCE:
            expected[i, j] = closest
    assert expected.keys() >= {(3, 11), (8, 15), (2, 18)}
    found = {tuple(sorted(row[:2])): row[2] for row in audit.find_candidates(signs)}
    assert found == expected


def test_groups_are_what_matches_connect():
    matches = [audit.Match(i, j, 0, 1.0, False) for i, j in ((0, 4), (4, 5), (2, 3))]
    assert audit.group(7, matches) == [[0, 4, 5], [2, 3]]
    assert audit.group(3, []) == []


# Sources


@pytest.fixture
def folders(tmp_path, originals):
    """Training pairs of three scenes, and tests: of one a crop, and another scene."""

    def write(path, array):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(resized(array, 128, 96)).save(tmp_path / path)

    for i in range(3):
        clean = resized(originals[i], 128, 96)
        hidden = noise(96, 128, 1) < 128  # half of the pixels
        write(f"train/rainy/{i}.png", np.where(hidden, noise(96, 128, 3), clean))
        write(f"train/clean/{i}.png", clean)
    write("test/crop.png", cropped(originals[1], 0.9, (0.5, 0.0)))
    write("test/other.png", originals[5])
    return tmp_path


def test_pairs_are_compared_by_their_clean_sides_and_excluded_by_both(folders):
    train, test = f"folder:{folders}/train", f"folder:{folders}/test"
    found = audit.run([train], [test])
    assert [len(group) for group in found.groups] == [2]
    assert audit.excluded_names(found) == [
        f"{folders}/train/{side}/1.png" for side in ("clean", "rainy")
    ]
    assert audit.excluded_names(audit.run([train, test])) == []


def test_pictures_connected_to_a_test_through_others_are_excluded():
    def entry(source, name):
        return audit.Entry(source, photograph(name, noise(8, 8, 3)), (name,))

    entries = [entry("a", "1"), entry("a", "2"), entry("a", "3"), entry("t", "4")]
    found = audit.Audit(entries, ("t",), [], [[0, 2, 3]])
    assert audit.excluded_names(found) == ["1", "3"]


def test_a_photograph_in_two_sources_is_excluded_once():
    shown = photograph("1", noise(8, 8, 3))
    entries = [audit.Entry(source, shown, ("1",)) for source in "abt"]
    found = audit.Audit(entries, ("t",), [], [[0, 1, 2]])
    assert audit.excluded_names(found) == ["1"]


def test_a_source_named_twice_is_rejected(folders):
    source = f"folder:{folders}/test"
    with pytest.raises(ValueError, match="named twice"):
        audit.run([source], [source])


@pytest.mark.slow  # the copies above are of the embedded photographs
@pytest.mark.skipif("TTL_DATA" not in os.environ, reason="needs TTL_DATA")
def test_known_scenes_of_real_photographs_are_found(tmp_path):
    """Of 301 couples of one scene in the manifest, all but two views of one roof."""
    root = pathlib.Path(os.environ["TTL_DATA"])
    with (root / "MANIFEST.csv").open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            # Elsewhere a scene is a drive or a journey, and not one picture.
            if row["role"] == "clean"
            and (row["split"] != "all" or row["dataset"] in ("Kodak24", "SunHays80"))
        ]
    scenes = {str(root / row["path"]): row["scene"] for row in rows}
    (tmp_path / "all.txt").write_text("\n".join(scenes))
    found = audit.run([f"list:{tmp_path}/all.txt"])
    names = [entry.photograph.name for entry in found.entries]
    matches = {frozenset((names[m.first], names[m.second])) for m in found.matches}
    expected = {
        frozenset(couple)
        for couple in itertools.combinations(names, 2)
        if scenes[couple[0]] == scenes[couple[1]]
    }
    assert not matches - expected
    missed = {scenes[name] for couple in expected - matches for name in couple}
    assert missed == {"spa:roof"}
