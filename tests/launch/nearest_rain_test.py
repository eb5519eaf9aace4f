"""launch/nearest_rain.py, with features that are known: the mean colour."""

import math
import sys
import types

import numpy as np
import pytest

from launch import nearest_rain as script
from tests import pictures
from ttl_jax import command_line
from ttl_jax.data.sources import source_names

_SIDE = 16


@pytest.fixture
def run(monkeypatch):
    """Runs the script with the mean colour of an image as its features."""
    network = types.SimpleNamespace(
        embed=lambda image: image.reshape(-1, 3).mean(0), description="mean colour"
    )
    monkeypatch.setattr(script.encoder.Encoder, "from_checkpoint", lambda path: network)

    def run(*flags):
        monkeypatch.setattr(sys, "argv", ["nearest_rain.py", *map(str, flags)])
        script.main()

    return run


def write_grey(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures.write(path, np.full((_SIDE, _SIDE, 3), level, np.uint8))


@pytest.fixture
def pairs(tmp_path):
    """Pairs of two folders, whose rainy sides have the level of their name."""
    for folder, levels in {"a": (10, 20, 30, 40), "b": (100, 150, 200, 250)}.items():
        for level in levels:
            write_grey(tmp_path / folder / "rainy" / f"{level}.png", level)
            write_grey(tmp_path / folder / "clean" / f"{level}.png", 0)
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture
def rainy(tmp_path):
    """Real photographs with the levels 12, 13, 14 and 160."""
    for level in (12, 13, 14, 160):
        write_grey(tmp_path / "real" / f"{level}.png", level)
    return tmp_path / "real"


def choose_slowly(distances, count):
    """Returns couples (pair, real), by sorting all couples in each round."""
    num_pairs, num_real = distances.shape
    taken, couples = set(), []
    while len(couples) < count:
        busy = set()
        everyone = [(p, r) for p in range(num_pairs) for r in range(num_real)]
        for pair, real in sorted(everyone, key=lambda couple: distances[couple]):
            if len(couples) < count and pair not in taken and real not in busy:
                taken.add(pair)
                busy.add(real)
                couples.append((pair, real))
    return couples


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (12, 5), (4, 9)])
def test_choosing_matches_a_sorted_list_of_all_couples(shape):
    distances = np.random.default_rng(sum(shape)).random(shape)
    for count in range(shape[0] + 1):
        chosen = script.choose(distances, count)
        assert [choice[:2] for choice in chosen] == choose_slowly(distances, count)
        assert [c.distance for c in chosen] == [distances[c[:2]] for c in chosen]


@pytest.mark.parametrize(
    ("share", "num_pairs", "count"),
    [(0.07, 100, 7), (0.55, 20, 11), (0.1, 11, 2), (0.001, 8, 1), (1, 8, 8)],
)
def test_a_share_is_rounded_up_once(share, num_pairs, count):
    assert math.ceil(command_line.share(str(share)) * num_pairs) == count


def test_each_real_photograph_chooses_once_before_any_chooses_twice():
    # All pairs are nearest to the first real photograph.
    distances = np.stack([np.arange(6.0), np.arange(6.0) + 10, np.arange(6.0) + 20], 1)
    real = [choice.real for choice in script.choose(distances, 6)]
    assert sorted(real[:3]) == sorted(real[3:]) == [0, 1, 2]


def test_the_selection_holds_the_nearest_pairs(run, pairs, rainy, tmp_path):
    output = tmp_path / "made" / "nearest.txt"
    run("--pairs", *pairs, "--rainy", rainy, "--share", 0.5, "--output", output)
    chosen = source_names.open_pairs(f"selection:{output}")
    # 12, 13 and 14 choose three of a; 160 chooses 150.
    levels = [int(pair.rainy.load()[0, 0, 0]) for pair in chosen]
    assert sorted(levels) == [10, 20, 30, 150]
    assert all(pair.clean.load().max() == 0 for pair in chosen)


def test_the_comments_count_the_pairs_of_each_source(
    run, pairs, rainy, tmp_path, capsys
):
    output = tmp_path / "nearest.txt"
    run("--pairs", *pairs, "--rainy", rainy, "--share", 0.5, "--output", output)
    printed = capsys.readouterr().out
    for line in (f"{pairs[0]}: 3 of 4, distances", f"{pairs[1]}: 1 of 4, distances"):
        assert line in printed
        assert f"# {line}" in output.read_text()
    assert f"nearest to {rainy}, by the mean colour" in printed


def test_distances_are_in_deviations_of_the_real_photographs(
    run, pairs, tmp_path, capsys
):
    for level in (100, 140):  # the deviation is 20 in each of three channels
        write_grey(tmp_path / "two" / f"{level}.png", level)
    output = tmp_path / "nearest.txt"
    flags = ("--rainy", tmp_path / "two", "--share", 0.5, "--output", output)
    run("--pairs", pairs[1], *flags)
    # 100 lies on 100; 140 and 150 differ by 10.
    assert f"distances 0.00 to {np.sqrt(3) / 2:.2f}" in capsys.readouterr().out


def test_live_rain_is_refused(run, pairs, rainy, tmp_path):
    live = f"rain:folder:{pairs[0] / 'clean'}"
    with pytest.raises(SystemExit, match="prepare rendered"):
        run("--pairs", live, "--rainy", rainy, "--output", tmp_path / "x.txt")
    assert not (tmp_path / "x.txt").exists()


def test_a_selection_is_refused_since_none_can_select_from_it(
    run, pairs, rainy, tmp_path
):
    chosen, output = tmp_path / "chosen.txt", tmp_path / "x.txt"
    run("--pairs", pairs[0], "--rainy", rainy, "--share", 0.5, "--output", chosen)
    with pytest.raises(SystemExit, match="name the sources of that file instead"):
        run("--pairs", f"selection:{chosen}", "--rainy", rainy, "--output", output)
    assert not output.exists()


@pytest.mark.parametrize("share", ["0", "-1", "1.5", "nan", "1/0", "half"])
def test_an_invalid_share_is_refused(run, pairs, rainy, tmp_path, share, capsys):
    with pytest.raises(SystemExit):
        run(
            *("--pairs", pairs[0], "--rainy", rainy),
            *("--share", share, "--output", tmp_path / "x.txt"),
        )
    line = capsys.readouterr().err
    assert f"--share: expected more than 0, at most 1, not '{share}'" in line


def test_the_shipped_recognition_network_selects(pairs, rainy, tmp_path, monkeypatch):
    output = tmp_path / "nearest.txt"
    flags = f"--pairs {pairs[0]} --rainy {rainy} --share 0.5 --output {output}"
    monkeypatch.setattr(sys, "argv", ["nearest_rain.py", *flags.split()])
    script.main()
    assert "by the encoder of shipped at step" in output.read_text()
    assert len(source_names.open_pairs(f"selection:{output}")) == 2
