"""Rain rendered ahead of time, from the photographs to what a training run reads."""

import itertools
import zlib

import numpy as np
import pytest

from tests.data.raw_trees import make_pair, save
from ttl_jax.data.rain import live_rain
from ttl_jax.data.sets import preparation, record_writer, rendered_preparation
from ttl_jax.data.sources import records, source_names


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder to run in, but for photographs in the folder clean."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TTL_JAX_DATA_DIR", str(tmp_path / "data"))
    for i, name in enumerate(["b.png", "a/c.png", "a-b.png"]):
        save(tmp_path / "clean" / name, make_pair(i, height=40 + i)[1])
    return tmp_path


def prepare(source="rain:folder:clean", variants=2, seed=0, overwrite=False):
    plan = rendered_preparation.make_plan("mine", source, variants, seed)
    data_dir = records.default_data_dir()
    return preparation.prepare(plan, data_dir, overwrite=overwrite)


def rainy_images():
    return [pair.rainy.load() for pair in source_names.open_pairs("tfds:mine/train")]


@pytest.mark.parametrize(
    ("source", "rain"),
    [
        ("rain:folder:clean", live_rain.Physical()),
        ("additive:folder:clean", live_rain.Additive()),
    ],
)
def test_records_hold_the_rain_of_the_name_in_the_folder_variant_and_seed(source, rain):
    # Of six variants two parts are made.
    assert prepare(source, variants=6, seed=7).sources == ["tfds:mine/train"]
    clean = source_names.open_photographs("folder:clean", "clean")
    pairs = source_names.open_pairs("tfds:mine/train")
    for pair, (photograph, variant) in zip(
        pairs, itertools.product(clean, range(6)), strict=True
    ):
        image = photograph.load()
        below = photograph.name.removeprefix("clean/")
        entropy = (zlib.crc32(below.encode()), 2, variant, 7)  # two numbers
        rng = np.random.default_rng(entropy)
        expected = rain.render(image, image, max(image.shape), rng)
        np.testing.assert_array_equal(pair.load(), [expected, image])
        assert (pair.width, pair.height) == (photograph.width, photograph.height)
        assert pair.name == f"mine/train/rainy/{below}/{variant}"


def test_every_variant_and_every_seed_has_different_rain():
    prepare(variants=5)
    first = rainy_images()
    prepare(variants=5, seed=1, overwrite=True)
    records._open_split.cache_clear()
    rendered = {image.tobytes() for image in first + rainy_images()}
    assert len(rendered) == 2 * 3 * 5


def test_variants_share_a_clean_photograph_and_a_scene():
    folder = prepare(variants=5).folder
    clean = source_names.open_photographs("tfds:mine/train", "clean")
    originals = source_names.open_photographs("folder:clean", "clean")
    assert len(clean) == 3
    for photograph, original in zip(clean, originals, strict=True):
        np.testing.assert_array_equal(photograph.load(), original.load())
    rows = records.read_index(folder).splits["train"]
    scenes = [list(group) for _, group in itertools.groupby(rows, lambda r: r.scene)]
    assert [len(group) for group in scenes] == [5, 5, 5]
    assert rows[0].scene == "a/c.png" and rows[4].name == "a/c.png/4"


def test_the_order_of_threads_does_not_matter(monkeypatch):
    prepare(variants=5)
    expected = rainy_images()
    monkeypatch.setattr(record_writer.threads, "count_cpus", lambda: 7)
    prepare(variants=5, overwrite=True)
    records._open_split.cache_clear()
    np.testing.assert_equal(rainy_images(), expected)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/p/a/1.png", "/p/b/1.png"], ["a/1.png/0", "b/1.png/0"]),
        (["/p/ab/1.png", "/p/ac/1.png"], ["ab/1.png/0", "ac/1.png/0"]),
        (["/p/a/1.png"], ["1.png/0"]),
        (["/p/1.png", "/q/1.png"], ["p/1.png/0", "q/1.png/0"]),
    ],
)
def test_names_leave_out_the_folder_of_all(here, paths, expected):
    for path in paths:
        save(here / path.lstrip("/"), make_pair()[1])
    lines = "\n".join(f"{here}{path}" for path in paths)
    (here / "list.txt").write_text(lines)
    folder = prepare("rain:list:list.txt", variants=1).folder
    rows = records.read_index(folder).splits["train"]
    assert [row.name for row in rows] == expected


def test_a_photograph_that_changes_meanwhile_is_an_error(here):
    plan = rendered_preparation.make_plan("mine", "rain:folder:clean", 1, 0)
    save(here / "clean/b.png", make_pair(0, height=60)[1])
    with pytest.raises(ValueError, match="clean/b.png changed while the set was"):
        preparation.prepare(plan, records.default_data_dir())
    assert not (here / "data/mine").exists()


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("folder:clean", "'folder:clean' renders no rain; expected one of rain:CLEAN"),
        ("sample/train", "'sample/train' renders no rain"),
        ("clean", "'clean' renders no rain.* rain:CLEAN"),
        ("rain:folder:absent", "there is no folder absent"),
    ],
)
def test_a_source_without_rain_is_an_error(source, fault):
    with pytest.raises(ValueError, match=fault):
        prepare(source)


def test_two_kinds_of_rain_on_a_photograph_are_an_error(here):
    sections = [
        f"[{kind}:folder:clean]\n{kind}:clean/b.png\tclean/b.png"
        for kind in ("rain", "additive")
    ]
    (here / "picked.txt").write_text("\n".join(sections))
    with pytest.raises(ValueError, match="several kinds of rain on the same"):
        prepare("selection:picked.txt")


def test_a_set_of_any_name_can_be_overwritten():
    plan = rendered_preparation.make_plan("replaced", "rain:folder:clean", 1, 0)
    for overwrite in (False, True):
        preparation.prepare(plan, records.default_data_dir(), overwrite=overwrite)
    assert len(source_names.open_pairs("tfds:replaced/train")) == 3
