"""The command that scores, with a stand-in for the network."""

import json
import os
import pathlib
import types

import numpy as np
import pandas as pd
import pytest

from tests import pictures
from tests.inference.video import clips
from ttl_jax import evaluate
from ttl_jax.data.files import encoding
from ttl_jax.metrics import flicker, naturalness
from ttl_jax.reports.scores import evaluation
from ttl_jax.weights import shipped


@pytest.fixture
def loaded(tmp_path, monkeypatch, replace_network):
    """Runs in an empty folder, with a network that darkens by one level."""
    monkeypatch.chdir(tmp_path)
    return replace_network(lambda array: np.maximum(array, 1) - 1)


@pytest.fixture
def here(tmp_path, loaded):
    return tmp_path


class Recognizer:
    """Stands for a recognition network: the mean level of an image."""

    name = "judge"

    @classmethod
    def from_checkpoint(cls, path):
        assert path in ("runs/judge", shipped.SHIPPED)
        return cls()

    def score(self, array):
        return float(array.mean())

    def is_teacher_of(self, path):
        return path == "runs/net"


@pytest.fixture
def recognizer(monkeypatch):
    monkeypatch.setattr("ttl_jax.inference.recognizer.Recognizer", Recognizer)


@pytest.mark.usefixtures("recognizer")
def test_the_shipped_weights_are_scored_by_default(loaded):
    write_images("rainy", a=100)
    command = "--input rainy --target rainy --recog --output out"
    assert evaluate.main(command.split()) == 0
    assert loaded == [shipped.SHIPPED]


def write_images(folder, **levels):
    pathlib.Path(folder).mkdir(parents=True)
    for stem, level in levels.items():
        encoding.write_image(
            f"{folder}/{stem}.png", np.full((12, 14, 3), level, np.uint8)
        )


def test_a_checkpoint_is_scored_on_each_source(here, capsys):
    write_images("pairs/input", a=200, b=100)
    write_images("pairs/target", a=0, b=0)
    pathlib.Path("list.txt").write_text("pairs/input/a.png\tpairs/target/a.png\n")
    command = (
        "--checkpoint run --data folder:pairs listed=list:list.txt --output out "
        "--sheets 1"
    )
    assert evaluate.main(command.split()) == 0
    summary = json.loads(pathlib.Path("out/scores.json").read_text())
    assert list(summary) == ["folder:pairs", "listed"]
    methods = summary["folder:pairs"]["y_uint8"]
    assert list(methods) == ["input", "run"]
    assert methods["run"]["count"] == 2
    assert methods["run"]["psnr_gain"] > 0
    assert pathlib.Path("out/table.md").read_text() in capsys.readouterr().out
    assert pathlib.Path("out/per_image.csv").is_file()
    assert len(list(pathlib.Path("out/sheets").glob("*.png"))) == 2


def test_result_folders_are_scored_side_by_side(here):
    write_images("Test/target", a=0)
    write_images("Test/input", a=100)
    write_images("one", a=40)
    write_images("two", a=0)
    command = (
        "--results one=one --results two=two --target Test/target --input Test/input "
        "--protocol all --output out"
    )
    assert evaluate.main(command.split()) == 0
    summary = json.loads(pathlib.Path("out/scores.json").read_text())
    assert list(summary) == ["target"]
    methods = summary["target"]["y_uint8"]
    assert list(methods) == ["input", "one", "two"]
    # Luma of grey 100, 40 and 0 is 102, 50 and 16; identical images score 100 dB.
    np.testing.assert_allclose(methods["one"]["psnr"], 20 * np.log10(255 / 34))
    np.testing.assert_allclose(methods["one"]["psnr_gain"], 20 * np.log10(86 / 34))
    assert methods["two"]["psnr"] == 100
    assert not pathlib.Path("out/sheets").exists()


@pytest.mark.parametrize("methods", [("one",), ("one", "two")])
def test_results_need_no_rainy_images(here, methods, capsys):
    write_images("target", a=0, b=10)
    write_images("one", a=40, b=50)
    write_images("two", a=10, b=10)
    named = " ".join(f"--results {name}={name}" for name in methods)
    rest = "--target target --sheets 1"
    assert evaluate.main(f"{named} {rest} --output alone".split()) == 0
    printed = capsys.readouterr().out
    assert (
        "The rainy images were not given" in printed
        and "gain" not in (printed.split("The rainy images")[0])
    )
    evaluate.main(f"{named} {rest} --input one --output with".split())
    alone, beside = (
        json.loads(pathlib.Path(f"{folder}/scores.json").read_text())["target"]
        for folder in ("alone", "with")
    )
    assert list(alone["y_uint8"]) == list(methods)
    for name in methods:
        for metric in ("psnr", "ssim", "count", "scenes"):
            assert alone["y_uint8"][name][metric] == beside["y_uint8"][name][metric]
    assert len(list(pathlib.Path("alone/sheets").glob("*.png"))) == 1


FOLDERS = "--results one=one --target target --input target"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "name the images to score: either --data, or --input"),
        ("--checkpoint run", "name the images to score"),
        (f"{FOLDERS} --agreement", "--agreement restores crops: name a network"),
        ("--results one=one", "name the images to score"),
        ("--target target", "name the images to score"),
        ("--baseline tv --data folder:", "names nothing after the colon"),
        ("--baseline tv --data folder:one --niqe", "no image of 192 x 192 pixels"),
        (
            "--results a=target --target target --baseline tv",
            "baselines, ablations, masks",
        ),
        (
            "--results a=target --target target --masks one",
            "masks and flicker need them",
        ),
        (f"--checkpoint run --data sample/test {FOLDERS}", "name the images to score"),
        ("--results one=one --data sample/test", "--results go without --data"),
        ("--baseline tv --data a=sample a=sample/test", "a is used twice"),
        ("--ablation one --baseline tv --data sample/test", "without other methods"),
        (
            "--ablation one --data sample/test",
            "one/ablation.json is not an ablation",
        ),
        ("--checkpoint run --checkpoint run --data sample/test", "rename run"),
        ("--checkpoint run --recog one --data sample/test", "one holds no checkpoint"),
        ("--baseline tv --data sample/test folder:one", "folder:one has no clean"),
        ("--checkpoint missing --data sample/test", "missing holds no checkpoint"),
        (
            "--results one --target target --input target",
            "expected NAME=DIR, not 'one'",
        ),
        (f"{FOLDERS} --sheets many", "expected an integer from 0, not 'many'"),
        (FOLDERS, "one lacks b"),
        ("--baseline tv --data folder:one --flicker", "needs successive frames"),
        (
            "--results bad=bad --target target --input target",
            "bad/b.png cannot be read",
        ),
    ],
)
def test_invalid_commands_end_with_one_line_and_status_2(
    here, capsys, command, message
):
    write_images("target", a=0, b=0)
    write_images("one", a=0)
    write_images("bad", a=0, b=0)
    data = pathlib.Path("bad/b.png").read_bytes()
    pathlib.Path("bad/b.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(SystemExit) as caught:
        evaluate.main([*command.split(), "--output", "out"])
    assert caught.value.code == 2
    line = capsys.readouterr().err.split("python -m ttl_jax.evaluate: error: ")[1]
    assert message in line and line.count("\n") == 1
    assert not pathlib.Path("out").exists()


def test_an_image_that_vanishes_meanwhile_is_named_with_what_was_scored(
    here, capsys, replace_network
):
    def restore(array):
        pathlib.Path("rainy/b.png").unlink(missing_ok=True)
        return array

    replace_network(restore)
    write_images("rainy", a=100, b=100, c=100)
    write_images("target", a=0, b=0, c=0)
    command = "--checkpoint run --input rainy --target target --output out"
    with pytest.raises(SystemExit) as caught:
        evaluate.main(command.split())
    assert caught.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "rainy/b.png cannot be read: No such file or directory. It was" in line
    assert "1 of 3 images of target were scored, and no report is written" in line
    assert not pathlib.Path("out").exists()


def test_methods_of_every_kind_are_in_one_table(here):
    write_images("target", a_gt=0, b_gt=200)
    write_images("input", a=100, b=250)
    write_images("one", a_derained=40, b_derained=200)
    command = (
        "--results one=one --baseline median tv --checkpoint net=run --target target "
        "--input input --output out --protocol rgb y_uint8"
    )
    assert evaluate.main(command.split()) == 0
    summary = json.loads(pathlib.Path("out/scores.json").read_text())["target"]
    assert list(summary) == ["rgb", "y_uint8"]
    assert list(summary["rgb"]) == ["input", "one", "median", "tv", "net"]
    # Errors of 100 and 50 levels, of 99 and 49 after the network.
    found = [summary["rgb"][method]["psnr"] for method in ("input", "net")]
    expected = [
        20 * np.log10(255) - 10 * np.mean(np.log10([a**2, b**2]))
        for a, b in ((100, 50), (99, 49))
    ]
    np.testing.assert_allclose(found, expected)
    assert summary["rgb"]["one"]["psnr"] > 50  # one image is the target
    table = pathlib.Path("out/table.md").read_text()
    assert "one: 2 of 2 files matched without the common parts of their names" in table


@pytest.mark.usefixtures("here", "recognizer")
def test_real_photographs_are_scored_without_clean_images():
    rng = np.random.default_rng(0)
    pathlib.Path("rain").mkdir()
    image = rng.integers(0, 255, (200, 200, 3), np.uint8)
    encoding.write_image("rain/a.png", image)
    mask = np.zeros((200, 200, 3), np.uint8)
    mask[:100] = 255
    pathlib.Path("masks").mkdir()
    encoding.write_image("masks/a.png", mask)

    command = (
        "--data folder:rain --checkpoint net=runs/net --checkpoint other=runs/other "
        "--baseline median --niqe --recog runs/judge --masks masks --output out"
    )
    assert evaluate.main(command.split()) == 0
    summary = json.loads(pathlib.Path("out/scores.json").read_text())
    methods = summary["folder:rain"]["no_reference"]
    assert methods["input"]["niqe"] == naturalness.niqe(image)
    assert methods["input"]["rain_score"] == pytest.approx(image.mean())
    darker = (image > 1).mean()  # by one level each
    assert methods["net"]["change_inside"] == pytest.approx(darker, abs=0.01)
    assert methods["input"]["change_outside"] == 0
    table = pathlib.Path("out/table.md").read_text()
    assert "not independent: its weights took part in training net." in table
    assert "Its weights took no part in training other." in table
    command = "--input rain --results ours=rain --recog runs/judge --output out"
    assert evaluate.main(command.split()) == 0
    table = pathlib.Path("out/table.md").read_text()
    assert "whether its weights took part in training ours." in table


def test_the_library_scores_what_the_command_prints(here, capsys):
    write_images("pairs/input", a=200, b=100)
    write_images("pairs/target", a=0, b=0)
    darker = types.SimpleNamespace(restore=lambda array: np.maximum(array, 1) - 1)
    report = evaluation.score({"run": darker}, "folder:pairs", baselines=["median"])
    assert not pathlib.Path("sheets").exists()
    command = "--checkpoint run --baseline median --data folder:pairs --output out"
    assert evaluate.main(command.split()) == 0
    assert capsys.readouterr().out == f"{report}\n"
    written = pd.read_csv("out/per_image.csv")
    pd.testing.assert_frame_equal(written, report.per_image, check_dtype=False)


def write_ablation(monkeypatch, **progress):
    """The workdir `runs` of an ablation whose runs saved so many of 5 updates."""
    rows = [
        {"name": name, "description": name, "tables": [number], "runs": {"1": name}}
        for name, number in zip(progress, (3, 4), strict=True)
    ]
    pathlib.Path("runs").mkdir()
    pathlib.Path("runs/ablation.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(
        "ttl_jax.weights.saved_runs.read_progress",
        lambda run_dir: (progress[run_dir.name], 5 if progress[run_dir.name] else None),
    )


def test_agreement_of_crops_and_whole_is_reported_with_the_other_scores(here):
    """The stand-in takes one level off each pixel, of crops as of the whole."""
    write_images("pairs/input", a=200)
    write_images("pairs/target", a=0)
    pathlib.Path("large").mkdir()
    encoding.write_image("large/b.png", np.full((500, 520, 3), 90, np.uint8))
    command = "--checkpoint run --data pairs large --agreement --output out"
    assert evaluate.main(command.split()) == 0
    summary = json.loads(pathlib.Path("out/scores.json").read_text())
    small, large = (summary[name].popitem()[1]["run"] for name in ("pairs", "large"))
    assert small["mean_change"] == large["mean_change"] == 1
    assert "disagreement" not in small  # no larger than a crop
    assert (large["disagreement"], large["change_ratio"]) == (0, 1)


def test_flicker_is_the_change_over_that_of_the_input(here, capsys):
    write_images("rain/one", a=106, b=94, c=106)
    write_images("rain/two", a=10)
    write_images("ours/one", a=101, b=99, c=101)
    write_images("ours/two", a=200)  # no frame of the first folder follows
    command = [
        "--results",
        "ours=ours",
        "--input",
        "rain",
        "--flicker",
        "--output",
        "out",
    ]
    assert evaluate.main(command) == 0
    methods = json.loads(pathlib.Path("out/scores.json").read_text())["rain"]
    flickers = {
        name: found["flicker"] for name, found in methods["no_reference"].items()
    }
    assert flickers == {"input": 1, "ours": pytest.approx(2 / 12)}
    assert " flicker |" in capsys.readouterr().out


def test_flicker_of_frames_that_change_unequally_is_that_of_the_whole_video(here):
    """A pair that is almost still has three times the change of the input, and 1/16."""
    levels = {"rain": (100, 101, 116), "ours": (100, 103, 103)}
    for folder, (a, b, c) in levels.items():
        write_images(f"{folder}/clip", a=a, b=b, c=c)
    command = "--results ours=ours --input rain --flicker --output out"
    assert evaluate.main(command.split()) == 0
    methods = json.loads(pathlib.Path("out/scores.json").read_text())["rain"]
    rain, ours = (
        np.stack([np.full((12, 14, 3), level, np.uint8) for level in of_video])
        for of_video in levels.values()
    )
    expected = flicker.flicker(ours, rain)
    assert expected == pytest.approx(3 / 16)
    found = methods["no_reference"]["ours"]["flicker"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_still_clip_has_no_flicker_and_the_report_says_so(here):
    scene = pictures.texture(0, 40, 60)
    for name, is_still in (("still", True), ("live", False)):
        for k in range(3):
            frame = scene if is_still else np.maximum(scene, 20 * k)
            path = pathlib.Path(f"{name}/rainy/{k}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            encoding.write_image(path, frame)
    command = "--baseline median --data still=folder:still/rainy live=folder:live/rainy"
    assert evaluate.main([*command.split(), "--flicker", "--output", "out"]) == 0
    found = json.loads(pathlib.Path("out/scores.json").read_text())
    assert "flicker" in found["live"]["no_reference"]["median"]
    assert "flicker" not in found["still"]["no_reference"]["median"]
    text = pathlib.Path("out/table.md").read_text()
    assert "No flicker of still: the input does not change" in text


def test_a_protocol_that_is_named_twice_counts_once(here):
    write_images("pairs/input", a=200, b=100)
    write_images("pairs/target", a=0, b=0)
    command = "--baseline median --data folder:pairs --protocol rgb y_uint8 rgb"
    assert evaluate.main([*command.split(), "--output", "out"]) == 0
    (by_protocol,) = json.loads(pathlib.Path("out/scores.json").read_text()).values()
    counts = {name: found["median"]["count"] for name, found in by_protocol.items()}
    assert counts == {"rgb": 2, "y_uint8": 2}


@pytest.mark.parametrize(
    "images", ["--data folder:{}", "--input {0}/rainy --target {0}/clean/{0}"]
)
def test_a_folder_whose_name_is_not_utf8_is_scored(images, here):
    folder = os.fsdecode(b"caf\xe9")
    write_images(f"{folder}/rainy", a=40)
    write_images(f"{folder}/clean" + (f"/{folder}" if "target" in images else ""), a=20)
    command = f"--baseline median {images.format(folder)} --output out"
    assert evaluate.main(command.split()) == 0
    (name,) = json.loads(pathlib.Path("out/scores.json").read_text())
    assert name.removeprefix("folder:") == "caf\ufffd"
    assert name in pathlib.Path("out/table.md").read_text()


@pytest.mark.usefixtures("recognizer")
@pytest.mark.parametrize(
    ("flags", "scenes"),
    [
        ("--flicker", 2),
        ("", 4),  # photographs
        ("--flicker --scenes scenes.csv", 3),
    ],
)
def test_the_frames_of_a_folder_are_one_scene(here, flags, scenes):
    for folder in ("rain", "ours"):
        write_images(f"{folder}/one", a=106, b=94)
        write_images(f"{folder}/two", a=100, b=90)
    pathlib.Path("scenes.csv").write_text(
        "path,scene\none/a.png,x\none/b.png,y\ntwo/a.png,z\ntwo/b.png,z\n"
    )
    command = f"--results ours=ours --input rain --recog {flags} --output out"
    assert evaluate.main(command.split()) == 0
    methods = json.loads(pathlib.Path("out/scores.json").read_text())["rain"]
    assert methods["no_reference"]["ours"]["scenes"] == scenes


def test_videos_are_scored_by_their_frames(here):
    for name, change in (("rain", 12), ("ours", 3), ("clean", 0)):
        levels = [clips.picture() + change * (k % 2) for k in range(4)]
        clips.write(f"{name}.mp4", [np.uint8(one) for one in levels])
    command = "--results ours=ours.mp4 --input rain.mp4 --target clean.mp4 --flicker"
    assert evaluate.main([*command.split(), "--output", "out"]) == 0
    methods = json.loads(pathlib.Path("out/scores.json").read_text())["clean"][
        "y_uint8"
    ]
    assert methods["ours"]["flicker"] == pytest.approx(3 / 12, abs=0.05)
    assert (methods["ours"]["count"], methods["ours"]["scenes"]) == (4, 1)
    assert methods["ours"]["psnr_to_input"]["low"] is None
    # The frames are those of a video without --flicker too.
    assert evaluate.main([*command.split()[:-1], "--output", "out"]) == 0
    methods = json.loads(pathlib.Path("out/scores.json").read_text())["clean"][
        "y_uint8"
    ]
    assert methods["ours"]["scenes"] == 1
    assert methods["ours"]["psnr"] > methods["input"]["psnr"] + 5


def test_an_ablation_gives_tables_3_and_4(here, monkeypatch):
    write_ablation(monkeypatch, both=5, scratch=5)
    write_images("pairs/input", a=200, b=100)
    write_images("pairs/target", a=0, b=0)
    # Into its own folder, whose index of runs has to stay.
    index = pathlib.Path("runs/ablation.json").read_text()
    command = "--ablation runs --data folder:pairs --output runs"
    assert evaluate.main(command.split()) == 0
    assert pathlib.Path("runs/ablation.json").read_text() == index
    summary = json.loads(pathlib.Path("runs/scores.json").read_text())
    psnr = summary["folder:pairs"]["y_uint8"]["both seed 1"]["psnr"]
    found = json.loads(pathlib.Path("runs/ablation_scores.json").read_text())
    scratch = found["folder:pairs"]["y_uint8"]["scratch"]
    assert scratch["psnr"] == {"mean": psnr, "spread": None}
    assert scratch["psnr_to_reference"]["mean"] == 0
    table = pathlib.Path("runs/table.md").read_text()
    assert table.index("## Table 3") < table.index("## Table 4")
    assert table.index("## Table 4") < table.index("## y_uint8")


def test_an_unfinished_ablation_names_its_runs(here, monkeypatch, capsys):
    write_ablation(monkeypatch, both=3, scratch=0)
    command = "--ablation runs --data sample/test --output out"
    with pytest.raises(SystemExit):
        evaluate.main(command.split())
    error = capsys.readouterr().err
    assert (
        "2 of 2 runs are not finished: both (at 3 of 5 updates), scratch (not" in error
    )
    assert "Resume them with the command that started them." in error
    assert "configs/ablation.py" not in error  # it may be a workdir of another planner


@pytest.mark.parametrize("output", ["file", "/proc/self"])  # no one writes to these
def test_an_output_that_cannot_be_written_is_rejected_before_scoring(
    here, capsys, monkeypatch, output
):
    write_images("target", a=0)
    write_images("one", a=0)
    pathlib.Path("file").touch()
    monkeypatch.setattr(evaluate.image_quality, "psnr", lambda *args: 1 / 0)
    with pytest.raises(SystemExit):
        evaluate.main([*FOLDERS.split(), "--output", output])
    assert f"error: {output} cannot hold the output" in capsys.readouterr().err
