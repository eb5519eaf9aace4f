"""Damaged and hostile checkpoints are named and never executed; runs fall back."""

import builtins
import json
import pathlib
import pickle
import resource
import shutil
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore

from tests import mutations
from tests.training import metadata, toy_stage
from tests.training.loop_test import all_arrays
from ttl_jax.training.run import fall_back
from ttl_jax.weights import checkpoint, saved_runs, trained

STEP = f"{saved_runs.FOLDER}/2"
WEIGHTS = {
    "encoder": {
        "kernel": np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32),
        "bias": np.arange(7, dtype=np.float32),
    }
}
ITEMS = {"params": WEIGHTS, "progress": {"step": np.int32(2), "mu": WEIGHTS}}


def save(run_dir, *steps, **told):
    saver = checkpoint.Checkpointer(run_dir, keep=5)
    for step in steps:
        saver.save(step, ITEMS, metadata.make(**told))
    saver.close()


def restore(run_dir, step=2):
    """Reads a whole step as training does."""
    reader = checkpoint.Checkpointer(run_dir, keep=5)
    try:
        return reader.restore(step, jax.tree.map(jnp.asarray, ITEMS))
    finally:
        reader.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A run with the steps 1 and 2."""
    run_dir = tmp_path_factory.mktemp("sound") / "run"
    save(run_dir, 1, 2)
    return run_dir


@pytest.fixture
def run(sound, tmp_path):
    """A copy of it to damage."""
    return pathlib.Path(shutil.copytree(sound, tmp_path / "run"))


def parts(run_dir):
    """The files of step 2, the same ones in every process that writes it."""
    files = sorted(path for path in (run_dir / STEP).rglob("*") if path.is_file())
    return [path for path in files if path.name != "commit_success.txt"]


def is_refused_or_exact(read, run_dir):
    """Returns whether a damaged step is rejected; if it is read, it must be unchanged."""
    try:
        found = read()
    except saved_runs.CheckpointError as error:
        message = str(error)
        assert message.startswith(f"{run_dir / STEP} cannot be read: ")
        assert f"The previous step is {run_dir / saved_runs.FOLDER / '1'}" in message
        assert "--fallback" in message and "\n" not in message
        return True
    jax.tree.map(np.testing.assert_array_equal, found, WEIGHTS)
    return False


DAMAGES = {
    "gone": lambda data, seed: None,
    "empty": lambda data, seed: b"",
    "cut": lambda data, seed: data[: len(data) // 2],
    "list": lambda data, seed: b"[]",
    "flipped": lambda data, seed: mutations.flip_bit(data, seed),
    "damaged": mutations.damage,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_step_with_a_damaged_file_is_rejected_by_name_or_read_exactly(name, run):
    num_refused = 0
    for i, path in enumerate(parts(run)):
        data = path.read_bytes()
        damaged = DAMAGES[name](data, i)
        path.unlink() if damaged is None else path.write_bytes(damaged)
        num_refused += is_refused_or_exact(lambda: trained.load(run)[0], run)
        path.write_bytes(data)
    assert num_refused >= 4  # much of what Orbax writes is there twice, or never read


def test_training_rejects_a_damaged_step_like_other_readers(run):
    num_refused = 0
    for path in parts(run):
        data = path.read_bytes()
        if path.parent.name == "d" or path.name == "_METADATA":
            path.write_bytes(data[: len(data) // 2])
            num_refused += is_refused_or_exact(lambda: restore(run)["params"], run)
            path.write_bytes(data)
    assert num_refused


def test_a_flipped_bit_of_the_weights_is_found(run):
    # Orbax compresses without a checksum.
    files = [path for path in parts(run) if "/params/" in str(path)]
    largest = max(files, key=lambda path: path.stat().st_size)
    data, found = largest.read_bytes(), 0
    for seed in range(12):
        largest.write_bytes(mutations.flip_bit(data, seed))
        found += is_refused_or_exact(lambda: trained.load(run)[0], run)
    assert found > 6


@pytest.mark.parametrize("item", ["params", "metadata"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_step_without_an_item_says_which(item, replaced, run):
    shutil.rmtree(run / STEP / item)
    if replaced:
        (run / STEP / item).write_text("a file")
    with pytest.raises(saved_runs.CheckpointError, match=f"it lacks its {item}"):
        trained.load(run)


def test_a_step_that_is_a_file_is_reported_as_damaged(run):
    shutil.rmtree(run / STEP)
    (run / STEP).write_text("a file")
    with pytest.raises(saved_runs.CheckpointError, match="checkpoints/2 cannot be"):
        trained.load(run)


def test_leftovers_of_a_kill_are_skipped_and_removed_on_resume(run):
    partial = (run / STEP).rename(run / f"{STEP}.orbax-checkpoint-tmp")
    assert trained.load(run)[1]["step"] == 1
    assert partial.exists()
    restore(run, 1)
    assert not partial.exists()


def test_if_the_only_step_is_damaged_the_message_says_to_train_again(run):
    shutil.rmtree(run / saved_runs.FOLDER / "1")
    shutil.rmtree(run / STEP / "params")
    for read in (trained.load, saved_runs.set_aside_damaged):
        with pytest.raises(saved_runs.CheckpointError, match="remove .*run and train"):
            read(run)
    assert saved_runs.saved_steps(run) == [2]


def test_if_later_steps_are_sound_the_message_names_one_and_removes_nothing(run):
    first = run / saved_runs.FOLDER / "1"
    shutil.rmtree(first / "params")
    with pytest.raises(saved_runs.CheckpointError) as caught:
        trained.load(first)
    assert f"A later step is {run / STEP}: name it instead." in str(caught.value)
    assert "remove" not in str(caught.value)


def test_if_all_steps_are_damaged_the_message_says_to_train_again(run):
    for step in ("1", "2"):
        shutil.rmtree(run / saved_runs.FOLDER / step / "params")
    with pytest.raises(saved_runs.CheckpointError, match="remove .*run and train"):
        saved_runs.set_aside_damaged(run)
    assert saved_runs.saved_steps(run) == [1, 2]


@pytest.mark.parametrize(
    "told",
    [
        {"config": 5},
        {"config": {}},
        {"modules": {"encoder": "make_encoder"}},
        {"modules": {"encoder": {"width": 8}}},
        {"origins": {"encoder": {"run": "recog"}}},
        {"ema": "yes"},
        {"evaluation": {"pairs/psnr": "high"}},
        {"best": {"step": "last"}},
        {"checksums": []},
        {"evaluated_step": "last"},
    ],
)
def test_malformed_metadata_is_rejected(told, run):
    path = run / STEP / "metadata" / "metadata"
    path.write_text(json.dumps(metadata.make(**told)))
    with pytest.raises(saved_runs.CheckpointError, match="missing or malformed"):
        trained.load(run)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", "[" * 100_000, '{"ema": true}', "\0" * 50]
)
def test_metadata_that_is_not_json_is_rejected(text, run):
    (run / STEP / "metadata" / "metadata").write_text(text)
    with pytest.raises(saved_runs.CheckpointError, match="metadata"):
        trained.load(run)


def test_arrays_that_claim_more_than_their_files_hold_are_not_read(run):
    store = tensorstore.KvStore.open(
        {"driver": "ocdbt", "base": f"file://{run / STEP / 'params'}/"}
    ).result()
    form = json.loads(store["encoder.kernel/.zarray"])
    form["shape"] = form["chunks"] = [2**20, 2**20]
    store["encoder.kernel/.zarray"] = json.dumps(form).encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(saved_runs.CheckpointError, match="claim 4,398,0.* bytes, but"):
        trained.load(run)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 100_000  # kilobytes


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"width": "wide"}, "cannot be built from its description"),
        ({"wdith": 8}, "cannot be built from its description"),
        # 4 TB of weights, of which no byte is allocated.
        ({"width": 2**20, "num_blocks": 1}, "wanted .*1048576"),
        # Hours to build.
        ({"num_blocks": 10**9}, "needs 1000000000 parts, but only 2 arrays"),
        ({"pools": [8] * 10**6}, "needs 1000000 parts, but only 2 arrays"),
    ],
)
def test_a_network_that_cannot_be_that_of_the_weights_is_rejected(
    arguments, fault, tmp_path
):
    described = {"factory": "make_encoder", **arguments}
    save(tmp_path, 2, modules={"encoder": described})
    with pytest.raises(ValueError, match=fault):
        trained.rebuild(tmp_path, {"encoder": "make_encoder"}, purpose="a test")


class _Malicious:
    """Unpickled, it writes a file."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return builtins.open, (str(self._path), "w")


def test_reading_unpickles_nothing(run, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("something is unpickled")

    for module in ("pickle", "_pickle", "cloudpickle", "numpy"):
        for name in ("load", "loads", "Unpickler"):
            if hasattr(sys.modules.get(module), name):
                monkeypatch.setattr(sys.modules[module], name, refuse)
    with pytest.raises(AssertionError, match="unpickled"):
        pickle.loads(b"")
    jax.tree.map(np.testing.assert_array_equal, restore(run), ITEMS)
    assert not is_refused_or_exact(lambda: trained.load(run)[0], run)
    saved_runs.set_aside_damaged(run)


def test_a_pickle_in_a_step_does_nothing(run, tmp_path):
    trace = tmp_path / "obeyed"
    malicious = pickle.dumps(_Malicious(trace))
    folders = [path for path in (run / STEP).rglob("*") if path.is_dir()]
    for folder in (run / STEP, *folders):
        for name in ("checkpoint", "state.pkl", "data.npy", "arrays.msgpack"):
            (folder / name).write_bytes(malicious)
    is_refused_or_exact(lambda: trained.load(run)[0], run)
    for path in parts(run):
        data = path.read_bytes()
        path.write_bytes(malicious)
        is_refused_or_exact(lambda: trained.load(run)[0], run)
        path.write_bytes(data)
    assert not trace.exists()
    pickle.loads(malicious).close()
    assert trace.exists()  # so it would have


# Going on


def test_the_last_steps_that_are_damaged_are_set_aside(run):
    save(run, 5, 7)
    shutil.rmtree(run / saved_runs.FOLDER / "5" / "progress")
    (run / saved_runs.FOLDER / "7" / "params" / "_METADATA").write_text("{")
    lines = saved_runs.set_aside_damaged(run)
    assert ["checkpoints/7 cannot" in lines[0], "5 cannot" in lines[1]] == [True] * 2
    assert lines[1].endswith(f"it is now {run / saved_runs.FOLDER / '5.damaged1'}")
    assert saved_runs.saved_steps(run) == [1, 2]
    assert not saved_runs.set_aside_damaged(run)
    save(run, 5)
    shutil.rmtree(run / saved_runs.FOLDER / "5" / "progress")
    assert "5.damaged2" in saved_runs.set_aside_damaged(run)[0]


def test_a_run_goes_on_from_the_step_before_a_damaged_one(photographs, tmp_path):
    config = toy_stage.get_config(
        photographs, schedule="constant", checkpoint_every=2, num_steps=4
    )
    for name in ("damaged", "undisturbed"):
        toy_stage.train(config, tmp_path / name)
    run_dir = tmp_path / "damaged" / "toy"
    assert saved_runs.saved_steps(run_dir) == [2, 4]
    for path in (run_dir / saved_runs.FOLDER / "4" / "progress").rglob("d/*"):
        path.write_bytes(b"")
    config.num_steps = 6
    with pytest.raises(saved_runs.CheckpointError, match="toy/checkpoints/4 cannot"):
        toy_stage.train(config, tmp_path / "damaged")
    fall_back(tmp_path / "damaged" / "toy")
    assert saved_runs.saved_steps(run_dir) == [2]
    for name in ("damaged", "undisturbed"):
        toy_stage.train(config, tmp_path / name)
    ours, theirs = (
        all_arrays(tmp_path / name / "toy") for name in ("damaged", "undisturbed")
    )
    assert ours[0] == theirs[0] == 6
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


TWO_PROCESSES = """
import pathlib, sys
import jax
number, port, run_dir = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, number)
from ttl_jax.training.run import fall_back
from ttl_jax.weights import saved_runs, trained
fall_back(run_dir)
print(saved_runs.saved_steps(run_dir), trained.load(run_dir)[1]["step"])
"""


def test_of_two_processes_one_sets_aside_and_the_other_waits(run):
    (run / STEP / "params" / "_METADATA").write_text("{")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, str(number), str(port), str(run)],
            cwd=pathlib.Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for number in range(2)
    ]
    try:
        printed = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [text.splitlines()[-1] for text in printed] == ["[1] 1", "[1] 1"]


# A full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_on_a_full_disk_the_last_step_is_kept_and_the_run_resumes_later(
    photographs, small_disk, tmp_path
):
    config = toy_stage.get_config(
        photographs, schedule="constant", checkpoint_every=2, num_steps=2
    )
    toy_stage.train(config, small_disk)
    before = all_arrays(small_disk / "toy")
    config.num_steps = 6
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 40_000))
    with pytest.raises(OSError, match="No space left on device") as caught:
        toy_stage.train(config, small_disk)
    assert str(small_disk / "toy") in str(caught.value)
    found = all_arrays(small_disk / "toy")
    jax.tree.map(np.testing.assert_array_equal, found, before)
    ballast.unlink()
    for workdir in (small_disk, tmp_path / "undisturbed"):
        toy_stage.train(config, workdir)
    ours, theirs = (
        all_arrays(workdir / "toy")
        for workdir in (small_disk, tmp_path / "undisturbed")
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_step_that_cannot_be_written_is_reported_on_one_line(run, monkeypatch):
    saver = checkpoint.Checkpointer(run, keep=5)
    partial = run / saved_runs.FOLDER / "9.orbax-checkpoint-tmp"

    def fail(*args, **kwargs):
        partial.mkdir()
        raise ValueError("RESOURCE_EXHAUSTED: full [os_error_code='28']\n{...}")

    with monkeypatch.context() as context:
        context.setattr(saver._manager, "save", fail)
        with pytest.raises(OSError, match="could not be written") as caught:
            saver.save(9, ITEMS, metadata.make())
    saver.close()
    assert str(caught.value) == (
        f"{run / saved_runs.FOLDER} could not be written to: RESOURCE_EXHAUSTED: full. "
        "Step 2 is kept. When there is space and permission to write, the same command "
        "resumes."
    )
    assert not partial.exists()
