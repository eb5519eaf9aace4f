"""launch/timed_training.sh: short loans of a machine add up to one training."""

import os
import pathlib
import subprocess
import sys

import pytest

from ttl_jax.weights import packed_files

ROOT = pathlib.Path(__file__).parents[2]


def run_timed_training(*arguments, python=sys.executable):
    script = ROOT / "launch" / "timed_training.sh"
    return subprocess.run(
        ["bash", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHON": str(python), "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("5s", "a.safetensors", "w", "--config=derain"),
        ("5", "a.pth", "w", "--config=derain"),
        ("5", "a.safetensors", "w", "--config.seed=1", "--config=derain"),
    ],
)
def test_timed_training_names_its_usage(arguments):
    result = run_timed_training(*arguments)
    assert result.returncode == 2 and "usage: bash" in result.stderr


def test_a_loan_that_fails_leaves_the_weights_as_they_were(tmp_path):
    packed = tmp_path / "mine.safetensors"
    packed.write_bytes(b"weights")
    flags = ("--config=derain:smoke", "--config.num_steps=1")
    result = run_timed_training(60, packed, tmp_path / "runs", *flags)
    assert result.returncode != 0 and "stays as it was" in result.stderr
    assert packed.read_bytes() == b"weights"


# Stands for the interpreter of launch/timed_training.sh: training logs its seed and steps as
# the config has them, and packing writes as many bytes as there were trainings.
FAKE_TRAINING = """#!{python}
import pathlib, sys

log = pathlib.Path("{log}")
if sys.argv[2] == "ttl_jax.main":
    from ttl_jax import main

    main._parse_flags(sys.argv[2:])
    config = main._CONFIG.value
    log.open("a").write(f"{{config.seed}} {{config.num_steps}}\\n")
else:
    path = pathlib.Path(sys.argv[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(log.read_text().splitlines()) * b"w")
"""


def test_weights_that_cannot_be_written_are_reported_before_training(tmp_path):
    (tmp_path / "file").touch()
    packed, log = tmp_path / "file" / "mine.safetensors", tmp_path / "log.txt"
    python = tmp_path / "python"
    python.write_text(FAKE_TRAINING.format(python=sys.executable, log=log))
    python.chmod(0o755)
    flags = ("--config=derain:smoke",)
    result = run_timed_training(60, packed, tmp_path, *flags, python=python)
    assert result.returncode == 1 and "File exists" in result.stderr
    assert not log.exists()


def test_each_loan_has_a_seed_of_its_own_and_steps_until_its_time_is_over(tmp_path):
    log, python = tmp_path / "log.txt", tmp_path / "python"
    python.write_text(FAKE_TRAINING.format(python=sys.executable, log=log))
    python.chmod(0o755)

    def loan(folder, *flags):
        """Returns seed and steps of a loan in an empty folder, as on a new machine."""
        packed = tmp_path / "new" / "mine.safetensors"
        flags = ("--config=derain:smoke", *flags)
        result = run_timed_training(
            60, packed, tmp_path / folder, *flags, python=python
        )
        assert result.returncode == 0, result.stderr
        return [int(value) for value in log.read_text().split()[-2:]]

    loans = [loan(f"loan{i}") for i in range(4)]
    assert len({seed for seed, _ in loans}) == 4
    # At a millisecond per step, a day has 86.4 million.
    assert all(steps > 86_400_000 for _, steps in loans)
    assert loan("last", "--config.seed=7", "--config.num_steps=5") == [7, 5]


@pytest.mark.slow
def test_a_second_loan_continues_from_the_weights_of_the_first(tmp_path):
    packed = tmp_path / "mine.safetensors"
    flags = ("--config=derain:smoke", "--config.num_steps=2")
    digests = []
    for _ in range(2):
        result = run_timed_training(500, packed, tmp_path / "runs", *flags)
        assert result.returncode == 0, result.stderr
        digests.append(packed_files.read_digests(packed)["encoder"])
    _, metadata = packed_files.read(packed)
    assert metadata["origins"]["encoder"]["digest"] == digests[0] != digests[1]
