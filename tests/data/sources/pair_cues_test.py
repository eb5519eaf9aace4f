"""Which pairs are pairs: the same scene, and the rainy side first."""

import os

import numpy as np
import pytest
import skimage.data

from tests.pictures import texture, write
from ttl_jax.data.sources import pair_cues, source_names


def streaks(image):
    """The image with bright vertical streaks over a fifth of it."""
    rng = np.random.default_rng(1)
    rain = rng.random(image.shape[:2]) < 0.02
    rain = np.lib.stride_tricks.sliding_window_view(
        np.pad(rain, ((10, 0), (0, 0))), 11, axis=0
    ).any(axis=-1)
    return np.where(
        rain[..., None], np.minimum(image.astype(int) + 90, 255), image
    ).astype(np.uint8)


@pytest.fixture
def folders(tmp_path):
    """Writes pairs into a folder of two subfolders; returns its path."""

    def make(pairs):
        for side in ("rainy", "clean"):
            (tmp_path / side).mkdir()
        for i, (rainy, clean) in enumerate(pairs):
            write(tmp_path / "rainy" / f"{i}.png", rainy)
            write(tmp_path / "clean" / f"{i}.png", clean)
        return f"folder:{tmp_path}"

    return make


SCENES = [texture(seed, 90, 120) for seed in range(5)]


def test_pairs_of_one_scene_open(folders):
    assert len(source_names.open_pairs(folders([(streaks(s), s) for s in SCENES]))) == 5


def test_identical_sides_open(folders):
    assert len(source_names.open_pairs(folders([(s, s) for s in SCENES]))) == 5


def test_a_changed_exposure_and_veil_are_no_other_scene(folders):
    veiled = [(streaks(s) * 0.4 + 120).astype(np.uint8) for s in SCENES]
    dark = [(streaks(s) * 0.5).astype(np.uint8) for s in SCENES]
    for rainy in (veiled, dark):
        for one, other in zip(rainy, SCENES):
            assert pair_cues.similarity(one, other) > 2 * pair_cues.MIN_SIMILARITY


def test_unrelated_images_are_refused_by_name(folders):
    pairs = [(streaks(s), s) for s in SCENES]
    pairs[3] = (streaks(SCENES[0]), SCENES[3])
    with pytest.raises(ValueError, match="do not show the same scene: .*rainy/3.png"):
        source_names.open_pairs(folders(pairs))


def test_one_side_turned_is_refused(folders):
    with pytest.raises(ValueError, match="turn both sides alike"):
        source_names.open_pairs(folders([(streaks(s), s[::-1, ::-1]) for s in SCENES]))


def test_exchanged_sides_are_refused_by_name(folders):
    with pytest.raises(ValueError, match="exchanged: .*rainy/0.png"):
        source_names.open_pairs(folders([(s, streaks(s)) for s in SCENES]))


def test_a_list_with_exchanged_columns_is_refused(folders, tmp_path):
    folders([(streaks(s), s) for s in SCENES])
    (tmp_path / "list.txt").write_text("clean/0.png\trainy/0.png\n")
    with pytest.raises(ValueError, match="exchanged"):
        source_names.open_pairs(f"list:{tmp_path}/list.txt")


@pytest.mark.parametrize(
    "source", ["sample", "rain:sample", "additive:sample", "identity:sample"]
)
def test_the_embedded_and_generated_pairs_pass(source):
    pair_cues.check(source_names.open_pairs(source))


def test_photographs_are_similar_to_themselves_alone():
    one, other = skimage.data.astronaut(), skimage.data.rocket()
    height, width = np.minimum(one.shape, other.shape)[:2]
    one, other = one[:height, :width], other[:height, :width]
    assert pair_cues.similarity(one, one) == pytest.approx(1)
    assert pair_cues.similarity(one, other) < 0.1
    assert pair_cues.similarity(one, one[::-1]) < 0.1


@pytest.mark.skipif(
    "TTL_DATA" not in os.environ, reason="needs the photographs of TTL_DATA"
)
def test_every_real_and_synthetic_pair_at_hand_passes(tmp_path):
    root = os.environ["TTL_DATA"]
    found = {}
    for folder, _, files in os.walk(f"{root}/paired"):
        for file in files:
            key = os.path.splitext(file)[0], os.path.dirname(folder)
            found.setdefault(key, {})[os.path.basename(folder)] = f"{folder}/{file}"
    lines = [f"{s['rainy']}\t{s['clean']}\n" for s in found.values() if len(s) == 2]
    (tmp_path / "list.txt").write_text("".join(lines))
    pairs = source_names.open_pairs(f"list:{tmp_path}/list.txt")
    assert len(pairs) > 100
    for pair in pairs:
        pair_cues.check([pair])
