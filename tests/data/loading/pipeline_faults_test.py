"""Files that disappear or are damaged after the start."""

import itertools
import multiprocessing

import numpy as np
import pytest
from absl import logging
from PIL import Image

from tests.data.batches import assert_same, join, names_of, take
from ttl_jax.data.loading import pipeline, transforms


@pytest.fixture(autouse=True)
def logs_reach_pytest(monkeypatch):
    monkeypatch.setattr(logging.get_absl_logger(), "propagate", True)


def test_a_file_that_vanishes_or_breaks_is_replaced(make_config, fragile, caplog):
    config = make_config("clean", clean=(f"folder:{fragile}",), color_jitter=False)
    config.num_threads = 0  # whose threads would go on reading
    before, drawn = take(config, 0, 4), names_of(config, 0, 4)
    config.num_threads = 4
    data = pipeline.open_training_data(config)
    (fragile / "1.png").unlink()
    (fragile / "3.png").write_bytes(b"no picture")
    after = list(itertools.islice(data.batches(0), 4))
    broken = [f"{fragile}/{i}.png" for i in (1, 3)]
    for old, new, names in zip(before, after, drawn, strict=True):
        gone = np.isin(names, broken)
        np.testing.assert_array_equal(new["replaced"], gone.astype(np.float32))
        np.testing.assert_array_equal(old["image"][~gone], new["image"][~gone])
        reds = new["image"][:, 0, 0, 0] // 50  # the number of the photograph
        assert set(reds) <= {0, 2, 4}
        assert [int(name[-5]) for name in names[~gone]] == list(reds[~gone])
    assert sum(np.sum(batch["replaced"]) for batch in after) > 5
    assert sorted(fault.split(" ")[0] for fault in data.faults) == broken
    logged = [record.getMessage() for record in caplog.records]
    assert sorted(line.split(": ", 1)[1] for line in logged) == sorted(data.faults)


def test_a_pair_whose_sides_differ_in_size_since_the_start_is_replaced(
    make_config, tmp_path
):
    for side in ("rainy", "clean"):
        (tmp_path / side).mkdir()
        for i in range(3):
            Image.new("RGB", (20, 20)).save(tmp_path / side / f"{i}.png")
    data = pipeline.open_training_data(
        make_config("pairs", pairs=(f"folder:{tmp_path}",))
    )
    Image.new("RGB", (40, 30)).save(tmp_path / "clean" / "1.png")
    batch = next(data.batches(0))
    assert batch["replaced"].any() and not batch["replaced"].all()
    assert all("1.png no longer has the size of" in fault for fault in data.faults)


@pytest.mark.parametrize("kind", ["clean", "couples"])
def test_replacements_are_the_same_on_any_number_of_hosts_and_after_resuming(
    make_config, fragile, kind
):
    config = make_config(kind, clean=(f"folder:{fragile}",))

    def open_broken(*process):
        return pipeline.open_training_data(config, *process)

    opened = open_broken(), [open_broken(p, 2) for p in range(2)]
    for i in (0, 2):
        (fragile / f"{i}.png").unlink()
    whole = list(itertools.islice(opened[0].batches(0), 4))
    shares = [list(itertools.islice(share.batches(1), 3)) for share in opened[1]]
    assert_same(join(shares), whole[1:])
    replaced = np.concatenate([batch["replaced"] for batch in whole])
    assert 0 < replaced.sum() < len(replaced)
    if kind == "couples":  # both go
        np.testing.assert_array_equal(replaced[0::2], replaced[1::2])


def test_when_nothing_can_be_read_the_files_are_named(make_config, fragile):
    data = pipeline.open_training_data(
        make_config("clean", clean=(f"folder:{fragile}",))
    )
    for file in fragile.iterdir():
        file.unlink()
    with pytest.raises(
        ValueError, match="10 photographs in succession can no longer be read"
    ):
        next(data.batches(0))


@pytest.mark.slow  # processes take seconds to start
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_killed_worker_is_an_error_that_names_its_exit_code(make_config, num_workers):
    config = make_config("clean", num_workers=num_workers, prefetch=2)
    batches = pipeline.open_training_data(config).batches(0)
    next(batches)
    multiprocessing.active_children()[0].kill()
    with pytest.raises(ChildProcessError, match="ended with exit code -9"):
        list(itertools.islice(batches, 50))


def test_evaluation_goes_on_without_what_vanished_and_names_it(
    make_config, fragile, caplog
):
    config = make_config("clean", eval_clean=(f"folder:{fragile}",), eval_batch_size=4)
    data = pipeline.open_evaluation_data(config)["photographs"]
    (fragile / "2.png").unlink()
    first, second = data.batches()
    np.testing.assert_array_equal(first["mask"], np.float32([1, 1, 0, 1]))
    np.testing.assert_array_equal(second["mask"], np.float32([1, 0, 0, 0]))
    assert "2.png cannot be read" in caplog.text
    reds = [*first["image"][:, 0, 0, 0], *second["image"][:, 0, 0, 0]]
    assert not [red for red in reds if red // 50 == 2]


def test_an_evaluation_of_nothing_is_an_error(make_config, fragile):
    config = make_config("clean", eval_clean=(f"folder:{fragile}",))
    data = pipeline.open_evaluation_data(config)["photographs"]
    for file in fragile.iterdir():
        file.unlink()
    fault = "None of the 5 images .* any longer: .*/0.png cannot be read.* Restore the"
    with pytest.raises(ValueError, match=fault) as caught:
        next(data.batches())
    assert all(f"{fragile}/{i}.png" in str(caught.value) for i in range(5))


def test_other_errors_than_those_of_files_are_raised(make_config, monkeypatch):
    data = pipeline.open_training_data(make_config("clean"))
    monkeypatch.setattr(transforms.View, "crop", None)
    with pytest.raises(TypeError):
        next(data.batches(0))
