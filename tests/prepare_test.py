"""The command that prepares data sets, as a user runs it."""

import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.data.raw_trees import make_pair, save, write_tree
from ttl_jax import prepare
from ttl_jax.data.sets import published_sets, raw_preparation, rendered_preparation
from ttl_jax.data.sources import records, source_names

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder to run in; prepared sets go to its subfolder data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TTL_JAX_DATA_DIR", "data")
    return tmp_path


@pytest.fixture
def my_pairs():
    for i in range(4):
        for side, image in zip(("rainy", "clean"), make_pair(i), strict=True):
            save(pathlib.Path(f"raw/{side}/{i}.png"), image)
    return "pairs --name mine --source raw"


@pytest.fixture
def my_rain():
    for i in range(4):
        save(pathlib.Path(f"album/{i}.png"), make_pair(i)[1])
    return "rendered --name mine --source rain:folder:album --variants 3"


def run(command):
    return prepare.main(command.split())


def error_of(command, capsys):
    """Returns the message of a command that ends with status 2."""
    with pytest.raises(SystemExit) as raised:
        run(command)
    assert raised.value.code == 2
    return capsys.readouterr().err.split("error: ", 1)[1]


def visible(folder="data"):
    return sorted(name for name in os.listdir(folder) if name[0] != ".")


@pytest.mark.parametrize(
    ("fixture", "num_pairs", "reported"),
    [
        ("my_pairs", 4, "as expected in 4 pairs, unclear in 0, contradicted in 0"),
        ("my_rain", 12, "4 photographs in 3 variants"),
    ],
)
def test_a_set_is_prepared_once(fixture, num_pairs, reported, request, capsys):
    command = request.getfixturevalue(fixture)
    assert run(command) == 0
    out = capsys.readouterr().out
    assert f"train: {num_pairs} examples" in out and "tfds:mine/train" in out
    assert len(source_names.open_pairs("tfds:mine/train")) == num_pairs
    index = pathlib.Path("data/mine/1.0.0/index.json")
    assert reported in index.with_name("report.md").read_text()
    written = index.stat().st_mtime_ns
    assert run(command) == 0
    assert "mine is already prepared in data/mine/1.0.0" in capsys.readouterr().out
    assert index.stat().st_mtime_ns == written
    assert visible() == ["mine"]


def test_the_variable_for_another_data_folder_holds_in_any_folder(
    my_pairs, here, capsys
):
    run(f"{my_pairs} --data_dir elsewhere")
    assert visible("elsewhere") == ["mine"]
    assert f"TTL_JAX_DATA_DIR={here}/elsewhere\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fixture", "before", "after", "num_pairs"),
    [
        ("my_pairs", "from 8 files of", "not from 10 files of", 5),
        (
            "my_rain",
            "4 photographs in",
            "not from rain:folder:album, 5 photographs",
            15,
        ),
    ],
)
def test_a_changed_source_is_an_error_unless_overwritten(
    fixture, before, after, num_pairs, request, capsys
):
    command = request.getfixturevalue(fixture)
    run(command)
    rainy, clean = make_pair(9)
    for path, image in (("raw/rainy", rainy), ("raw/clean", clean), ("album", clean)):
        save(pathlib.Path(path, "9.png"), image)
    message = error_of(command, capsys)
    assert "was made from other files or with other flags" in message
    assert before in message and after in message
    assert "--overwrite replaces it" in message
    assert run(f"{command} --overwrite") == 0
    assert len(source_names.open_pairs("tfds:mine")) == num_pairs
    assert visible() == ["mine"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("--variants 2", "4 photographs in 2 variants of seed 0"),
        ("--seed 1", "4 photographs in 3 variants of seed 1"),
        ("--source additive:folder:album", "not from additive:folder:album, 4"),
        ("--source streaks:folder:raw on folder:album", "not from streaks:folder:raw"),
    ],
)
def test_other_rain_is_an_error_unless_overwritten(
    my_pairs, my_rain, changed, message, capsys
):
    run(my_rain)
    flag, _, value = changed.partition(" ")
    arguments = [*my_rain.split(), flag, value]  # the last one counts
    with pytest.raises(SystemExit):
        prepare.main(arguments)
    error = capsys.readouterr().err
    assert message in error and "--overwrite replaces it" in error
    assert prepare.main([*arguments, "--overwrite"]) == 0


def test_a_changed_list_of_pairs_is_an_error_unless_overwritten(here, capsys):
    write_tree(here / "raw", "spa")
    for i in range(2):
        for side, image in zip(("rain", "gt"), make_pair(i), strict=True):
            save(here / f"raw/real_test_1000/{side}/{i}.png", image)
    names = here / "raw/real_test_1000.txt"
    names.write_text("real_test_1000/rain/0.png real_test_1000/gt/0.png\n")
    run("spa --source raw")
    names.write_text("real_test_1000/rain/1.png real_test_1000/gt/1.png\n")
    assert "--overwrite replaces it" in error_of("spa --source raw", capsys)
    run("spa --source raw --overwrite")
    (pair,) = source_names.open_pairs("tfds:spa/test")
    np.testing.assert_array_equal(pair.load(), make_pair(1))


def test_records_of_another_version_are_an_error(my_pairs, capsys):
    run(my_pairs)
    os.rename("data/mine/1.0.0", "data/mine/0.9.0")
    assert "made by another version of ttl_jax" in error_of(my_pairs, capsys)
    run(f"{my_pairs} --overwrite")
    assert visible("data/mine") == ["1.0.0"]


def test_other_counts_than_the_published_ones_give_a_warning(here, capsys):
    write_tree(here / "raw", "rain800")
    assert run("rain800 --source raw") == 0
    out = capsys.readouterr().out
    assert "Warning: train has 2 examples, but 700 are published." in out
    assert "Warning: test has 1 examples, but 100 are published." in out
    report = pathlib.Path("data/rain800/1.0.0/report.md").read_text()
    assert "| train | 2 | 700 |" in report
    assert "- Terms: none stated" in report


def test_published_counts_give_no_warning(here, capsys, monkeypatch):
    write_tree(here / "raw", "mpid_rain_streak")
    counts = published_sets.SETS["mpid_rain_streak"].counts
    monkeypatch.setitem(counts, "test", 2)
    run("mpid_rain_streak --source raw")
    assert "Warning" not in capsys.readouterr().out


def test_everything_left_out_is_in_the_report(my_pairs, capsys):
    rainy, clean = make_pair(7)
    for i in range(12):
        save(pathlib.Path(f"raw/rainy/alone{i}.png"), rainy)
    save(pathlib.Path("raw/rainy/same.png"), clean)
    save(pathlib.Path("raw/clean/same.png"), clean)
    pathlib.Path("raw/rainy/0.png").write_bytes(b"no image")
    pathlib.Path("raw/notes.txt").write_text("no image")
    run(my_pairs)
    assert "Left out, 14 in all: " in capsys.readouterr().out
    report = pathlib.Path("data/mine/1.0.0/report.md").read_text()
    for i in range(12):
        assert f"- rainy/alone{i}.png has no partner in clean/\n" in report
    assert "- rainy/same.png equals clean/same.png, pixel for pixel\n" in report
    assert "- rainy/0.png cannot be read: it is not a PNG" in report
    assert "skipped: 1\n\n- notes.txt\n" in report
    index = records.read_index(pathlib.Path("data/mine/1.0.0"))
    assert len(index.excluded) == 14


def test_names_in_other_encodings_stay_readable(here, capsys):
    odd = os.fsdecode(b"raw/\xff.png")
    save(here / "raw/a.png", make_pair()[1])
    os.rename("raw/a.png", odd)
    pathlib.Path(os.fsdecode(b"raw/\xfe.png")).write_bytes(b"")
    assert run("photos --name mine --source raw") == 0
    assert "\N{REPLACEMENT CHARACTER}.png is empty" in capsys.readouterr().out
    (photograph,) = source_names.open_photographs("tfds:mine", "clean")
    assert photograph.name == "mine/train/\N{REPLACEMENT CHARACTER}.png"
    np.testing.assert_array_equal(photograph.load(), make_pair()[1])


@pytest.mark.parametrize(
    ("what", "source"), [("photos", "raw/clean"), ("pairs", "raw")]
)
def test_the_second_of_two_files_with_one_printable_name_is_left_out(
    here, capsys, what, source
):
    for side in ("rainy", "clean"):
        for i, name in enumerate((b"\xfe.png", b"\xff.png")):
            image = make_pair(i)[side == "clean"]
            save(here / "raw" / side / "a.png", image)
            os.rename(
                f"raw/{side}/a.png", os.fsdecode(b"raw/%s/%s" % (side.encode(), name))
            )
    assert run(f"{what} --name mine --source {source}") == 0
    assert "has the same printable name as " in capsys.readouterr().out
    (photograph,) = source_names.open_photographs("tfds:mine", "clean")
    np.testing.assert_array_equal(photograph.load(), make_pair(0)[1])
    with pytest.raises(ValueError, match="or rename files whose printable names are"):
        source_names.open_photographs("folder:raw/clean", "clean")


def test_exchanged_sides_are_rejected_unless_trusted(my_pairs, capsys):
    os.rename("raw/rainy", "raw/x")
    os.rename("raw/clean", "raw/rainy")
    os.rename("raw/x", "raw/clean")
    message = error_of(my_pairs, capsys)
    assert "4 of 4 pairs seem to have their sides exchanged" in message
    assert "raw/rainy/2.png (-" in message
    assert visible() == []
    assert run(f"{my_pairs} --trust_sides") == 0
    assert "contradicted in 4." in capsys.readouterr().out
    report = pathlib.Path("data/mine/1.0.0/report.md").read_text()
    assert "- contradicted, kept by --trust_sides: rainy/2.png (-" in report


def test_rainy_half_exchanges_the_halves(here, capsys):
    rainy, clean = make_pair()
    both = np.concatenate([clean, rainy], axis=1)
    save(here / "raw/DID-MDN-test/1.png", both)
    assert "--rainy_half right" in error_of("rain1200 --source raw", capsys)
    assert run("rain1200 --source raw --rainy_half right") == 0
    (pair,) = source_names.open_pairs("tfds:rain1200/test")
    np.testing.assert_array_equal(pair.load(), [rainy, clean])


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "name a set and its --source, a --protocol"),
        ("rain1200", "name a set and its --source"),
        ("rain12 --source raw", "Unknown set 'rain12'; known: rain1200, "),
        ("rain140 --source raw", "did you mean 'rain14000'?"),
        ("spa --source absent", "There is no folder absent;"),
        ("spa --source raw", "raw lacks the folders of spa. Expected:\n"),
        ("spa --source raw --name mine", "spa has a fixed name; --name is for"),
        ("pairs --source raw", "--name gives your own set its name"),
        ("pairs --source raw --name My-set", "got 'My-set'; use lowercase"),
        ("pairs --source raw --name spa", "got 'spa'; use lowercase"),
        ("spa --source raw --rainy_half left", "spa has no such files"),
        ("spa --source raw --variants 2", "spa does not use --variants; it uses"),
        (
            "photos --name a --source raw --output x --seed 5 --print --set a=b",
            "photos does not use --print, --output, --seed, --set; it uses --source,",
        ),
        ("--list --name a --trust_sides", "--list does not use --name, --trust_sides"),
        ("spa --list", "--list does not use SET; it uses --markdown"),
        ("--protocol test1 --markdown", "--protocol does not use --markdown"),
        ("photos --name a --source raw --data_dir raw/a.png", "cannot hold the output"),
        ("photos --source raw --name rendered", "got 'rendered'; use lowercase"),
        ("rendered --source rain:folder:raw", "--name gives your own set its name"),
        ("rendered --source raw --name mine", "such as rain:folder:"),
        (
            "rendered --source folder:raw --name mine",
            "renders no rain; expected one of",
        ),
        ("rendered --source rain:x --name mine --variants 0", "--variants is 0;"),
        ("rendered --source rain:x --name mine --seed -1", "--seed is -1;"),
        (
            "rendered --source rain:x --name mine --trust_sides --rainy_half left",
            "rendered does not use --rainy_half, --trust_sides; it uses --source,",
        ),
    ],
)
def test_mistakes_are_errors_before_anything_is_written(command, message, here, capsys):
    save(here / "raw/a.png", make_pair()[0])
    assert message in error_of(command, capsys)
    assert not os.path.exists("data")


def test_a_folder_with_nothing_usable_is_rejected(here, capsys):
    pathlib.Path("raw").mkdir()
    pathlib.Path("raw/a.png").write_bytes(b"")
    message = error_of("photos --name mine --source raw", capsys)
    assert "nothing usable for the split train: a.png is empty" in message
    assert visible() == []


def test_a_small_disk_is_an_error_before_writing(my_pairs, capsys, monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 10**3, 10**3)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    message = error_of(my_pairs, capsys)
    num_bytes = sum(path.stat().st_size for path in pathlib.Path("raw").rglob("*.png"))
    needed = f"{num_bytes / 1000:.1f}kB"
    assert f"mine needs about {needed} in data, which has 1.00kB left" in message
    assert visible() == []


def test_two_processes_do_not_prepare_one_set(my_pairs, capsys):
    pathlib.Path("data").mkdir()
    with open("data/.mine.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "being prepared in data by another process" in error_of(my_pairs, capsys)
    assert run(my_pairs) == 0


# Interruptions


@pytest.mark.parametrize(
    ("fixture", "module", "function", "num_pairs"),
    [
        ("my_pairs", raw_preparation, "_make", 4),
        ("my_rain", rendered_preparation, "_render_part", 12),
    ],
)
def test_an_interrupted_run_leaves_nothing_half_made(
    fixture, module, function, num_pairs, request, monkeypatch
):
    command = request.getfixturevalue(fixture)
    make, seen = getattr(module, function), []

    def interrupt(*args):
        seen.append(args)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return make(*args)

    monkeypatch.setattr(module, function, interrupt)
    with pytest.raises(SystemExit) as raised:
        run(command)
    assert raised.value.code == 130
    assert os.listdir("data") == [".mine.lock"]
    monkeypatch.setattr(module, function, make)
    assert run(command) == 0
    assert len(source_names.open_pairs("tfds:mine/train")) == num_pairs


KILLED = """
import os, signal, sys
from ttl_jax import prepare
from ttl_jax.data.sets import raw_preparation, record_writer
name, last_call, *command = sys.argv[1:]
module = raw_preparation if name == "_make" else record_writer
original, calls = getattr(module, name), []
def kill(*args):
    calls.append(args)
    if len(calls) == int(last_call):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args)
setattr(module, name, kill)
prepare.main(command)
"""


@pytest.mark.parametrize(("function", "call"), [("_make", 3), ("publish", 1)])
def test_after_a_kill_the_same_command_completes_the_set(
    my_pairs, function, call, here
):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, function, str(call), *my_pairs.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert os.listdir("data/.mine.incomplete")  # it was indeed in the middle
    assert visible() == []
    with pytest.raises(ValueError, match="holds no prepared set 'mine'"):
        source_names.open_pairs("tfds:mine/train")
    assert run(my_pairs) == 0
    assert sorted(os.listdir("data")) == [".mine.lock", "mine"]
    for i, pair in enumerate(source_names.open_pairs("tfds:mine/train")):
        np.testing.assert_array_equal(pair.load(), make_pair(i))


STOPPED = """
import os, signal, sys
from ttl_jax import prepare
signal_, *command = sys.argv[1:]
rename = os.rename
def stop(source, target):
    if str(target) == os.path.join("data", "mine") and "incomplete" in str(source):
        os.kill(os.getpid(), int(signal_))
    rename(source, target)
os.rename = stop
prepare.main(command)
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stop_while_a_set_is_replaced_loses_no_set(my_pairs, stop, capsys):
    run(my_pairs)
    shutil.copytree("raw", "others")
    pathlib.Path("others/rainy/0.png").unlink()
    replace = "pairs --name mine --source others --overwrite"
    stopped = subprocess.run(
        [sys.executable, "-c", STOPPED, str(int(stop)), *replace.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert stopped.returncode == (130 if stop == signal.SIGINT else -stop)
    if stop == signal.SIGINT:
        assert sorted(os.listdir("data")) == [".mine.lock", "mine"]
    assert run(my_pairs) == 0
    assert "already prepared" in capsys.readouterr().out
    assert sorted(os.listdir("data")) == [".mine.lock", "mine"]
    assert len(source_names.open_pairs("tfds:mine/train")) == 4
    assert run(replace) == 0
    assert sorted(os.listdir("data")) == [".mine.lock", "mine"]
    assert len(source_names.open_pairs("tfds:mine/train")) == 3


def test_records_that_cannot_be_written_are_reported_in_one_line(my_pairs):
    code = (
        "import resource, sys; from ttl_jax import prepare\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"  # bytes of a file
        "prepare.main(sys.argv[1:])"
    )
    failed = subprocess.run(
        [sys.executable, "-c", code, *my_pairs.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 2
    (line,) = failed.stderr.split("error: ", 1)[1].splitlines()
    assert line.startswith("Records cannot be written: ") and "File too large" in line
    assert os.listdir("data") == [".mine.lock"]


def test_a_file_that_changes_meanwhile_is_an_error(my_pairs, capsys, monkeypatch):
    make = raw_preparation._make

    def change(*args):
        save(pathlib.Path("raw/clean/3.png"), make_pair(8)[1])
        return make(*args)

    monkeypatch.setattr(raw_preparation, "_make", change)
    message = error_of(my_pairs, capsys)
    assert "raw/clean/3.png changed while the set was prepared" in message
    assert visible() == []


# The list


def test_the_list_can_be_a_table(capsys):
    run("--list --markdown")
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2 + len(published_sets.SETS)
    assert {row.count("|") for row in rows} == {6}


def test_the_list_may_be_piped_to_head():
    shell = f"{sys.executable} -m ttl_jax.prepare --list | head -1"
    command = ["bash", "-o", "pipefail", "-c", shell]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "rain1200\n", "")


def test_help_needs_no_library():
    code = (
        "import sys; from ttl_jax import prepare\n"
        "try: prepare.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'numpy', 'tensorflow_datasets'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert result.returncode == 0


def test_warnings_are_plain_lines():
    save(pathlib.Path("raw/a.jpg"), make_pair()[0])
    whole = pathlib.Path("raw/a.jpg").read_bytes()
    pathlib.Path("raw/a.jpg").write_bytes(whole.removesuffix(b"\xff\xd9"))
    command = "-m ttl_jax.prepare photos --name mine --source raw"
    result = subprocess.run(
        [sys.executable, *command.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "a.jpg: its end marker is missing" in result.stderr.splitlines()
