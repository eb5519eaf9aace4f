"""The commands as a user starts them: the whole chain, and mistakes."""

import functools
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from configs import common, derain
from tests import commands, random_networks
from tests.commands import ROOT, data_flags, run, train
from ttl_jax import derain as derain_command
from ttl_jax import evaluate, models
from ttl_jax.training import runs
from ttl_jax.weights import fingerprints, saved_runs, trained


@pytest.fixture(scope="module")
def chain(photographs, tmp_path_factory):
    """All four stages, trained for two steps each by one command."""
    workdir = tmp_path_factory.mktemp("runs")
    config = "--config=configs/four_stages.py:smoke"
    assert not train(config, f"--workdir={workdir}", *data_flags(photographs))
    return workdir


def test_the_four_stages_train_from_each_others_weights(chain):
    for stage in ("recog", "recon", "distill", "derain"):
        _, metadata = trained.load(chain / stage)
        assert metadata["step"] == 2
        assert metadata["evaluation"]
    weights = {name: trained.load(chain / name) for name in os.listdir(chain)}
    assert set(weights["distill"][0]) == {"encoder"}  # no teacher is stored
    for stage, module, source, name in (
        ("distill", "recog_encoder", "recog", "encoder"),
        ("distill", "recog_decoder", "recog", "decoder"),
        ("distill", "recon_encoder", "recon", "encoder"),
        ("distill", "recon_decoder", "recon", "decoder"),
        ("derain", "encoder", "distill", "encoder"),
    ):
        origin = weights[stage][1]["origins"][module]
        assert (origin["run"], origin["module"], origin["step"]) == (source, name, 2)
        assert origin["digest"] == fingerprints.digest(weights[source][0][name])


def test_fine_tuning_starts_from_the_student(chain):
    # Adam moves a value by about its rate per update; two random networks lie further
    # apart than that nearly everywhere.
    student, tuned = (
        trained.load(chain / name)[0]["encoder"] for name in ("distill", "derain")
    )
    make = functools.partial(models.make_encoder, **common.get_config("smoke").encoder)
    _, random = random_networks.make(make)
    rate = derain.get_config("smoke").encoder_learning_rate
    moved = {leaf: np.abs(tuned[leaf] - student[leaf]) for leaf in student}
    assert 0 < max(m.max() for m in moved.values()) < 2.5 * rate
    kernel = "blocks.0.feed_forward.expand.kernel"
    assert np.median(np.abs(random[kernel] - student[kernel])) > 10 * 2.5 * rate


def test_restored_photograph_keeps_name_and_size_and_scores_are_written(
    chain, photographs, tmp_path
):
    photograph = photographs / "rainy" / "0.png"
    output = tmp_path / "restored"
    flags = ["--checkpoint", str(chain / "derain")]
    assert not derain_command.main([str(photograph), "--output", str(output), *flags])
    with Image.open(output / "0.png") as restored, Image.open(photograph) as rainy:
        assert restored.size == rainy.size
    scores = tmp_path / "scores"
    data = f"folder:{photographs}"
    flags += ["--data", data, "--output", str(scores), "--sheets", "1"]
    assert not evaluate.main(flags)
    table = json.loads((scores / "scores.json").read_text())[data]["y_uint8"]
    assert table["input"]["psnr_gain"] == 0
    gain = table["derain"]["psnr"] - table["input"]["psnr"]
    assert table["derain"]["psnr_gain"] == pytest.approx(gain)
    assert table["derain"]["count"] == 4
    assert len(list((scores / "sheets").rglob("*.png"))) == 1


@pytest.mark.slow
def test_weights_are_packed_adapted_and_restored_with(chain, photographs, tmp_path):
    packed = tmp_path / "mine.safetensors"
    run("pack", chain / "derain", "--output", packed)
    rainy, clean = photographs / "rainy", photographs / "clean"
    run(
        "main",
        "--config=configs/adapt.py:smoke",
        f"--workdir={tmp_path}",
        f"--config.start_from={packed}",
        f"--config.rainy={rainy}",
        f"--config.clean={clean}",
        f"--config.eval_rainy={rainy}",
        f"--config.eval_clean={clean}",
    )
    before, _ = trained.load(chain / "derain")
    after, metadata = trained.load(tmp_path / "adapt")
    assert set(after) == {"encoder", "decoder"}  # the frozen ones are not stored
    for module in ("encoder", "decoder", "frozen_encoder", "frozen_decoder"):
        origin = metadata["origins"][module]
        of = before[module.removeprefix("frozen_")]
        assert (origin["run"], origin["step"]) == (str(packed), 2)
        assert origin["digest"] == fingerprints.digest(of)
    assert fingerprints.digest(after["encoder"]) != fingerprints.digest(
        before["encoder"]
    )
    assert {"photographs/clean_psnr", "photographs/opacity_before"} < set(
        metadata["evaluation"]
    )
    flags = ["--checkpoint", tmp_path / "adapt", "--output", tmp_path / "restored"]
    run("derain", rainy / "0.png", *flags)
    assert (tmp_path / "restored" / "0.png").exists()


@pytest.mark.slow  # `stopping_test` trains the toy stage, which is one of the tests too
def test_fifth_stage_is_one_stage_file_and_one_config(photographs, tmp_path):
    assert not train(
        "--config=tests/fifth_stage/denoise_config.py:smoke",
        f"--workdir={tmp_path}",
        *data_flags(photographs),
    )
    modules, metadata = trained.load(tmp_path / "denoise")
    assert set(modules) == {"encoder", "decoder"}
    assert metadata["evaluation"]["photographs/mse"] > 0


@pytest.mark.slow
def test_damaged_last_checkpoint_stops_with_one_line_and_fallback_resumes(
    photographs, tmp_path
):
    def arguments(num_steps):
        return (
            "--config=configs/scratch.py:smoke",
            f"--workdir={tmp_path}",
            "--config.checkpoint_every=2",
            "--config.schedule=constant",
            f"--config.num_steps={num_steps}",
            *data_flags(photographs),
        )

    run("main", *arguments(4))
    damaged = tmp_path / "scratch" / saved_runs.FOLDER / "4"
    (damaged / "progress" / "_METADATA").write_text("{")
    printed = run("main", *arguments(6), status=1)
    last_line = printed.strip().splitlines()[-1]
    assert last_line.startswith(f"ttl_jax.main: {damaged} cannot be read: ")
    assert "--fallback" in last_line and "Traceback" not in printed
    printed = run("main", *arguments(6), "--fallback")
    assert f"{damaged} cannot be read: " in printed
    assert f"it is now {damaged}.damaged1" in printed
    assert "resumes at step 2" in printed
    assert trained.load(tmp_path / "scratch")[1]["step"] == 6


def test_distilling_without_teachers_names_runs_and_commands(photographs, tmp_path):
    message = train(
        "--config=configs/distill.py:smoke",
        f"--workdir={tmp_path}",
        *data_flags(photographs),
    )
    assert not list(tmp_path.iterdir())
    assert "'recog', 'recon'" in message
    for name in ("recog", "recon"):
        assert f"--config=configs/{name}.py:smoke --workdir={tmp_path}" in message


MISTAKES = [
    ("recog", "--config.encoder.widht=8", "did you mean --config.encoder.width?"),
    ("recog", "--config.rainy=5", "must be names of sources"),
    ("recog", "--config.recognition_loss=mes", "choose one of ['charbonnier'"),
    ("recog", "--config.batch_size=0", "batch_size=0 must be greater than zero"),
    ("recog", "--config.clean=folder:/nowhere", "there is no folder /nowhere"),
    ("recog", "--config.clean=floder:/nowhere", "did you mean 'folder:/nowhere'"),
    ("recog", "--config.encoder.head_width=5", "not a multiple of head_width=5"),
    ("recog", "--config.decoder.pools=(4,0)", "must be at least 1 pixel each"),
    ("recog", "--config.stage=rceog", "names no module"),
    (
        "four_stages",
        "--config.derain.start_from=distill",
        "'distill' holds ['encoder'], but 'decoder' of stage",
    ),
    ("recon", "--config.max_sigma=2.0", "set crop_margin to it"),
    ("recon", "--config.max_sigma=inf", "max_sigma=inf, which must be finite"),
    ("recog", "--config.rainy[0]=x", "set as a whole: --config.rainy=\"('a','b')\""),
    ("recon", "--config.min_sigma=4.0", "not above config.max_sigma=3.0"),
    ("four_stages", "--config.pairs=folder:/nowhere", "there is no folder /nowhere"),
    ("four_stages", "--config.derain.image_loss=mes", "choose one of ['charbonnier'"),
    ("recog", "--config=configs/recog.py:smal", "Unknown preset 'smal'"),
    ("four_stages", "--config.recog.run=other", "keep their names"),
    ("recog", "--config.encoder.local_kernel=4", "must be odd; got (4, 4)"),
    ("scratch", "--config.crop_size=10", "needs at least 11 pixels"),
    ("recog", "--config=configs/nope.py", "There is no config file 'configs/nope.py'"),
    ("recog", "--workdir=/dev/null/runs", "Not a directory"),
    ("recog", "--config.lr=1", "did you mean --config.learning_rate?"),
    ("recog", "--config.recog.lr=1", "did you mean --config.learning_rate?"),
    ("recog", "--config.seed.x=1", "There is no field --config.seed.x."),
    ("four_stages", "--config.derian.lr=1", "mean --config.derain.learning_rate?"),
    (
        "four_stages",
        "--config.num_steps=5",
        "mean --config.derain.num_steps, --config.dis",
    ),
]


@pytest.mark.parametrize(("stage", "flag", "fault"), MISTAKES)
def test_an_invalid_command_gives_one_line_and_writes_nothing(
    stage, flag, fault, tmp_path
):
    config = f"--config=configs/{stage}.py:smoke"
    message = train(config, f"--workdir={tmp_path / 'runs'}", flag)
    assert message.startswith("ttl_jax.main: ") and fault in message
    assert "\n" not in message
    assert not (tmp_path / "runs").exists()


def test_too_little_device_memory_gives_one_line_with_the_remedies(
    tmp_path, monkeypatch
):
    def train(*args, **kwargs):
        raise jax.errors.JaxRuntimeError(message)

    monkeypatch.setattr(runs, "train", train)
    arguments = "--config=configs/recog.py:smoke", f"--workdir={tmp_path}"
    message = "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nallocations"
    printed = commands.train(*arguments)
    assert printed.startswith(f"ttl_jax.main: {message.splitlines()[0]} Use a smaller")
    assert "config.encoder.remat=True" in printed and "\n" not in printed
    message = "INTERNAL: a fault"
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        commands.train(*arguments)


def test_an_invalid_command_prints_only_its_error(tmp_path):
    printed = run(
        "main",
        "--config=configs/recog.py:smoke",
        f"--workdir={tmp_path}",
        "--config.clean=folder:/nowhere",
        status=1,
    )
    last_line = printed.strip().splitlines()[-1]
    assert last_line.startswith("ttl_jax.main: ")
    assert "there is no folder /nowhere" in last_line
    assert "Traceback" not in printed


def test_teacher_of_another_width_names_both_widths(chain, photographs):
    message = train(
        "--config=configs/distill.py:smoke",
        f"--workdir={chain}",
        "--config.run=wider",
        "--config.encoder.width=32",
        *data_flags(photographs),
    )
    assert "width was 16, is 32" in message


def test_help_shows_an_example(capsys):
    assert "python -m ttl_jax.main " in run("main", "--help", status=1)
    for name, module in (("derain", derain_command), ("evaluate", evaluate)):
        with pytest.raises(SystemExit):
            module.main(["--help"])
        assert f"python -m ttl_jax.{name} " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny", "small", "base", "paper"])
def test_every_preset_trains_all_stages(preset, photographs, tmp_path):
    stages = ("recog", "recon", "distill", "derain")
    run(
        "main",
        f"--config=configs/four_stages.py:{preset}",
        f"--workdir={tmp_path}",
        "--config.crop_size=32",
        "--config.batch_size=4",
        "--config.eval_batch_size=4",
        *[f"--config.{stage}.num_steps=2" for stage in stages],
        *data_flags(photographs),
    )
    for stage in stages:
        assert trained.load(tmp_path / stage)[1]["step"] == 2


@pytest.mark.slow
@pytest.mark.skipif("TTL_DATA" not in os.environ, reason="needs TTL_DATA")
def test_short_training_gains_three_decibels_on_held_out_pairs_of_rain100h(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")  # most time is training
    script = ROOT / "launch" / "lists_by_scene.py"
    subprocess.run(
        [sys.executable, script, os.environ["TTL_DATA"], "--output", tmp_path],
        cwd=ROOT,
        check=True,
    )
    for part in ("train", "test"):
        lines = (tmp_path / f"pairs_{part}.txt").read_text().splitlines(keepends=True)
        (tmp_path / f"{part}.txt").write_text(
            "".join(line for line in lines if "Rain100H" in line)
        )
    run(
        "main",
        "--config=configs/scratch.py:tiny",
        f"--workdir={tmp_path}",
        "--config.num_steps=200",
        "--config.ema_decay=0.0",
        f"--config.pairs=list:{tmp_path}/train.txt",
        f"--config.eval_pairs=list:{tmp_path}/test.txt",
    )
    evaluation = trained.load(tmp_path / "scratch")[1]["evaluation"]
    assert evaluation["pairs/psnr_gain"] > 3
