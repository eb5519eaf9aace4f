"""The benchmarks and their command."""

import importlib
import inspect
import itertools
import json

import jax
import numpy as np
import pytest
from flax import nnx

from configs import derain
from tests.inference import tiny_networks
from ttl_jax import benchmark
from ttl_jax.benchmarks import input as input_benchmark
from ttl_jax.benchmarks import (
    local_sums,
    restore,
    scaling,
    timing,
    updates,
    window_sizes,
    yardstick,
)
from ttl_jax.data.files import encoding
from ttl_jax.models import complexity
from ttl_jax.stages.stage import make_stage
from ttl_jax.training import sharding


@pytest.fixture
def data(photographs):
    return {"PNG": {"clean": f"folder:{photographs}", "pairs": f"folder:{photographs}"}}


def test_rates_of_readers_are_relative_to_the_loop_on_the_same_files(data, monkeypatch):
    numbers = itertools.count(2)
    monkeypatch.setattr(
        input_benchmark, "_rate", lambda read, seconds: read() * next(numbers)
    )
    rates = input_benchmark.measure_crops(data, 16, [1, 2], rounds=1, seconds=0.0)
    cases = [(rate["task"], rate["reader"], rate["threads"]) for rate in rates]
    read = [("Pillow loop", 1), ("files", 1), ("files", 2), ("cache", 1), ("cache", 2)]
    rain = [("live rain", 1), ("live rain", 2)]
    assert cases == [
        *[("recon", *reader) for reader in read],
        *[("derain", *reader) for reader in read + rain],
    ]
    crops = 8  # of a batch
    assert [rate["crops_per_second"] / crops for rate in rates] == [*range(2, 14)]
    assert [rate["over_loop"] for rate in rates] == pytest.approx(
        [i / 2 for i in range(2, 7)] + [i / 7 for i in range(7, 14)]
    )


def test_measurements_alternate_and_the_median_is_returned():
    turns = []
    values = {"a": iter([5.0, 1.0, 9.0]), "b": iter([2.0, 2.0, 8.0])}

    def measure(case):
        turns.append(case)
        return next(values[case])

    medians = timing.take_turns({("a",): "a", ("b",): "b"}, 3, measure)
    assert turns == ["a", "b"] * 3
    assert medians == {("a",): 5.0, ("b",): 2.0}


def test_figures_that_are_not_finite_are_null_in_json(tmp_path):
    rows = [{"name": "a", "ms": float("nan"), "ratio": np.inf, "count": 3, "s": 0.5}]
    text = timing.report({"t": timing.Table("T", rows)}, tmp_path, "t.json")
    assert "| a | nan | inf | 3 | 0.5 |" in text
    (row,) = json.loads((tmp_path / "t.json").read_text())["t"]
    assert row == {"name": "a", "ms": None, "ratio": None, "count": 3, "s": 0.5}


@pytest.mark.parametrize(
    "command",
    [
        "input",
        "step",
        "restore",
        "sums",
        "windows --photographs x",
        "video",
        "peers",
        "scaling",
    ],
)
def test_the_flags_of_a_command_are_the_arguments_of_its_run(command):
    flags = vars(benchmark._make_parser().parse_args(command.split()))
    module = importlib.import_module(f"ttl_jax.benchmarks.{flags.pop('module')}")
    assert flags.keys() == inspect.signature(module.run).parameters.keys()


@pytest.mark.slow
def test_the_command_prints_tables_and_writes_them_as_json(data, tmp_path, capsys):
    sources = [f"--{field}={source}" for field, source in data["PNG"].items()]
    flags = ["--preset=smoke", "--crop_size=32", "--rounds=1", "--seconds=0.1"]
    flags += ["--batch_size=4", "--dtype=bfloat16"]
    output = tmp_path / "speed"
    assert benchmark.main(["input", *sources, *flags, f"--output={output}"]) == 0
    printed = capsys.readouterr().out
    assert "| recon | given | cache | 4 |" in printed
    figures = json.loads((output / input_benchmark.TABLES).read_text())
    assert len(figures["crops"]) == 7 + 10
    for row in figures["steps"]:
        assert row["ratio"] == pytest.approx(row["fed"] / row["resident"])
        assert 0 < row["host"] == pytest.approx(row["host_share"] * row["resident"])


def test_the_yardstick_has_ten_billion_multiply_adds():
    stack = yardstick.PlainStack(rngs=nnx.Rngs(0))
    image = jax.ShapeDtypeStruct((1, yardstick.SIDE, yardstick.SIDE, 3), "float32")
    # 3x3 kernels: 3 to 64 channels, four times 64 to 64, 64 to 3.
    expected = yardstick.SIDE**2 * 9 * (3 * 64 + 4 * 64 * 64 + 64 * 3)
    assert complexity.multiply_adds(stack, image) == expected
    assert expected == pytest.approx(10e9, rel=0.02)


def test_restoring_is_measured_at_every_size(tmp_path, capsys, monkeypatch):
    # Time as the pixels to the power of 1.5.
    def take_turns(cases, rounds):
        return {case: (np.size(run()) / 1000) ** 1.5 for case, run in cases.items()}

    monkeypatch.setattr(restore.timing, "take_turns", take_turns)
    monkeypatch.setattr(restore.yardstick, "SIDE", 128)
    command = (
        "restore --presets smoke --sides 64 128 --rounds 1 --batch_sizes 2 4 --output"
    )
    assert benchmark.main([*command.split(), str(tmp_path)]) == 0
    figures = json.loads((tmp_path / restore.TABLES).read_text())
    small, large = figures["latencies"]
    assert figures["growth"] == [{"preset": "smoke", "exponent": pytest.approx(1.5)}]
    assert large["ms"] == pytest.approx(1000 * (128 * 128 * 3 / 1000) ** 1.5)
    assert large["over_yardstick"] == pytest.approx(1)
    # A quarter of the pixels takes an eighth of the time; the yardstick takes a quarter.
    assert small["over_yardstick"] == pytest.approx(1 / 2)
    assert large["floor_ms"] / small["floor_ms"] == pytest.approx(4)
    assert large["gmacs"] / small["gmacs"] == pytest.approx(4, rel=0.05)
    assert small["windows"] == large["windows"] == 1
    assert large["memory_mib"] > small["memory_mib"] > 0
    assert "| smoke | 128 |" in capsys.readouterr().out
    batches = {(row["side"], row["batch_size"]): row for row in figures["batches"]}
    assert list(batches) == [(64, 2), (64, 4), (128, 2), (128, 4)]
    for (side, _), row in batches.items():
        seconds = (8 * side**2 * 3 / 1000) ** 1.5  # eight images
        assert row["images_per_s"] == pytest.approx(8 / seconds)
        assert row["megapixels_per_s"] == pytest.approx(8 * side**2 / 1e6 / seconds)
        assert row["ratio"] == pytest.approx(1)


@pytest.mark.parametrize(("sides", "count"), [((64, 64), 0), ((64, 64, 128), 1)])
def test_one_side_that_is_named_twice_has_no_growth(
    sides, count, monkeypatch, tmp_path
):
    rows = [{"preset": "smoke", "side": s, "ms": float(s**2)} for s in set(sides)]
    monkeypatch.setattr(restore, "_measure", lambda *_: rows)
    presets = ["smoke", "smoke"]
    restore.run(
        presets=presets, sides=sides, batch_sizes=[], rounds=1, output=str(tmp_path)
    )
    figures = json.loads((tmp_path / restore.TABLES).read_text())
    growth = [row["exponent"] for row in figures.get("growth", ())]
    assert growth == pytest.approx([1.0] * count)


@pytest.mark.slow
def test_updates_of_every_stage_are_measured(tmp_path, capsys):
    command = "step --presets smoke --crop_size 32 --batch_size 4 --rounds 1 --profile"
    arguments = [*command.split(), str(tmp_path / "trace"), "--output", str(tmp_path)]
    assert benchmark.main(arguments) == 0
    tables = json.loads((tmp_path / updates.TABLES).read_text())
    rows = tables["updates"]
    assert [row["stage"] for row in rows] == ["recog", "recon", "distill", "derain"]
    for row in rows:
        assert row["images_per_s"] == pytest.approx(4 * 1000 / row["ms"])
        assert 0 < row["share_of_peak"] < 1
        assert row["share_of_floor"] == pytest.approx(row["floor_ms"] / row["ms"])
    # An image decoder moves more than a classifier, and three encoders move even more.
    floors = {row["stage"]: row["floor_ms"] for row in rows}
    assert floors["recog"] < floors["recon"] == floors["derain"] < floors["distill"]
    # The encoder learns once in each stage, in recog with the smallest decoder.
    params = {row["stage"]: row["params_m"] for row in rows}
    assert params["distill"] < params["recog"] < params["recon"] == params["derain"]
    shares = [row["share"] for row in tables["profile"]]
    assert len(shares) == 10 and shares == sorted(shares, reverse=True)
    assert 0.3 < sum(shares) <= 1
    assert "| smoke | distill | float32 |" in capsys.readouterr().out


@pytest.mark.slow
def test_ratios_are_relative_to_the_first_kind_of_sums(tmp_path, capsys):
    command = ["sums", "--preset", "smoke", "--sums", "0,0", "16,1", "--side", "32"]
    command += ["--crop_size", "32", "--batch_size", "4", "--rounds", "1"]
    assert benchmark.main([*command, "--output", str(tmp_path)]) == 0
    whole, local = json.loads((tmp_path / local_sums.TABLES).read_text())["sums"]
    assert (whole["cell"], local["cell"], local["radius"]) == (0, 16, 1)
    assert whole["forward_ratio"] == whole["update_ratio"] == 1
    ratio = local["update_ms"] / whole["update_ms"]
    assert local["update_ratio"] == pytest.approx(ratio)
    assert "| cell | radius |" in capsys.readouterr().out


@pytest.fixture
def windows_command(tmp_path, monkeypatch):
    """The command on a photograph of 300 x 90 pixels, with a network in windows."""
    (tmp_path / "rain").mkdir()
    encoding.write_image(
        tmp_path / "rain" / "a.png", np.full((90, 300, 3), 80, np.uint8)
    )
    encoder, decoder = tiny_networks.make(attention_cell=8)
    modules = {"encoder": encoder, "decoder": decoder}
    monkeypatch.setattr(window_sizes.trained, "rebuild", lambda *_, **__: (modules, {}))
    return ["windows", "--photographs", f"folder:{tmp_path / 'rain'}"]


def test_a_window_larger_than_all_photographs_is_named_before_any_is_measured(
    windows_command, capsys, monkeypatch
):
    monkeypatch.setattr(window_sizes, "_measure", lambda *_: pytest.fail("measured"))
    with pytest.raises(SystemExit):
        benchmark.main([*windows_command, "--sides", "96", "320", "--overlaps", "16"])
    assert "has two windows of 320 pixels that share 16" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_measured(
    tmp_path, capsys, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(restore, "run", lambda **_: pytest.fail("measured"))
    with pytest.raises(SystemExit):
        benchmark.main(["restore", "--output", str(tmp_path / "file")])
    assert f"{tmp_path / 'file'} cannot hold the output" in capsys.readouterr().err


def test_wider_overlaps_need_more_computation(windows_command, tmp_path, capsys):
    command = [*windows_command, "--sides", "96", "--overlaps", "16", "32"]
    assert benchmark.main([*command, "--output", str(tmp_path)]) == 0
    narrow, wide = json.loads((tmp_path / window_sizes.TABLES).read_text())["windows"]
    assert 1 < narrow["arithmetic"] < wide["arithmetic"]
    assert narrow["seam_high"] >= narrow["seam"] > 0
    assert "| side | overlap |" in capsys.readouterr().out


@pytest.mark.slow
def test_scaling_is_measured_replicated_and_spread(tmp_path, capsys):
    command = "scaling --preset smoke --devices 2 --crop_size 32 --batch_size 4"
    arguments = [*command.split(), "--rounds=1", "--output", str(tmp_path)]
    assert benchmark.main(arguments) == 0
    rows = json.loads((tmp_path / scaling.TABLES).read_text())["scaling"]
    cases = [(row["devices"], row["fsdp"], row["batch_size"]) for row in rows]
    assert cases == [(1, False, 4), (2, False, 8), (2, True, 8)]
    one, replicated, spread = (row["collectives_mib"] for row in rows)
    assert one == 0
    # Every gradient is summed once, and a few scalars; FSDP gathers weights besides.
    networks = restore.make_networks(make_stage(derain.get_config("smoke")))
    counts = [
        leaf.size for each in networks for leaf in jax.tree.leaves(nnx.state(each))
    ]
    assert replicated * 2**20 == pytest.approx(4 * sum(counts), rel=0.01)
    assert spread > 1.2 * replicated
    assert "virtual devices share the cores" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("is_virtual", "reference", "efficiency"), [(True, 16, 3 / 4), (False, 8, 2 / 4)]
)
def test_efficiency_is_relative_to_one_device_on_the_same_cores(
    is_virtual, reference, efficiency
):
    references = scaling._list_cases([1, 2], 8, is_virtual)
    cases = [(1, False, 8), (2, False, 16), (2, True, 16)]
    assert list(references) == cases
    assert [references[case] for case in cases[1:]] == 2 * [(1, False, reference)]
    seconds = {(1, False, 8): 2.0, (1, False, 16): 3.0, cases[1]: 4.0, cases[2]: 6.0}
    rows = scaling._make_rows(references, seconds, dict.fromkeys(cases, 2**20))
    assert rows[1] == {
        "devices": 2, "fsdp": False, "batch_size": 16, "ms": 4000.0, "images_per_s": 4.0,
        "efficiency": efficiency, "collectives_mib": 1.0,
    }  # fmt: skip


def test_bytes_of_collectives_are_those_of_their_results():
    mesh = sharding.make_mesh()
    rows = jax.ShapeDtypeStruct(
        (4, 1000), "float32", sharding=sharding.over_batch(mesh)
    )
    sums = jax.jit(lambda x: x.sum(0), out_shardings=sharding.replicated(mesh))
    whole = jax.jit(lambda x: x + 1, out_shardings=sharding.replicated(mesh))
    bytes_of = [
        scaling.collective_bytes(f.lower(rows).compile().as_text())
        for f in (sums, whole, jax.jit(lambda x: x + 1))
    ]
    assert bytes_of == [1000 * 4, 4 * 1000 * 4, 0]
    # On a GPU they start and are done later; this one's start names its input too.
    text = """
      %s = (bf16[2,8]{1,0}, bf16[4,8]{1,0}) all-gather-start(bf16[2,8]{1,0} %p), dim
      %d = bf16[4,8]{1,0} all-gather-done((bf16[2,8]{1,0}, bf16[4,8]{1,0}) %s)
      %r = (f32[], f32[3]{0}) all-reduce(f32[] %a, f32[3]{0} %b), to_apply=%add"""
    assert scaling.collective_bytes(text) == 2 * 4 * 8 + 4 + 4 * 3


def test_more_devices_than_available_is_an_error():
    with pytest.raises(ValueError, match="--devices 8: there are 4 of cpu"):
        scaling._check_devices(8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["step", "--presets", "tiny", "smal"], "invalid choice: 'smal' (choose from"),
        (["input", "--preset=smal"], "invalid choice: 'smal' (choose from"),
        (["step", "--batch_size", "3"], "config.batch_size=3 does not divide"),
        (["inputs"], "invalid choice: 'inputs'"),
        (["input", "--rounds=0"], "expected an integer from 1, not '0'"),
        (["input", "--seconds=0"], "expected seconds above 0, not '0'"),
        (["input", "--seconds=-1"], "expected seconds above 0, not '-1'"),
        (["input", "--seconds=nan"], "expected seconds above 0, not 'nan'"),
        (["input", "--seconds=inf"], "expected seconds above 0, not 'inf'"),
        (["input", "--clean=sample"], "both --clean and --pairs, or neither"),
    ],
)
def test_an_invalid_command_gives_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        benchmark.main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
