import contextlib
import itertools
import multiprocessing
import os
import shutil
import signal

import cloudpickle
import numpy as np
import pytest
from PIL import Image

from tests.data.batches import assert_same, join, names_of, take
from ttl_jax.data.loading import pipeline

ROWS = {"couples": 2, "clean": 1, "rainy": 1, "pairs": 1, "unpaired": 1}
TWO_SIDES = ("pairs", "unpaired")


@pytest.mark.parametrize("kind", ROWS)
def test_batches_have_the_agreed_form_on_any_hosts_and_after_resuming(
    make_config, kind
):
    config = make_config(kind, crop_margin=3)
    whole = take(config, 0, 4)
    names = {"rainy", "clean"} if kind in TWO_SIDES else {"image"}
    for name in names:
        assert whole[0][name].shape == (8, 22, 22, 3)
        assert whole[0][name].dtype == np.uint8
    if kind == "couples":
        names.add("label")
        np.testing.assert_array_equal(whole[0]["label"], np.float32([1, 0] * 4))
    assert whole[0].keys() == names | {"replaced"}
    np.testing.assert_array_equal(whole[0]["replaced"], np.zeros(8, np.float32))
    shares = [take(config, 2, 2, p, 2) for p in range(2)]
    assert shares[0][0]["replaced"].shape == (4,)
    assert_same(join(shares), whole[2:])


def test_neither_threads_nor_prefetching_nor_the_cache_change_a_batch(make_config):
    names = "num_threads", "prefetch", "cache_gib"
    # 2e-6 GiB hold one image of 20 x 30 pixels.
    values = (0, 0, 0.0), (4, 8, 0.0), (2, 4, 2e-6), (4, 8, 1)
    one, *others = (
        take(make_config("pairs", **dict(zip(names, row, strict=True))), 0, 6)
        for row in values
    )
    for other in others:
        assert_same(one, other)


@pytest.fixture
def mixed(make_config, root):
    """Files and rain of every kind on files, by weight, through the cache."""
    photographs = f"folder:{root}/clean"
    return make_config(
        "pairs",
        pairs=(
            f"folder:{root}/pairs",
            f"rain:{photographs}",
            f"additive:{photographs}",
            f"streaks:folder:{root}/pairs on {photographs}",
        ),
        pairs_weights=(1.0, 2.0, 2.0, 3.0),
        cache_gib=1.0,
    )


def test_live_rain_by_weight_is_the_same_on_any_hosts_and_after_resuming(mixed):
    whole = take(mixed, 0, 4)
    assert_same(join([take(mixed, 1, 3, p, 4) for p in range(4)]), whole[1:])
    kinds = {
        name.partition(":")[0] for names in names_of(mixed, 0, 4) for name in names
    }
    assert kinds >= {"rain", "additive", "streaks"}


def test_live_rain_is_another_one_each_time(make_config, fragile):
    config = make_config(
        "pairs", pairs=(f"rain:folder:{fragile}",), color_jitter=False, batch_size=10
    )
    (batch,) = take(config, 0, 1)  # each photograph twice, all of one color each
    (names,) = names_of(config, 0, 1)
    for name in set(names):
        one, other = batch["rainy"][names == name]
        assert np.any(one != other)
        one, other = batch["clean"][names == name]
        np.testing.assert_array_equal(one, other)


def test_evaluation_of_live_rain_is_the_same_each_time(make_config, root):
    config = make_config("pairs", eval_pairs=(f"rain:folder:{root}/rainy",))
    batches = list(pipeline.open_evaluation_data(config)["pairs"].batches())
    config.seed += 1
    assert_same(batches, list(pipeline.open_evaluation_data(config)["pairs"].batches()))
    assert all(np.any(batch["rainy"] != batch["clean"]) for batch in batches)


# Grain reads absl's flags; unparsed flags must not be an error.
@pytest.mark.slow  # processes take seconds to start
def test_worker_processes_give_the_batches_of_threads(mixed):
    threaded = take(mixed, 0, 6)
    mixed.num_workers = 2
    assert_same(take(mixed, 0, 6), threaded)
    assert_same(take(mixed, 3, 2, 1, 2), [halve(batch) for batch in threaded[3:5]])


@pytest.mark.slow
def test_worker_processes_read_on_after_the_first_signal(mixed):
    threaded = take(mixed, 0, 40)
    mixed.num_workers = 1
    batches = pipeline.open_training_data(mixed).batches(0)
    with contextlib.closing(batches):
        read = [next(batches)]
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGTERM)
        read += itertools.islice(batches, 39)
    assert_same(read, threaded)


def halve(batch):
    return {name: rows[4:] for name, rows in batch.items()}


def test_everything_that_workers_need_can_be_pickled(mixed):
    data = pipeline.open_training_data(mixed)
    next(data.batches(0))  # with what reading leaves behind
    copy = cloudpickle.loads(cloudpickle.dumps(data))
    assert_same(
        list(itertools.islice(copy.batches(2), 2)),
        list(itertools.islice(data.batches(2), 2)),
    )


def test_excluded_photographs_are_not_trained_on(make_config, root, tmp_path):
    file = tmp_path / "exclude.txt"
    file.write_text(f"{root}/rainy/1.png\n{root}/clean/0.png\n")
    config = make_config("couples", exclude=(str(file),))
    drawn = np.concatenate(names_of(config, 0, 5))
    assert {name[len(str(root)) :] for name in drawn} == {
        *(f"/rainy/{i}.png" for i in (0, 2, 3, 4)),
        *(f"/clean/{i}.png" for i in (1, 2)),
    }
    evaluated = pipeline.open_evaluation_data(config)["photographs"]
    assert len(evaluated) == 5  # is for training alone


def test_the_seed_changes_order_and_views(make_config):
    one, other = (make_config("clean", seed=seed) for seed in (1, 2))
    images = [take(config, 0, 1)[0]["image"] for config in (one, other)]
    assert np.any(images[0] != images[1])
    assert np.any(names_of(one, 0, 1)[0] != names_of(other, 0, 1)[0])


def test_a_photograph_has_a_different_view_each_time(make_config):
    config = make_config("clean", mirror=False, quarter_turns=False, crop_size=8)
    names = np.concatenate(names_of(config, 0, 3))
    images = np.concatenate([batch["image"] for batch in take(config, 0, 3)])
    views = {image.tobytes() for image in images[names == names[0]]}
    assert len(views) > 1


def test_without_augmentation_crops_are_windows_of_the_file(make_config, root):
    augmentations = ("mirror", "quarter_turns", "color_jitter", "resave_pairs")
    plain = dict.fromkeys(augmentations, False)
    config = make_config("pairs", **plain, crop_size=8)
    for batch, names in zip(take(config, 0, 2), names_of(config, 0, 2), strict=True):
        for name, crop in zip(names, batch["rainy"], strict=True):
            image = np.asarray(Image.open(name))
            windows = np.lib.stride_tricks.sliding_window_view(image, (8, 8, 3))
            assert np.any(np.all(windows[:, :, 0] == crop, axis=(2, 3, 4)))


def test_crop_sizes_switch_at_their_step_also_after_resuming(make_config):
    config = make_config(
        "couples", crop_sizes=((0, 8), (3, 16), (5, 24)), crop_margin=1
    )
    whole = take(config, 0, 7)
    sizes = [batch["image"].shape[1] for batch in whole]
    assert sizes == [10, 10, 10, 18, 18, 26, 26]
    for start in (2, 3, 4, 6):
        assert_same(take(config, start, 7 - start), whole[start:])
    assert_same(join([take(config, 2, 4, p, 4) for p in range(4)]), whole[2:6])


def test_mixed_crop_sizes_come_by_their_shares_also_after_resuming(make_config):
    config = make_config("pairs", crop_mix=((8, 0.75), (16, 0.25)), batch_size=1)
    data = pipeline.open_training_data(config)
    sizes = [data._crop_sizes.at(step, config.seed) for step in range(2000)]
    assert set(sizes) == {8, 16}
    assert np.mean(np.array(sizes) == 8) == pytest.approx(0.75, abs=0.04)
    whole = take(config, 0, 6)
    assert [batch["rainy"].shape[1] for batch in whole] == sizes[:6]
    assert_same(take(config, 2, 4), whole[2:])


def test_all_crops_of_a_step_have_one_size_on_all_processes(make_config):
    config = make_config("pairs", crop_mix=((8, 1), (16, 1)))
    whole = take(config, 0, 6)
    assert len({batch["rainy"].shape for batch in whole}) == 2
    assert_same(join([take(config, 0, 6, p, 4) for p in range(4)]), whole)


def test_names_are_those_of_the_rows_and_nothing_is_read(make_config, root, tmp_path):
    for field in ("rainy", "clean"):
        shutil.copytree(root / field, tmp_path / field)
    sources = {field: (f"folder:{tmp_path}/{field}",) for field in ("rainy", "clean")}
    data = pipeline.open_training_data(make_config("couples", **sources), 1, 2)
    unpaired = pipeline.open_training_data(make_config("unpaired", **sources))
    for field in ("rainy", "clean"):
        shutil.rmtree(tmp_path / field)
    names = data.names(2)
    assert len(names) == 8
    assert all("/rainy/" in name for name in names[0::2])
    assert all("/clean/" in name for name in names[1::2])
    assert len(unpaired.names(0)) == 8 and " and " in unpaired.names(0)[0]
    assert not data.faults


def test_an_epoch_is_a_pass_over_the_longer_listing(make_config):
    def steps(kind, batch_size):
        config = make_config(kind, batch_size=batch_size)
        return pipeline.open_training_data(config).epoch_steps

    assert steps("rainy", 2) == 3  # of 5 photographs
    assert steps("rainy", 100) == 1
    assert steps("couples", 4) == 3  # of 5 couples


def test_with_weights_an_epoch_has_as_many_elements_as_there_are_photographs(
    make_config, root
):
    config = make_config(
        "clean",
        clean=(f"folder:{root}/clean", f"folder:{root}/rainy"),
        clean_weights=(0.9, 0.1),
        batch_size=2,
    )
    data = pipeline.open_training_data(config)
    assert data.epoch_steps == 4  # of 3 + 5 photographs
    assert data.listing[0] == f"clean folder:{root}/clean share 0.9"


@pytest.mark.parametrize(
    ("kind", "sets"),
    [
        ("couples", {"photographs": 5, "pairs": 4}),
        ("clean", {"photographs": 3}),
        ("rainy", {"photographs": 5}),
        ("pairs", {"pairs": 4}),
        ("unpaired", {"photographs": 5}),
    ],
)
def test_evaluation_sets_of_each_kind_on_any_hosts(make_config, kind, sets):
    config = make_config(kind, crop_margin=2)
    data = pipeline.open_evaluation_data(config)
    shares = [pipeline.open_evaluation_data(config, p, 2) for p in range(2)]
    assert {name: len(found) for name, found in data.items()} == sets
    image_name = "rainy" if kind in TWO_SIDES else "image"
    for name, found in data.items():
        batches = list(found.batches())
        mask = np.concatenate([batch["mask"] for batch in batches])
        assert mask.sum() == ROWS[kind] * sets[name] and mask.dtype == np.float32
        assert np.all(np.diff(mask) <= 0)  # filling rows come last
        for batch in batches:
            assert all(len(value) == 4 for value in batch.values())
            assert batch[image_name].shape[1:] == (20, 20, 3)
        shown = [row.tobytes() for batch in batches for row in batch[image_name]]
        distinct = {row for row, is_real in zip(shown, mask, strict=True) if is_real}
        if (kind, name) != ("couples", "photographs"):  # which may come again
            assert len(distinct) == sum(mask)
        assert_same(batches, list(found.batches()))
        assert_same(batches, join([list(share[name].batches()) for share in shares]))


def test_evaluation_crops_are_centred_and_as_the_files_are(make_config, root):
    batch = next(pipeline.open_evaluation_data(make_config("pairs"))["pairs"].batches())
    for i, crop in enumerate(batch["clean"]):
        image = np.asarray(Image.open(root / f"pairs/target/{i}.png"))
        np.testing.assert_array_equal(crop, image[2:18, 7:23])


def test_couples_of_pairs_show_the_same_place(make_config, root):
    config = make_config("couples", eval_pairs=("sample/test",), crop_size=64)
    batch = next(pipeline.open_evaluation_data(config)["pairs"].batches())
    rainy, clean = batch["image"].astype(float).reshape(2, 2, -1)[0]
    assert np.corrcoef(rainy, clean)[0, 1] > 0.8


def test_num_eval_picks_evenly(make_config, root):
    def shown(**changes):
        config = make_config("rainy", **changes)
        data = pipeline.open_evaluation_data(config)["photographs"]
        return [
            row for batch in data.batches() for row in batch["image"][batch["mask"] > 0]
        ]

    whole = shown()
    np.testing.assert_array_equal(shown(num_eval=3), [whole[i] for i in (0, 1, 3)])
    config = make_config("rainy", num_eval=100)
    assert len(pipeline.open_evaluation_data(config)["photographs"]) == 5


def test_sets_without_sources_are_absent(make_config):
    def names(kind, **changes):
        return set(pipeline.open_evaluation_data(make_config(kind, **changes)))

    assert names("couples", eval_pairs=()) == {"photographs"}
    assert names("couples", eval_clean=()) == {"pairs"}
    assert names("rainy", eval_rainy=()) == set()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"dataset": "couple"}, "'couple'; choose from .*; did you mean 'couples'"),
        (
            {"dataset": ""},
            "config.dataset=''; choose from couples, clean, rainy, pairs",
        ),
        ({"batch_size": 3}, "config.batch_size=3 must be a multiple of 4: 2 processes"),
        ({"batch_size": 6}, "config.batch_size=6 must be a multiple of 4"),
        ({"batch_size": 0}, "config.batch_size=0 must be a multiple"),
        ({"rainy": ()}, "needs config.rainy, which is empty; set it to some of sample"),
        (
            {"clean_weights": (1.0, 2.0)},
            "config.clean_weights=.* but config.clean names",
        ),
        ({"exclude": ("none.txt",)}, "config.exclude names none.txt, which cannot"),
        (
            {"dataset": "pairs", "pairs": ("rain:sample",), "num_pairs": 3},
            "config.num_pairs=3 cannot limit rain:sample",
        ),
        ({"crop_size": 7}, "Crops of 7 pixels are too small; .* at least 8"),
        ({"crop_sizes": ((0, 4),)}, "Crops of 4 pixels are too small"),
        ({"crop_sizes": (0, 64)}, "must be pairs of a first step and a size"),
        ({"crop_sizes": ((0, "64"),)}, "a first step and a size, both integers"),
        ({"crop_sizes": ((0, 64), (9.5, 96))}, "must be pairs of a first step"),
        ({"crop_sizes": ((5, 64),)}, "must start at step 0"),
        ({"crop_sizes": ((0, 64), (9, 8), (9, 16))}, "further steps must increase"),
        ({"crop_mix": ((4, 1.0),)}, "Crops of 4 pixels are too small"),
        ({"crop_mix": ((64.5, 1.0),)}, "crop_mix=.* must be pairs of a size in pixels"),
        ({"crop_mix": ((64, 0.0),)}, "a positive share"),
        ({"crop_mix": ((64, float("inf")),)}, "a positive share"),
        ({"crop_mix": ((64, 1, 2),)}, "must be pairs of a size"),
        ({"crop_mix": (64, 96)}, "must be pairs of a size"),
        (
            {"crop_mix": ((64, 1.0),), "crop_sizes": ((0, 64),)},
            "leave one of them empty",
        ),
    ],
)
def test_an_invalid_config_is_rejected_before_any_work(
    make_config, monkeypatch, changes, fault
):
    config = make_config(**{"dataset": "couples", **changes})
    monkeypatch.setattr(pipeline, "open_listing", None)
    with pytest.raises(ValueError, match=fault):
        pipeline.open_training_data(config, 0, 2)


def test_evaluation_batches_that_do_not_divide_are_rejected(make_config):
    config = make_config("couples", eval_batch_size=6)
    with pytest.raises(ValueError, match="config.eval_batch_size=6 .* multiple of 4"):
        pipeline.open_evaluation_data(config, 0, 2)


def test_a_process_out_of_range_is_rejected(make_config):
    with pytest.raises(ValueError, match="process_index=2 is out of range"):
        pipeline.open_training_data(make_config("clean"), 2, 2)
