"""The analysis, its numbers against independent ones, and its files."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tests import pictures
from ttl_jax.data.sources.photographs import Photograph
from ttl_jax.metrics import naturalness
from ttl_jax.reports.rain_analysis import (
    analyzer,
    rain_features,
    rain_report,
)
from ttl_jax.reports.rain_analysis.rain_sets import CLEAN, REAL, SYNTHETIC, ImageSet

FORMS = ["as_is", "equalised"]
BACKGROUNDS = [pictures.texture(i, 200, 210) for i in range(10)]
SETTINGS = analyzer.Settings(side=192, quality=90)


def photographs(prefix, arrays):
    return [
        Photograph(f"{prefix}/{i}.png", a.shape[1], a.shape[0], None, lambda a=a: a)
        for i, a in enumerate(arrays)
    ]


def pairs(name, rainy, clean, kind=SYNTHETIC):
    arrays = {"rainy": rainy, "clean": clean}
    sides = {side: photographs(f"{name}/{side}", of) for side, of in arrays.items()}
    return ImageSet(name, kind, f"folder:{name}", sides, len(rainy))


def unpaired(name, arrays, kind):
    side = "clean" if kind == CLEAN else "rainy"
    return ImageSet(name, kind, name, {side: photographs(name, arrays)}, len(arrays))


def make_sets():
    noisy = [pictures.add_noise(image, 25) for image in BACKGROUNDS]
    others = [pictures.texture(i, 220, 200) for i in range(20, 32)]
    small = pictures.texture(99, 100, 200)
    return [
        unpaired("<real> $x$", [*others, small], REAL),
        pairs("same", BACKGROUNDS, BACKGROUNDS),
        pairs("noisy", noisy, BACKGROUNDS),
        pairs("cleaner", BACKGROUNDS, noisy),
        pairs("few", noisy[:3], BACKGROUNDS[:3]),
        unpaired(CLEAN, BACKGROUNDS, CLEAN),
    ]


@pytest.fixture(scope="module")
def analysis():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rain_features, "MIN_SAMPLES", 6)
        return analyzer.analyze(make_sets(), SETTINGS)


@pytest.fixture(scope="module")
def report(analysis, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, analyzer.write_report(folder, analysis)


@pytest.mark.parametrize("form", FORMS)
def test_damage_is_zero_for_equal_pairs_and_has_the_sign_of_the_change(analysis, form):
    damage = {n: of["damage"] for n, of in analysis["forms"][form]["sets"].items()}
    assert all(damage["same"][key] == 0 for key in ("mean", "median", "low", "high"))
    assert damage["noisy"]["low"] > 0
    assert damage["cleaner"]["mean"] == pytest.approx(-damage["noisy"]["mean"])
    assert damage["cleaner"]["high"] < 0
    assert damage["clean"] is None


def test_summaries_are_means_over_images_and_medians(analysis):
    numbers = analysis["forms"]["as_is"]
    values = [naturalness.niqe(image) for image in BACKGROUNDS]
    summary = numbers["sets"]["noisy"]["niqe"]["clean"]
    assert summary["mean"] == pytest.approx(np.mean(values))
    assert summary["median"] == pytest.approx(np.median(values))
    assert summary["low"] < summary["mean"] < summary["high"]
    assert (summary["images"], summary["scenes"]) == (10, 10)
    listed = [image["niqe"]["clean"] for image in numbers["images"]["noisy"]]
    assert listed == pytest.approx(values)


def test_images_of_one_background_do_not_narrow_the_interval(analysis):
    noisy = [pictures.add_noise(image, 25) for image in BACKGROUNDS]
    sets = [
        unpaired("real", BACKGROUNDS[:1], REAL),
        pairs("twice", noisy * 2, BACKGROUNDS * 2),
    ]
    once = analysis["forms"]["as_is"]["sets"]["noisy"]["damage"]
    twice = analyzer.analyze(sets, SETTINGS)["forms"]["as_is"]["sets"]["twice"]
    assert twice["damage"] == pytest.approx({**once, "images": 20, "from": "pairs"})


@pytest.mark.parametrize("form", FORMS)
def test_unpaired_damage_is_the_difference_to_the_clean_set(analysis, form):
    sets = analysis["forms"][form]["sets"]
    real, clean = sets["<real> $x$"], sets["clean"]
    expected = real["niqe"]["rainy"]["mean"] - clean["niqe"]["clean"]["mean"]
    assert real["damage"]["mean"] == expected
    assert real["damage"]["from"] == "unpaired"
    assert sets["noisy"]["damage"]["from"] == "pairs"


def test_contrasts_are_real_minus_synthetic(analysis):
    numbers = analysis["forms"]["equalised"]
    contrast = numbers["contrasts"][1]
    assert (contrast["real"], contrast["synthetic"]) == ("<real> $x$", "noisy")
    for key, pick in (
        ("niqe", lambda of_set: of_set["niqe"]["rainy"]),
        ("damage", lambda of_set: of_set["damage"]),
    ):
        means = [pick(numbers["sets"][n])["mean"] for n in ("<real> $x$", "noisy")]
        assert contrast[key]["mean"] == pytest.approx(means[0] - means[1])


def test_the_interval_of_a_difference_adds_variances():
    first = {"mean": 5.0, "low": 5 - 1.96 * 0.3, "high": 5 + 1.96 * 0.3}
    second = {"mean": 3.0, "low": 3 - 1.96 * 0.4, "high": 3 + 1.96 * 0.4}
    found = analyzer.difference(first, second)
    expected = {"mean": 2.0, "low": 2 - 1.96 * 0.5, "high": 2 + 1.96 * 0.5}
    assert found == pytest.approx(expected)
    skewed = analyzer.difference({**first, "high": 9.0}, second)
    assert skewed["low"] == found["low"] and skewed["high"] > found["high"]


def test_few_scenes_have_a_mean_and_no_interval(analysis):
    numbers = analysis["forms"]["as_is"]
    damage = numbers["sets"]["few"]["damage"]
    assert damage["mean"] > 0 and damage["low"] is damage["high"] is None
    assert damage["scenes"] == 3
    assert numbers["contrasts"][3]["niqe"]["low"] is None


def test_coverage_is_measured_for_every_side_with_the_other_half_as_ceiling(analysis):
    (cover,) = analysis["forms"]["as_is"]["coverage"]
    assert cover["samples"] == 6
    assert [(row["set"], row["side"]) for row in cover["rows"]] == [
        ("<real> $x$", "other half"),
        ("same", "rainy"),
        ("same", "clean"),
        ("noisy", "rainy"),
        ("noisy", "clean"),
        ("cleaner", "rainy"),
        ("cleaner", "clean"),
        ("clean", "clean"),
    ]
    means = {(r["set"], r["side"]): r["coverage"]["mean"] for r in cover["rows"]}
    assert means["noisy", "rainy"] < means["noisy", "clean"]
    assert means["same", "rainy"] == means["same", "clean"]
    assert [(one["set"], one["scenes"]) for one in cover["too_few"]] == [("few", 3)] * 2


def test_all_rainy_images_measured_are_on_the_map(analysis):
    for numbers in analysis["forms"].values():
        points = numbers["tsne"]["points"]
        assert list(points) == ["<real> $x$", "same", "noisy", "cleaner", "few"]
        for name, of_set in points.items():
            listed = [image["image"] for image in numbers["images"][name]]
            assert [point["image"] for point in of_set] == listed


def test_the_json_holds_the_whole_analysis(analysis, report):
    folder, _ = report
    assert json.loads((folder / "analysis.json").read_text()) == analysis
    assert list(analysis["forms"]) == FORMS
    names = [one["name"] for one in analysis["sets"]]
    for numbers in analysis["forms"].values():
        assert list(numbers["sets"]) == list(numbers["images"]) == names
    assert analysis["sets"][0] == {
        "name": "<real> $x$", "kind": "real", "source": "<real> $x$", "pairs": False,
        "found": 13, "images": 13, "scenes": 13,
    }  # fmt: skip
    assert analysis["settings"]["side"] == 192
    assert analysis["settings"]["num_neighbours"] == 5


def test_files_are_the_report_the_numbers_and_each_figure_twice(report):
    folder, summary = report
    figures = [f"{kind}_{f}.png" for kind in ("niqe", "damage", "tsne") for f in FORMS]
    assert {path.name for path in folder.iterdir()} == {
        "analysis.md", "analysis.json", *figures
    }  # fmt: skip
    for name in figures:
        with Image.open(folder / name) as image:
            assert image.format == "PNG" and image.width > 500
    assert "<real> $x$: 12 images, 12 scenes, 1 excluded; NIQE rainy" in summary


def read_tables(text):
    """The cells of a Markdown text's tables, heads left out."""
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
        for lines in (table.splitlines() for table in tables)
    ]


def test_the_report_shows_its_figures_and_excluded_images(report):
    folder, _ = report
    text = (folder / "analysis.md").read_text()
    shown = re.findall(r"!\[.*\]\((.*)\)", text)
    assert sorted(shown) == sorted(path.name for path in folder.glob("*.png"))
    assert "<real> $x$/12.png is 200x100" in text


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [
        ([(1, 2), (1, 3)], rain_report.MORE),
        ([(-2, -1), (-4, -0.1)], rain_report.LESS),
        ([(1, 2), (-1, 2)], rain_report.UNDECIDED),
        ([(1, 2), (None, None)], rain_report.TOO_FEW),
    ],
)
def test_a_verdict_holds_in_both_forms(analysis, limits, verdict):
    changed = json.loads(json.dumps(analysis))
    for form, (low, high) in zip(FORMS, limits):
        contrast = changed["forms"][form]["contrasts"][0]
        contrast["niqe"] = {"mean": 1.0, "low": low, "high": high}
    first, *_ = read_tables(rain_report.make_report(changed))[0]
    assert first[-1] == verdict


def test_unpaired_sets_have_no_damage_and_other_features_are_named(tmp_path):
    settings = analyzer.Settings(side=192, features="means of <colours>")
    sets = [
        unpaired("real", BACKGROUNDS[:3], REAL),
        unpaired("other", BACKGROUNDS[3:6], SYNTHETIC),
    ]
    for name in ("once", "again"):  # the same images give the same files
        analysis = analyzer.analyze(
            sets, settings, lambda image: image.mean(axis=(0, 1)) + np.arange(3)
        )
        analyzer.write_report(tmp_path / name, analysis)
    for path in (tmp_path / "once").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    assert not list(tmp_path.glob("*/damage*"))
    text = (tmp_path / "once/analysis.md").read_text()
    assert "means of <colours>" in text
    assert "Damage is not available for real, other" in text and "--clean" in text
    assert "Not measured for real (3 scenes)" in text
    numbers = analysis["forms"]["as_is"]
    assert numbers["sets"]["real"]["damage"] is None
    assert numbers["contrasts"][0]["damage"] is None
    assert numbers["contrasts"][0]["niqe"]["mean"] != 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"side": 191}, "192 or more"), ({"quality": 96}, "from 1 to 95, not 96")],
)
def test_an_invalid_form_is_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        analyzer.Settings(**options)
