"""Records of each set, from its exact layout to what a training run reads."""

import concurrent.futures
import itertools
import json
import multiprocessing
import os
import pickle
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from configs import common
from tests.data.raw_trees import RAINY_HALF, TREES, make_pair, save, write_tree
from tests.pictures import noise
from ttl_jax.data.files import decoding, images
from ttl_jax.data.loading import pipeline
from ttl_jax.data.sets import preparation, raw_preparation, record_writer
from ttl_jax.data.sources import records, source_names
from ttl_jax.data.sources.photographs import ROLES


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("TTL_JAX_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def prepare(tmp_path, data_dir):
    """Prepares a set from the folder `raw`; returns the folder of its records."""

    def run(what, name=None, **flags):
        raw_set = raw_preparation.find_set(what, name, None)
        plan = raw_preparation.make_plan(raw_set, tmp_path / "raw")
        return preparation.prepare(plan, data_dir, **flags)

    return run


def read_image(folder, *where):
    return records.read_image(folder, records.stamp_of(folder), *where)


@pytest.mark.parametrize("name", TREES)
def test_records_of_a_set_hold_the_pixels_and_bytes_of_its_files(
    tmp_path, prepare, name
):
    write_tree(tmp_path / "raw", name)
    folder = prepare(name).folder
    index = records.read_index(folder)
    assert {
        (split, row.name) for split, rows in index.splits.items() for row in rows
    } == TREES[name].keys()
    for split, rows in index.splits.items():
        for position, row in enumerate(rows):
            files = [tmp_path / "raw" / file for file in TREES[name][split, row.name]]
            rainy, clean = (
                read_image(folder, split, position, side) for side in ("rainy", "clean")
            )
            assert row.num_bytes == [len(rainy), len(clean)]
            if len(files) == 2:
                assert [rainy, clean] == [file.read_bytes() for file in files]
                continue
            halves = np.split(np.array(Image.open(files[0])), 2, axis=1)
            if RAINY_HALF[name] == "right":
                halves.reverse()
            np.testing.assert_array_equal(images.decode(rainy, "rainy"), halves[0])
            np.testing.assert_array_equal(images.decode(clean, "clean"), halves[1])


def test_tfds_reads_the_records_by_the_name_of_the_set(tmp_path, prepare, data_dir):
    write_tree(tmp_path / "raw", "realrain1k")
    folder = prepare("realrain1k").folder
    for split, rows in records.read_index(folder).splits.items():
        found = tfds.data_source("realrain1k", split=split, data_dir=data_dir)
        assert len(found) == len(rows)
        for example, row in zip(found, rows, strict=True):
            assert example["name"].decode() == row.name
            assert example["scene"].decode() == row.scene
            file = tmp_path / "raw" / TREES["realrain1k"][split, row.name][0]
            np.testing.assert_array_equal(example["rainy"], images.load(file))


def test_records_keep_their_order_over_several_files(tmp_path, prepare, monkeypatch):
    monkeypatch.setattr(record_writer, "_MAX_SHARD_BYTES", 5000)
    for i in range(12):
        save(tmp_path / f"raw/{i:02}.png", make_pair(i)[1])
    folder = prepare("photos", "mine").folder
    assert len(list(folder.glob("*.array_record*"))) > 2
    for i in range(12):
        content = read_image(folder, "train", i, "image")
        assert content == (tmp_path / f"raw/{i:02}.png").read_bytes()


def test_images_that_tfds_cannot_decode_are_kept_and_read(tmp_path, prepare):
    root = tmp_path / "raw"
    grey16 = noise(20, 24, dtype=np.uint16)
    save(root / "grey16.png", grey16)
    save(root / "grey16.tif", grey16)
    save(root / "lossless.webp", noise(20, 24, 3), lossless=True)
    save(root / "alpha.png", noise(20, 24, 4))
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    save(root / "turned.jpg", noise(20, 24, 3), exif=turned)
    Image.fromarray(noise(20, 24, 3)).quantize().save(root / "palette.png")
    folder = prepare("photos", "mine").folder
    photographs = source_names.open_photographs("tfds:mine/train", "rainy")
    assert len(photographs) == 6
    for position, photograph in enumerate(photographs):
        file = root / photograph.name.removeprefix("mine/train/")
        np.testing.assert_array_equal(photograph.load(), images.load(file))
        content = read_image(folder, "train", position, "image")
        assert content == file.read_bytes()
        assert photograph.load().shape == (photograph.height, photograph.width, 3)


# The source tfds:


def test_pairs_of_records_come_in_the_order_of_the_folder(tmp_path, prepare):
    for i, name in enumerate(["b", "a/c", "a-b", "B", "a"]):
        rainy, clean = make_pair(i, height=32 + i)
        save(tmp_path / f"raw/rainy/{name}.png", rainy)
        # The suffix decides the order of a and a-b, and here it differs.
        save(tmp_path / f"raw/clean/{name}{'.jpg' if i % 2 else '.png'}", clean)
    prepare("pairs", "mine")
    ours = source_names.open_pairs("tfds:mine/train")
    theirs = source_names.open_pairs(f"folder:{tmp_path}/raw")
    assert ours[0].name == "mine/train/rainy/B"
    assert ours[0].clean.name == "mine/train/clean/B"
    for pair, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(pair.load(), other.load())
        assert (pair.width, pair.height) == (other.width, other.height)
        assert pair.rainy.num_bytes == other.rainy.num_bytes
    for role in ROLES:
        photographs = source_names.open_photographs("tfds:mine", role)
        others = source_names.open_photographs(f"folder:{tmp_path}/raw", role)
        for photograph, other in zip(photographs, others, strict=True):
            np.testing.assert_array_equal(photograph.load(), other.load())


@pytest.mark.parametrize("kind", ["rain", "identity:structures"])
def test_fixed_rain_and_structures_differ_on_all_records(tmp_path, prepare, kind):
    for name in ("0.png", "a/0.png", "b/0.png"):  # the same file in each folder
        save(tmp_path / "raw" / name, make_pair()[1])
    prepare("photos", "mine")
    drawn = [p.rainy.load() for p in source_names.open_pairs(f"{kind}:tfds:mine/train")]
    num_drawn = {"rain": 3, "identity:structures": 12}[kind]
    assert len({array.tobytes() for array in drawn}) == num_drawn


def test_a_clean_image_that_pairs_share_counts_once(tmp_path, prepare):
    write_tree(tmp_path / "raw", "rain14000")
    prepare("rain14000")
    clean = source_names.open_photographs("tfds:rain14000/whole", "clean")
    assert [photograph.name for photograph in clean] == [
        "rain14000/whole/clean/1/1",
        "rain14000/whole/clean/801/3",
        "rain14000/whole/clean/901/2",
    ]
    assert len(source_names.open_photographs("tfds:rain14000/whole", "rainy")) == 4
    pairs = source_names.open_pairs("tfds:rain14000/whole")
    assert [pair.clean.name for pair in pairs] == [clean[i].name for i in (0, 0, 1, 2)]


def test_the_two_divisions_of_rain14000_are_views_of_it(tmp_path, prepare):
    write_tree(tmp_path / "raw", "rain14000")
    prepared = prepare("rain14000")
    names = {
        split: [
            pair.name.split("rainy/")[1] for pair in source_names.open_pairs(source)
        ]
        for source in prepared.sources
        for split in [source.split("/")[1]]
    }
    assert names == {
        "whole": ["1/1", "1/14", "801/3", "901/2"],
        "train1400": ["1/1", "1/14", "801/3"],
        "test1400": ["901/2"],
        "train2800": ["1/1", "1/14"],
        "test2800": ["801/3", "901/2"],
    }
    with pytest.raises(ValueError, match="901/2 is in .*test1400.* and again in"):
        source_names.open_pairs(["tfds:rain14000/test1400", "tfds:rain14000/test2800"])


@pytest.mark.parametrize("kind", ["pairs", "clean"])
def test_training_batches_from_records_are_those_from_the_folder(
    tmp_path, prepare, kind
):
    for i in range(7):
        for side, image in zip(("input", "target"), make_pair(i, 32 + i), strict=True):
            folder = "raw/" if kind == "pairs" else f"raw/{i % 3}-"
            save(tmp_path / f"{folder}{side}/{i}.png", image)
    prepare("pairs" if kind == "pairs" else "photos", "mine")

    def batches(source):
        config = common.get_config("smoke")
        config.update({"dataset": kind, kind: (source,), "color_jitter": True})
        data = pipeline.open_training_data(config)
        return list(itertools.islice(data.batches(3), 5))

    for batch, other in zip(
        batches("tfds:mine/train"), batches(f"folder:{tmp_path}/raw"), strict=True
    ):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


def test_photographs_load_in_threads_and_in_other_processes(tmp_path, prepare):
    for i in range(6):
        save(tmp_path / f"raw/{i}.png", make_pair(i)[1])
    prepare("photos", "mine")
    photographs = source_names.open_photographs("tfds:mine", "clean")
    expected = [images.load(tmp_path / f"raw/{i}.png") for i in range(6)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = pool.map(lambda photograph: photograph.load(), photographs)
            np.testing.assert_array_equal(list(found), expected)
    copy = pickle.loads(pickle.dumps(photographs[2]))
    np.testing.assert_array_equal(copy.load(), expected[2])
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        found = pool.submit(photographs[4].load).result()
    np.testing.assert_array_equal(found, expected[4])


def test_a_listing_is_opened_without_reading_records(tmp_path, prepare):
    save(tmp_path / "raw/a.png", make_pair()[0])
    folder = prepare("photos", "mine").folder
    for file in folder.glob("*.array_record*"):
        file.unlink()
    (photograph,) = source_names.open_photographs("tfds:mine", "rainy")
    assert (photograph.width, photograph.height) == (40, 32)
    assert photograph.num_bytes == (tmp_path / "raw/a.png").stat().st_size


@pytest.mark.parametrize("is_read_before", [True, False])
def test_a_missing_record_is_rejected_like_a_missing_file(
    tmp_path, prepare, is_read_before
):
    for i in range(4):
        save(tmp_path / f"raw/{i}.png", noise(200 + i, 200, 3))
    folder = prepare("photos", "mine").folder
    photographs = source_names.open_photographs("tfds:mine", "clean")
    if is_read_before:
        photographs[0].load()
    (file,) = folder.glob("*.array_record*")
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(decoding.ImageError, match=f"mine/train/3.png .* {folder}"):
        photographs[3].load()


@pytest.mark.parametrize("is_read_before", [True, False])
def test_a_set_replaced_after_it_was_listed_is_read_by_a_new_listing_only(
    tmp_path, prepare, is_read_before
):
    for i in range(3):
        save(tmp_path / f"raw/{i}.png", make_pair(i)[1])
    prepare("photos", "mine")
    listed = source_names.open_photographs("tfds:mine", "clean")
    if is_read_before:
        listed[0].load()
    (tmp_path / "raw/0.png").unlink()
    prepare("photos", "mine", overwrite=True)
    for photograph in listed:
        with pytest.raises(decoding.ImageError, match="replaced after it was listed"):
            photograph.load()
    for photograph in source_names.open_photographs("tfds:mine", "clean"):
        file = tmp_path / "raw" / photograph.name.removeprefix("mine/train/")
        np.testing.assert_array_equal(photograph.load(), images.load(file))


def test_faults_of_the_source_are_named(tmp_path, prepare, data_dir):
    save(tmp_path / "raw/test/a.png", make_pair()[0])
    folder = prepare("photos", "mine").folder

    def check(source, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            source_names.open_pairs(source)

    check("tfds:other/train", f"{data_dir} holds no prepared set 'other'")
    check("tfds:mine/tset", "has the splits test; did you mean 'test'?")
    check("tfds:mine/test", "holds photographs, no pairs")
    content = json.loads((folder / "index.json").read_text())
    for invalid in ({"views": None}, {"source": {"description": ""}}):
        (folder / "index.json").write_text(json.dumps(content | invalid))
        check("tfds:mine/test", f"{folder}/index.json cannot be read")
