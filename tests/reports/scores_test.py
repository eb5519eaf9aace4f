"""Scores per image and their means, from pairs and from folders of results."""

import dataclasses
import types

import numpy as np
import pytest
from PIL import Image

from ttl_jax.inference import images
from ttl_jax.metrics import image_quality
from ttl_jax.reports import scores


@dataclasses.dataclass
class Pair:
    name: str
    rainy: np.ndarray
    clean: np.ndarray

    @property
    def height(self):
        return self.rainy.shape[0]

    @property
    def width(self):
        return self.rainy.shape[1]

    def load(self):
        return self.rainy, self.clean


def grey(level, height=12, width=14):
    return np.full((height, width, 3), level, np.uint8)


def pairs():
    # Luma of grey v is 16 + 219 v / 255: 16, 33, 50, 102 of 0, 20, 40, 100.
    return [Pair("a", grey(40), grey(0)), Pair("b", grey(100), grey(0))]


HALVING = types.SimpleNamespace(name="halving", restore=lambda array: array // 2)


def decibels(error):
    return 20 * np.log10(255 / np.asarray(error))


def test_scores_of_pairs_by_hand():
    examples = scores.RestoredPairs(pairs(), HALVING, "ours")
    assert len(examples) == 2
    found = scores.score_sets({"greys": examples})
    assert [(value.image, value.method) for value in found] == [
        ("a", "input"),
        ("a", "ours"),
        ("b", "input"),
        ("b", "ours"),
    ]
    assert {(value.set, value.protocol) for value in found} == {("greys", "y_uint8")}
    # Luma 50, 33, 102 and 59 (of grey 50), against 16.
    errors = [50 - 16, 33 - 16, 102 - 16, 59 - 16]
    np.testing.assert_allclose([value.psnr for value in found], decibels(errors))
    np.testing.assert_allclose(
        [value.psnr_gain for value in found],
        [0, decibels(17) - decibels(34), 0, decibels(43) - decibels(86)],
        atol=1e-12,
    )
    expected = [
        image_quality.ssim(pair.rainy[None], pair.clean[None]).item()
        for pair in pairs()
    ]
    np.testing.assert_allclose([value.ssim for value in found[::2]], expected)


def test_the_summary_holds_means_and_counts():
    examples = scores.RestoredPairs(pairs(), HALVING, "ours")
    summary = scores.summarize(scores.score_sets({"greys": examples}))
    assert list(summary) == ["greys"]
    assert list(summary["greys"]) == ["y_uint8"]
    methods = summary["greys"]["y_uint8"]
    assert list(methods) == ["input", "ours"]
    assert methods["input"]["psnr_gain"] == 0
    assert methods["ours"]["count"] == methods["input"]["count"] == 2
    np.testing.assert_allclose(
        methods["ours"]["psnr"], (decibels(17) + decibels(43)) / 2
    )
    np.testing.assert_allclose(
        methods["ours"]["psnr_gain"],
        methods["ours"]["psnr"] - methods["input"]["psnr"],
    )


def test_a_source_of_pairs_is_scored_under_its_name():
    sets = scores.restored_sets(["sample/test"], HALVING)
    assert list(sets) == ["sample/test"]
    example = next(iter(sets["sample/test"]))
    assert list(example.restored) == ["input", "halving"]
    np.testing.assert_array_equal(
        example.restored["halving"], example.restored["input"] // 2
    )
    assert example.target.shape == example.restored["input"].shape


@pytest.mark.parametrize("num_sheets, shown", [(0, []), (1, [0]), (2, [0, 3]), (9, 4)])
def test_sheets_are_spread_over_the_set(tmp_path, num_sheets, shown):
    many = [Pair(f"deep/{i}", grey(10 * i), grey(0)) for i in range(4)]
    examples = scores.RestoredPairs(many, HALVING, "ours")
    scores.score_sets(
        {"folder:/a/x y": examples, "folder:/b/x y": examples},
        num_sheets=num_sheets,
        sheet_folder=tmp_path / "s",
    )
    written = sorted(path.name for path in tmp_path.glob("s/*"))
    indices = range(4) if shown == 4 else shown
    assert written == [f"{n}-x_y-{i:04d}-{i}.png" for n in (1, 2) for i in indices]


def test_pairs_too_small_for_ssim_are_refused_before_restoring():
    small = Pair("tiny", grey(1, height=10), grey(0, height=10))
    with pytest.raises(ValueError, match=r"11 x 11 pixels.*tiny \(10 x 14\)"):
        scores.RestoredPairs([*pairs(), small], HALVING, "ours")


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="no pairs"):
        scores.RestoredPairs([], HALVING, "ours")


def test_the_name_of_the_input_is_taken():
    with pytest.raises(ValueError, match="'input'"):
        scores.RestoredPairs(pairs(), HALVING, "input")


# Folders


@pytest.fixture
def folder(tmp_path):
    """Writes a folder of images and returns its path."""

    def write(name, **arrays):
        for stem, array in arrays.items():
            stem, _, suffix = stem.partition("__")
            path = tmp_path / name / f"{stem.replace('_', '/')}.{suffix or 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            images.write_image(path, array)
        return tmp_path / name

    return write


def test_folders_score_as_pairs_do(folder):
    target = folder("Test100", a=grey(0), sub_b=grey(0))
    rainy = folder("rainy", a__tif=grey(40), sub_b=grey(100))
    ours = folder("ours", a__webp=grey(20), sub_b=grey(50))
    sets = scores.result_sets([("ours", ours)], target, rainy)
    assert list(sets) == ["Test100"]
    found = scores.score_sets(sets)
    assert [value.image for value in found[::2]] == ["a", "sub/b"]
    by_pairs = scores.score_sets(
        {"Test100": scores.RestoredPairs(pairs(), HALVING, "ours")}
    )
    for ours, other in zip(found, by_pairs, strict=True):
        assert dataclasses.replace(ours, image=other.image) == other


def test_grey_alpha_and_16_bit_results_are_scored_as_rgb8(folder):
    target = folder("target", a=grey(0), b=grey(0), c=grey(0))
    rainy = folder("rainy", a=grey(40), b=grey(40), c=grey(40))
    deep = (grey(20).astype(np.uint16) * 257) + 120  # rounds to 20
    alpha = np.concatenate([grey(20), grey(7)[..., :1]], axis=-1)
    ours = folder("ours", a=grey(20)[..., 0], b=deep, c=alpha)
    found = scores.score_sets(scores.result_sets([("ours", ours)], target, rainy))
    values = [value.psnr for value in found if value.method == "ours"]
    np.testing.assert_allclose(values, decibels(17))


def test_bmp_results_are_scored(folder):
    target = folder("target", a=grey(0), b=grey(0))
    ours = folder("ours", a=grey(20))
    Image.fromarray(grey(20)).save(ours / "b.bmp")
    found = scores.score_sets(scores.result_sets([("ours", ours)], target, target))
    values = [value.psnr for value in found if value.method == "ours"]
    np.testing.assert_allclose(values, decibels(17))


def test_missing_and_extra_files_are_named(folder):
    target = folder("target", a=grey(0), b=grey(0))
    rainy = folder("rainy", a=grey(0), b=grey(0))
    ours = folder("ours", a=grey(0), c=grey(0))
    with pytest.raises(ValueError, match="ours lacks b; ours has no target for c"):
        scores.result_sets([("ours", ours)], target, rainy)


def test_sizes_that_differ_are_refused_by_name(folder):
    target = folder("target", a=grey(0))
    rainy = folder("rainy", a=grey(0))
    ours = folder("ours", a=grey(0, height=16))
    with pytest.raises(ValueError, match=r"ours/a\.png is 16 x 14, its target 12 x 14"):
        scores.result_sets([("ours", ours)], target, rainy)


def test_images_too_small_for_ssim_are_refused_by_name(folder):
    small = folder("target", a=grey(0, width=10))
    with pytest.raises(ValueError, match=r"a \(12 x 10\)"):
        scores.ResultFolders({"ours": small}, small, small)


def test_two_suffixes_of_one_stem_are_refused(folder):
    target = folder("target", a=grey(0), a__tif=grey(0))
    with pytest.raises(ValueError, match="same name but for the suffix"):
        scores.ResultFolders({"ours": target}, target, target)


def test_folders_without_images_are_refused(tmp_path, folder):
    target = folder("target", a=grey(0))
    with pytest.raises(ValueError, match="no folder"):
        scores.ResultFolders({"ours": tmp_path / "nowhere"}, target, target)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        scores.ResultFolders({"ours": tmp_path / "empty"}, target, target)


def test_a_method_named_twice_is_refused(folder):
    target = folder("target", a=grey(0))
    with pytest.raises(ValueError, match="ours, ours"):
        scores.result_sets([("ours", target), ("ours", target)], target, target)
