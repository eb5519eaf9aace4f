"""launch/claim.py: the command of the paper's test."""

import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from launch import claim as claim_script
from tests import pictures
from ttl_jax.data.rain import live_rain


def test_results_are_appended_once_and_the_input_once_per_generator(tmp_path):
    path = tmp_path / "claim.csv"
    about = {"variant": "V1", "generator": "additive", "seed": 1, "num_scenes": 10}
    about |= {"updates": 2500, "commit": "c"}
    line = {"set": "a", "role": "unseen", "scene": "s", "psnr": 20.0, "ssim": 0.5}
    frame = pd.DataFrame([{"method": name, **line} for name in ("V1", "input")])
    assert not claim_script._has(path, about)
    claim_script._append(path, about, frame)
    assert claim_script._has(path, about | {"commit": "other"})
    claim_script._append(path, about | {"seed": 2}, frame)
    found = claim_script._read(path)
    assert list(found.columns) == claim_script.COLUMNS["claim.csv"]
    assert sorted(zip(found["variant"], found["seed"])) == [
        ("V1", 1),
        ("V1", 2),
        ("input", 0),
    ]


def test_other_lengths_of_a_variant_need_files_of_their_own(tmp_path):
    path = tmp_path / "claim.csv"
    about = {"variant": "V1", "generator": "additive", "seed": 1, "num_scenes": 10}
    about |= {"updates": 2500, "commit": "c"}
    claim_script._check_updates(path, about)
    line = {"set": "a", "role": "unseen", "scene": "s", "psnr": 20.0, "ssim": 0.5}
    claim_script._append(path, about, pd.DataFrame([{"method": "V1", **line}]))
    claim_script._check_updates(path, about | {"seed": 2})
    claim_script._check_updates(path, about | {"num_scenes": 50, "updates": 3})
    with pytest.raises(
        SystemExit, match="V1 after 2500 updates, and this run has 3500"
    ):
        claim_script._check_updates(path, about | {"updates": 3500})


def test_rows_of_other_test_images_are_refused(tmp_path):
    path = tmp_path / "claim.csv"
    about = {"variant": "V1", "generator": "additive", "seed": 1, "num_scenes": 10}
    about |= {"updates": 2500, "commit": "c"}
    found = pd.DataFrame(
        {"method": "input", "set": "a", "scene": ["s", "t"], "psnr": [20.0, 30.0]}
    )
    claim_script._check_input(path, found)  # there are no rows yet
    claim_script._append(path, about, found.assign(role="unseen", ssim=0.5))
    claim_script._check_input(path, found)
    claim_script._check_input(path, found.assign(psnr=found["psnr"] + 0.009))
    message = "30.00 dB for scene t of a, and now 29.98 dB. Name another --output"
    with pytest.raises(ValueError, match=message):
        claim_script._check_input(path, found.assign(psnr=[20.0, 29.98]))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a,s a,t b,u", "has 2 test scenes, and the lists have 3; .*: u of b. Name an"),
        (
            "a,s",
            "has 2 test scenes, and the lists have 1; .*: t of a. Name another --o",
        ),
    ],
)
@pytest.mark.parametrize("generator", ["additive", "Rain100H"])
def test_rows_of_more_or_fewer_scenes_are_refused(lines, message, generator, tmp_path):
    path = tmp_path / "claim.csv"
    about = {"variant": "V1", "seed": 1, "num_scenes": 10, "updates": 2, "commit": "c"}

    def rows(lines):
        keys = [line.split(",") for line in lines.split()]
        return pd.DataFrame(keys, columns=["set", "scene"]).assign(
            method="input", psnr=20.0, ssim=0.5, role="unseen"
        )

    claim_script._append(path, {**about, "generator": generator}, rows("a,s a,t"))
    claim_script._check_input(path, rows("a,t a,s"))
    with pytest.raises(ValueError, match=message):
        claim_script._check_input(path, rows(lines))


def test_a_command_without_photographs_is_rejected(capsys):
    with pytest.raises(SystemExit, match="2"):
        claim_script._parse([])
    assert "name the folder of the photographs" in capsys.readouterr().err
    assert claim_script._parse(["--tables"]).output == "configs"


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        ("--preset small", "have --preset tiny, and this command has --preset small."),
        ("-- --config.seed=4", "this command has --preset tiny -- --config.seed=4."),
    ],
)
def test_rows_of_another_preset_or_with_other_flags_need_another_output(
    flags, difference, tmp_path
):
    def check(*flags):
        args = claim_script._parse(["photos", *flags])
        args.output = tmp_path
        claim_script._check_settings(args)

    check("--preset", "base")  # without rows, nothing can be mixed
    check()
    (tmp_path / "claim.csv").write_text("variant,seed\nV2,1\n")
    check("--preset", "tiny", "--seeds", "4", "--")
    with pytest.raises(ValueError, match="Name another --output") as caught:
        check(*flags.split())
    assert difference in str(caught.value)


def test_the_committed_rows_are_of_the_default_preset_without_flags():
    args = claim_script._parse(["photos"])
    args.output = pathlib.Path(claim_script.__file__).parents[1] / "configs"
    assert (args.output / "claim_settings.json").is_file()
    claim_script._check_settings(args)


@pytest.fixture
def photographs(tmp_path):
    """60 scenes as pairs, clean and rainy photographs; two real pairs have masks."""
    root, rows = tmp_path / "photographs", []
    masks = root / "real_rain_masks" / "spa_real"
    masks.mkdir(parents=True)
    for i in range(60):
        clean = pictures.texture(i, 64, 64)
        rain = live_rain.Additive().render(clean, clean, 64, np.random.default_rng(i))
        dataset = "SPA-Data" if i < 2 else "Rain100H"
        if i < 2:
            pictures.write(masks / f"{i}.png", np.uint8(255 * (rain > clean)))
        for path, role, picture in (
            (f"paired/{dataset}/rainy/{i}.png", "rainy", rain),
            (f"paired/{dataset}/clean/{i}.png", "clean", clean),
            (f"clean/{i}.png", "clean", clean),
            (f"real/{i}.png", "rainy_unpaired", rain),
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            pictures.write(root / path, picture)
            row = {"path": path, "dataset": dataset, "role": role, "scene": f"s:{i}"}
            rows.append(row)
    pd.DataFrame(rows).to_csv(root / "MANIFEST.csv", index=False)
    return root


def write_lists(photographs):
    """The lists of all sets to score."""
    lists = photographs.parent / "lists"
    lists.mkdir()
    lines = {
        "claim_test_additive": "clean/5.png",
        "claim_test_real": "paired/SPA-Data/rainy/0.png\tpaired/SPA-Data/clean/0.png",
        "claim_test_rainy": "real/7.png",
        "rainy_test_only": "real/1.png",
    }
    for name, line in lines.items():
        paths = [str(photographs / path) for path in line.split("\t")]
        (lists / f"{name}.txt").write_text("\t".join(paths) + "\n")
    return lists


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("photographs/MANIFEST.csv", "MANIFEST.csv cannot be read"),
        (
            "lists/claim_test_additive.txt",
            "additive.txt does not exist: write the lists",
        ),
        ("lists/claim_test_rainy.txt", "claim_test_rainy.txt"),
        ("photographs/real_rain_masks/spa_real/1.png", "No mask in .* such as 1"),
        ("photographs/paired/SPA-Data/clean/0.png", "0.png"),
    ],
)
def test_missing_files_are_named_before_training(
    photographs, tmp_path, monkeypatch, missing, message
):
    write_lists(photographs)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(claim_script, "_train", lambda *_: pytest.fail("trained"))
    (tmp_path / missing).unlink()
    command = "photographs --lists lists --output out"
    with pytest.raises(SystemExit, match=message) as caught:
        claim_script.main(command.split())
    assert "\n" not in str(caught.value)


def test_the_sets_of_complete_lists_can_be_scored(photographs, tmp_path, monkeypatch):
    lists = write_lists(photographs)
    command = f"{photographs} --lists {lists} --output {tmp_path / 'out'}"
    trained = []
    monkeypatch.setattr(
        claim_script, "_train_and_score", lambda args, seed: trained.append(seed)
    )
    with pytest.raises(SystemExit, match="has no scores yet"):
        claim_script.main(command.split())
    (lists / "claim_test_rainy.txt").unlink()
    with pytest.raises(SystemExit, match="has no scores yet"):
        claim_script.main([*command.split(), "--without_real"])
    assert trained == [1, 2, 3, 1, 2, 3]


@pytest.mark.slow
def test_one_command_trains_scores_and_tabulates_and_then_has_nothing_to_do(
    photographs, tmp_path, monkeypatch
):
    monkeypatch.chdir(pathlib.Path(__file__).parents[2])
    lists = tmp_path / "lists"
    script = [sys.executable, "launch/lists_by_scene.py", photographs]
    subprocess.run([*script, "--output", lists], check=True)
    command = f"{photographs} --lists {lists} --workdir {tmp_path}/runs --preset smoke "
    command += f"--output {tmp_path}/out --seeds 1 --num_scenes 10 --variants V1 V2 "
    command += "--generators additive -- --config.log_every=1"
    claim_script.main(command.split())
    results = {
        name: claim_script._read(tmp_path / "out" / name)
        for name in claim_script.COLUMNS
    }
    for frame in results.values():
        assert {"V1", "V2"} <= set(frame["variant"]) <= {"V1", "V2", "input"}
    assert set(results["claim_real.csv"]["set"]) == {"rainy", "masks"}
    scores = results["claim.csv"]
    assert set(scores["set"]) == {"additive", "Rain100H", "real"}
    roles = scores.groupby("set")["role"].unique().str.join(" ").to_dict()
    assert roles == {"additive": "trained", "Rain100H": "unseen", "real": "real"}
    # Four stages of two updates each, and V2 as long as all of them.
    assert set(scores.loc[scores["variant"] != "input", "updates"]) == {8}
    before = [(tmp_path / "out" / name).read_bytes() for name in results]
    claim_script.main(command.split())
    assert [(tmp_path / "out" / name).read_bytes() for name in results] == before


def test_the_command_lists_its_flags(capsys):
    with pytest.raises(SystemExit, match="0"):
        claim_script.main(["--help"])
    printed = capsys.readouterr().out
    assert "--num_scenes" in printed and "claim_real.csv" in printed


def test_flags_after_the_dashes_are_passed_on():
    own = ["photos", "--variants", "V1", "V2", "--output", "out", "--seeds", "4"]
    args = claim_script._parse([*own, "--", "--config.derain.num_steps=3", "-v"])
    assert (args.photographs, args.variants, args.seeds) == (
        "photos",
        ["V1", "V2"],
        [4],
    )
    assert args.flags == ["--config.derain.num_steps=3", "-v"]
    assert claim_script._parse(own).flags == []
