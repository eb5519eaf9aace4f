"""Scores per image and their means."""

import types

import numpy as np
import pytest

from ttl_jax.metrics import image_quality, intervals, naturalness
from ttl_jax.reports.examples import Example, Examples, Subject
from ttl_jax.reports.scores import scores
from ttl_jax.reports.scores.scores import METRICS, Unreferenced


@pytest.fixture(autouse=True)
def two_scenes_are_enough(monkeypatch):
    """Few scenes keep expected values short."""
    monkeypatch.setattr(intervals, "MIN_SCENES", 2)


def grey(level, height=12, width=14):
    return np.full((height, width, 3), level, np.uint8)


def subject(name, level, target=0):
    return Subject(
        name,
        (12, 14),
        lambda: grey(level),
        None if target is None else lambda: grey(target),
    )


def greys():
    # Luma of grey v is 16 + 219 v / 255: 16, 33, 50, 102 of 0, 20, 40, 100.
    halving = types.SimpleNamespace(restore=lambda array: array // 2)
    subjects = [subject("a", 40), subject("b", 100)]
    return Examples(subjects, {"ours": halving})


def decibels(error):
    return 20 * np.log10(255 / np.asarray(error))


def metrics_of(row):
    return {name: value for name, value in row.items() if name in METRICS}


def test_scores_of_pairs_by_hand():
    found = scores.score_sets({"greys": greys()})
    assert found[["set", "protocol", "image", "method"]].to_numpy().tolist() == [
        ["greys", "y_uint8", image, method]
        for image in "ab"
        for method in ("input", "ours")
    ]
    # Luma 50, 33, 102 and 59 (of grey 50), against 16.
    errors = [50 - 16, 33 - 16, 102 - 16, 59 - 16]
    np.testing.assert_allclose(found["psnr"], decibels(errors))
    np.testing.assert_allclose(
        found["psnr_gain"],
        [0, decibels(17) - decibels(34), 0, decibels(43) - decibels(86)],
        atol=1e-12,
    )
    expected = [
        image_quality.ssim(grey(level)[None], grey(0)[None]).item()
        for level in (40, 20, 100, 50)
    ]
    np.testing.assert_allclose(found["ssim"], expected)
    assert found["scene"].nunique() == 1  # the same target


@pytest.mark.parametrize(
    ("num_sheets", "shown"), [(0, []), (1, [0]), (2, [0, 3]), (9, 4)]
)
def test_sheets_are_spread_over_the_set(tmp_path, num_sheets, shown):
    many = Examples([subject(f"deep/{i}", 10 * i) for i in range(4)], {})
    (tmp_path / "s").mkdir()
    for name in ("3-x_y-0001-1.png", "own.png"):  # the first one of an earlier call
        (tmp_path / "s" / name).touch()
    scores.score_sets(
        {"folder:/a/x y": many, "folder:/b/x y": many},
        num_sheets=num_sheets,
        sheet_folder=tmp_path / "s",
    )
    written = sorted(path.name for path in tmp_path.glob("s/*"))
    indices = range(4) if shown == 4 else shown
    expected = [f"{n}-x_y-{i:04d}-{i}.png" for n in (1, 2) for i in indices]
    assert written == [*expected, "own.png"]


# Without targets


def test_without_a_target_only_metrics_without_one_are_measured(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(
        0, 256, (2 * naturalness.MIN_SIDE, naturalness.MIN_SIDE, 3), np.uint8
    )
    alone = Subject("a", image.shape[:2], lambda: image)
    recognizer = types.SimpleNamespace(score=lambda array: float(array.mean()))
    found = scores.score_sets(
        {"real": Examples([alone, subject("small", 40, target=None)], {})},
        unreferenced=Unreferenced(True, recognizer),
        num_sheets=1,
        sheet_folder=tmp_path,
    )
    assert (found["protocol"] == scores.NO_TARGET).all()
    assert found["rain_score"].tolist() == [image.mean(), 40.0]
    assert found["niqe"][0] == naturalness.niqe(image)
    assert np.isnan(found["niqe"][1])  # too small for NIQE
    assert "psnr" not in found
    assert len(list(tmp_path.iterdir())) == 1


def test_niqe_is_kept_only_where_every_method_has_it():
    rng = np.random.default_rng(0)
    image = rng.integers(
        0, 256, (naturalness.MIN_SIDE, naturalness.MIN_SIDE, 3), np.uint8
    )
    restored = {"input": image, "ours": image, "blank": image * 0}
    example = Example("a", "a", restored)
    found = scores.score(example, "real", (), Unreferenced(with_niqe=True))
    assert [metrics_of(row) for row in found] == [{}] * 3
    del restored["blank"]
    found = scores.score(example, "real", (), Unreferenced(with_niqe=True))
    assert [metrics_of(row) for row in found] == [{"niqe": naturalness.niqe(image)}] * 2


def test_a_score_that_is_not_finite_is_an_error_at_that_image():
    broken = types.SimpleNamespace(score=lambda array: float("nan"))
    example = Example("a", "a", {"input": grey(40)})
    with pytest.raises(ValueError, match="rain_score of a by 'input' is nan"):
        scores.score(example, "real", (), Unreferenced(recognizer=broken))


def test_change_is_measured_inside_and_outside_the_mask():
    mask = np.zeros((12, 14), bool)
    mask[:6] = True
    restored = grey(40)
    restored[:6] = 10
    restored[6:, :7] = 43
    example = Example("a", "scene", {"input": grey(40), "ours": restored}, None, mask)
    found = scores.score(example, "real", ())
    assert metrics_of(found[0]) == {"change_inside": 0, "change_outside": 0}
    assert metrics_of(found[1]) == {"change_inside": 30, "change_outside": 1.5}


def test_metrics_without_a_target_are_measured_on_pairs_too():
    example = Example("a", "s", {"input": grey(40)}, grey(0), np.ones((12, 14), bool))
    (found,) = scores.score(example, "set", ("rgb",))
    assert metrics_of(found).keys() == {"psnr", "ssim", "psnr_gain", "change_inside"}


# Means


def psnr_scores(method, *values, scenes="xyz", **further):
    """Rows of the images 0, 1, 2."""
    return [
        dict(zip(scores.KEYS, ("set", "rgb", f"{i}", scene, method)))
        | {"psnr": value, "ssim": value / 100}
        | {name: column[i] for name, column in further.items()}
        for i, (value, scene) in enumerate(zip(values, scenes))
    ]


def summarize(rows):
    return scores.summarize(scores.make_table(rows))["set"]["rgb"]


def test_the_summary_holds_means_and_counts():
    summary = scores.summarize(scores.score_sets({"greys": greys()}))
    assert list(summary) == ["greys"]
    assert list(summary["greys"]) == ["y_uint8"]
    methods = summary["greys"]["y_uint8"]
    assert list(methods) == ["input", "ours"]
    assert methods["input"]["psnr_gain"] == 0
    assert methods["ours"]["count"] == methods["input"]["count"] == 2
    assert methods["ours"]["scenes"] == 1
    np.testing.assert_allclose(
        methods["ours"]["psnr"], (decibels(17) + decibels(43)) / 2
    )
    np.testing.assert_allclose(
        methods["ours"]["psnr_gain"],
        methods["ours"]["psnr"] - methods["input"]["psnr"],
    )


def test_each_method_is_compared_with_the_best_image_by_image():
    best, other = (30.0, 20.0, 25.0), (29.0, 18.0, 24.5)
    found = (
        psnr_scores("input", 50.0, 50.0, 50.0)  # never the best
        + psnr_scores("ours", *best)
        + psnr_scores("other", *other)
    )
    methods = summarize(found)
    assert "psnr_to_best" not in methods["ours"]
    assert "psnr_to_best" not in methods["input"]
    mean, low, high = intervals.bootstrap_difference(other, best, list("xyz"))
    assert methods["other"]["psnr_to_best"] == {
        "method": "ours", "mean": mean, "low": low, "high": high
    }  # fmt: skip
    assert -2 <= low < mean < high <= -0.5


def test_each_method_is_compared_with_the_input_image_by_image():
    rainy, restored = (20.0, 25.0, 22.0), (26.0, 24.0, 29.0)
    found = [  # one image has no NIQE
        *psnr_scores("input", *rainy, niqe=(20.0, np.nan, 22.0)),
        *psnr_scores("ours", *restored, niqe=(26.0, np.nan, 29.0)),
    ]
    methods = summarize(found)
    assert not any(name.endswith("_to_input") for name in methods["input"])
    for metric, kept in (("psnr", (0, 1, 2)), ("niqe", (0, 2))):
        mean, low, high = intervals.bootstrap_difference(
            [restored[i] for i in kept],
            [rainy[i] for i in kept],
            ["xyz"[i] for i in kept],
        )
        assert methods["ours"][f"{metric}_to_input"] == {
            "mean": mean, "low": low, "high": high
        }  # fmt: skip
    assert methods["ours"]["niqe_to_input"]["mean"] == 6.5


def test_a_single_scene_has_no_interval():
    found = psnr_scores("ours", 3.0, 2.0, scenes="xx") + psnr_scores(
        "other", 1.0, 2.0, scenes="xx"
    )
    found = psnr_scores("input", 1.0, 1.0, scenes="xx") + found
    to_best = summarize(found)["other"]["psnr_to_best"]
    assert to_best == {"method": "ours", "mean": -1.0, "low": None, "high": None}


def test_few_scenes_have_no_interval(monkeypatch):
    monkeypatch.setattr(intervals, "MIN_SCENES", 4)
    found = psnr_scores("input", 1.0, 1.0, 1.0) + psnr_scores("ours", 3.0, 2.0, 4.0)
    to_input = summarize(found)["ours"]["psnr_to_input"]
    assert to_input == {"mean": 2.0, "low": None, "high": None}


def test_a_mean_is_over_the_images_that_have_the_value():
    means = summarize(psnr_scores("input", 3.0, 5.0, niqe=(3.0, np.nan)))["input"]
    assert (means["niqe"], means["psnr"], means["count"]) == (3.0, 4.0, 2)
