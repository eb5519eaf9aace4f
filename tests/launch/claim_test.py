"""The paper's test: its runs, their budgets and its tables."""

import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import ttl_jax
from launch import claim as claim_script
from launch import claim_tables
from tests import pictures, tables
from ttl_jax.data.rain import live_rain
from ttl_jax.training import runs


@pytest.fixture
def lists(tmp_path):
    """Lists whose lines are not read, but counted."""
    for generator, counts in (("additive", (10, 50)), ("Rain100H", (10,))):
        for name, count in [
            ("all", 60 if 50 in counts else 47),
            *((f"{count}_seed{seed}", count) for count in counts for seed in (1, 2)),
        ]:
            lines = "".join(f"{i}.png\n" for i in range(count))
            (tmp_path / f"claim_{generator}_{name}.txt").write_text(lines)
    return str(tmp_path)


def plan(lists, **fields):
    from configs import claim

    fields = {"variants": tuple(claim.VARIANTS), **fields}
    config = ttl_jax.config("claim:tiny", lists=lists, **fields)
    return config, {run.run: run for run in runs.list_runs(config)}


def sources_of(run):
    """Names of the runs that a run starts from."""
    if run.stage == "distill":
        return set(run.teacher_runs.values())
    fields = ("encoder_run", "student_run", "start_from")
    return {run[field] for field in fields if run.get(field)}


def test_every_run_comes_after_those_that_it_starts_from(lists):
    _, planned = plan(lists)
    for i, run in enumerate(planned.values()):
        assert sources_of(run) <= set(list(planned)[:i])


def test_all_variants_but_the_short_one_take_the_same_number_of_updates(lists):
    config, planned = plan(lists)

    def collect(name):
        run = planned[name]
        return {name: run.num_steps}.items() | {
            item for source in sources_of(run) for item in collect(source)
        }

    for variant in config.variants:
        total = sum(dict(collect(f"{variant}_additive_10")).values())
        assert total == (1000 if variant == "V2-short" else 2500), variant


def test_flags_of_a_stage_keep_the_totals_of_all_variants_equal(lists):
    config = ttl_jax.config("claim:tiny")
    config.derain.num_steps, config.recog.num_steps = 2000, 700
    for name in ("scratch", "restormer", "nafnet"):
        assert config[name].num_steps == 2000 + 700 + 500 + 500
    assert config.inpaint.num_steps == 700 + 500 + 500


def test_one_rate_is_that_of_the_decoder_whatever_it_is(lists):
    run = plan(lists, derain={"learning_rate": 3e-4})[1]["smears_additive_10"]
    assert run.encoder_learning_rate == run.learning_rate == 3e-4


def test_a_student_and_its_teachers_have_seeds_of_their_own(lists):
    seeds = [
        run.seed
        for seed in (1, 2)
        for name, run in plan(lists, seed=seed)[1].items()
        if name in ("recog", "recon", "distill", "inpaint") or name == "V1_additive_10"
    ]
    assert len(seeds) == len(set(seeds)) == 10


def test_a_generator_with_fewer_scenes_has_no_row_for_more(lists):
    _, planned = plan(lists)
    assert "V2_additive_50" in planned and "V2_Rain100H_all" in planned
    assert "V2_Rain100H_50" not in planned


@pytest.mark.parametrize("variants", [("V3",), ("V2", "V3")])
def test_rows_are_compared_with_v2_if_it_is_trained(lists, variants):
    from configs import claim

    config, _ = plan(lists, variants=variants)
    rows = {row["name"]: row for row in claim.list_rows(config)}
    assert {row["reference"] for row in rows.values()} <= set(rows)
    reference = rows["V3_additive_10"]["reference"]
    assert reference == f"{variants[0]}_additive_10"


def test_rehearsal_mixes_the_transfer_task_into_the_pairs(lists):
    _, planned = plan(lists)
    run = planned["smears-rehearsal_additive_10"]
    assert run.pairs == (
        f"additive:list:{lists}/claim_additive_10_seed1.txt",
        f"smears:list:{lists}/clean_train.txt",
    )
    np.testing.assert_allclose(run.pairs_weights, (2 / 3, 1 / 3))


@pytest.mark.parametrize(
    ("stage", "field"),
    [
        ("", "rainy"),
        ("", "eval_clean"),
        ("", "pairs"),
        ("derain", "pairs"),
        ("scratch", "eval_pairs"),
        ("derain", "pairs_weights"),
    ],
)
def test_photographs_come_from_the_lists_and_from_no_flag(lists, stage, field):
    value = {field: ("folder:mine",)}
    where = f"config.{stage}.{field}".replace("..", ".")
    with pytest.raises(ValueError, match=f"There is no field {where}"):
        plan(lists, **({stage: value} if stage else value))


@pytest.mark.parametrize("name", ["Restormer", "NAFNet"])
def test_networks_of_others_learn_as_v2_from_the_same_batches(lists, name):
    _, planned = plan(lists)
    v2, other = (planned[f"{each}_additive_10"] for each in ("V2", name))
    different = {field for field in v2 if v2[field] != other.get(field)}
    own = {"run", "architecture", "encoder", "learning_rate", "encoder_learning_rate"}
    assert {"run", "architecture", "encoder"} <= different <= own
    assert set(v2) == set(other)
    assert other.encoder_learning_rate == other.learning_rate
    assert dict(other.encoder) == dict(ttl_jax.config(f"{name.lower()}:tiny").encoder)
    # Flags of V2 reach all networks, so that they stay comparable.
    changed = plan(lists, scratch={"num_steps": 7})[1]
    assert changed[f"{name}_additive_10"].num_steps == 7


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"variants": ("V9",)}, "'V9' is unknown"),
        ({"variants": ()}, "not empty"),
        ({"generators": ("additive", "additive")}, "different values"),
        ({"lists": "nowhere"}, "claim_additive_all.txt does not exist"),
        ({"seed": 4}, "claim_additive_10_seed4.txt does not exist: .* seeds 1 to 3"),
        (
            {"num_scenes": (20,)},
            "additive_20_seed1.txt does not exist: .* 10, 50 and all",
        ),
    ],
)
def test_wrong_fields_are_named(lists, fields, message):
    with pytest.raises(ValueError, match=message):
        plan(**{"lists": lists, **fields})


def make_scores(differences):
    """Scores of V2, and of V1 that is better by a difference for each set."""
    rows = []
    for seed in (1, 2, 3):
        for (role, name), difference in differences.items():
            for scene in range(2 if name == "b" else 8):
                for variant in ("V1", "V2"):
                    gain = difference + 0.1 * (seed - 2) if variant == "V1" else 0.0
                    psnr = 20.0 + scene + gain
                    run = {"variant": variant, "generator": "additive", "seed": seed}
                    run |= {"num_scenes": 10, "updates": 2500, "commit": "c"}
                    at = {"set": name, "role": role, "scene": f"{name}{scene}"}
                    rows.append({**run, **at, "psnr": psnr, "ssim": 0.5})
    return pd.DataFrame(rows)


def empty(name):
    return pd.DataFrame(columns=claim_script.COLUMNS[name])


def test_differences_weigh_each_set_the_same_and_show_each_seed():
    differences = {("trained", "t"): 5.0, ("unseen", "a"): 1.0, ("unseen", "b"): 3.0}
    differences[("real", "r")] = -0.5
    text = claim_tables.format_tables(
        make_scores(differences), empty("claim_real.csv"), empty("claim_runs.csv")
    )
    difference_table = text[text.index("PSNR over") :]
    _, seeds, unseen, real = tables.row(difference_table, "`V1`")
    assert seeds == "1, 2, 3"
    # The mean of 1 and 3 although the sets have 8 and 2 scenes; seeds differ by 0.1.
    # All scenes of a set differ alike, so no draw of scenes moves the mean.
    assert unseen == "+2.00 [+2.00, +2.00] (+1.90, +2.00, +2.10)"
    assert real == "-0.50 [-0.50, -0.50] (-0.60, -0.50, -0.40)"


def test_psnr_is_the_mean_over_scenes_and_its_spread_over_seeds():
    scores = make_scores({("unseen", "a"): 1.0, ("unseen", "b"): 3.0})
    text = claim_tables.format_tables(
        scores, empty("claim_real.csv"), empty("claim_runs.csv")
    )
    cells = tables.row(text, "`V1`")
    # Means over scenes 20..27 and 20..21; the deviation of -0.1, 0 and 0.1 is 0.1.
    assert cells[1:3] == ["2500", "3"]
    assert cells[3:] == ["24.50 ± 0.10", "23.50 ± 0.10", "24.00 ± 0.10"]


def test_only_seeds_of_both_variants_are_paired():
    scores = make_scores({("unseen", "a"): 1.0})
    scores = scores[(scores["variant"] == "V1") | (scores["seed"] == 3)]
    text = claim_tables.format_tables(
        scores, empty("claim_real.csv"), empty("claim_runs.csv")
    )
    cells = tables.row(text[text.index("PSNR over") :], "`V1`")
    assert cells[1:3] == ["3", "+1.10 [+1.10, +1.10] (+1.10)"]


def test_few_scenes_have_no_interval():
    scores = make_scores({("unseen", "a"): 1.0, ("real", "b"): 2.0})
    text = claim_tables.format_tables(
        scores, empty("claim_real.csv"), empty("claim_runs.csv")
    )
    cells = tables.row(text[text.index("PSNR over") :], "`V1`")
    assert cells[3] == "+2.00 (+1.90, +2.00, +2.10)" and "nan" not in text


def make_real(seeds):
    """Rain scores of six scenes: 0.5 of V2, 0.1 less of V1; the input has one row per scene."""
    scores = {"V2": 0.5, "V1": 0.4, "input": 0.7}
    rows = []
    for variant, score in scores.items():
        for seed in seeds if variant != "input" else [0]:
            run = {"variant": variant, "generator": "additive", "seed": seed}
            run |= {"num_scenes": 10 if seed else 0, "updates": 2500 if seed else 0}
            for scene in range(6):
                at = {"commit": "c", "set": "rainy", "scene": str(scene)}
                rows.append({**run, **at, "rain_score": score + 0.01 * seed})
    return pd.DataFrame(rows).reindex(columns=claim_script.COLUMNS["claim_real.csv"])


def test_rain_scores_are_compared_on_the_same_scenes():
    scores = make_scores({("unseen", "a"): 1.0})
    real = make_real(seeds=(2, 3))
    text = claim_tables.format_tables(scores, real, empty("claim_runs.csv"))
    cells = tables.row(text[text.index("rain score over") :], "`V1`")
    assert cells[1:] == ["2, 3", "-0.100 [-0.100, -0.100] (-0.100, -0.100)"]
    means = text[text.index("rain score |") : text.index("rain score over")]
    assert tables.row(means, "`input`")[1] == "+0.700"
    assert tables.row(means, "`V1`")[1] == "+0.425 ± 0.007"


def test_scores_of_the_input_alone_make_no_table():
    scores = make_scores({("unseen", "a"): 1.0})
    real = make_real(seeds=())
    text = claim_tables.format_tables(scores, real, empty("claim_runs.csv"))
    assert "rain score" not in text


@pytest.mark.parametrize("lacking", [{"set": "b"}, {"set": "a", "scene": "a7"}])
def test_a_variant_without_all_scenes_has_no_mean_of_the_unseen_sets(lacking):
    scores = make_scores({("unseen", "a"): 1.0, ("unseen", "b"): 3.0})
    matches = (scores[list(lacking)] == list(lacking.values())).all(axis=1)
    is_gone = matches & scores["variant"].eq("V1") & scores["seed"].eq(2)
    text = claim_tables.format_tables(
        scores[~is_gone], empty("claim_real.csv"), empty("claim_runs.csv")
    )
    head = tables.cells(text)[0]
    means = {
        name: dict(zip(head, tables.row(text, f"`{name}`")))["mean of unseen"]
        for name in ("V1", "V2")
    }
    assert means == {"V1": "", "V2": "22.00 ± 0.00"}


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
    claim_script._check_input(path, found.assign(set="b", psnr=1.0))  # another set
    message = "30.00 dB for scene t of a, and now 29.98 dB. Name another --output"
    with pytest.raises(ValueError, match=message):
        claim_script._check_input(path, found.assign(psnr=[20.0, 29.98]))


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


def test_the_committed_tables_are_those_of_the_committed_rows():
    folder = pathlib.Path(claim_script.__file__).parents[1] / "configs"
    files = [claim_script._read(folder / name) for name in claim_script.COLUMNS]
    # python -m launch.claim --tables --output configs
    expected = (folder / "claim.md").read_text()
    assert claim_tables.format_tables(*files) == expected


def test_the_tables_have_every_variant_of_the_committed_rows():
    folder = pathlib.Path(claim_script.__file__).parents[1] / "configs"
    files = [pd.read_csv(folder / name) for name in ("claim.csv", "claim_runs.csv")]
    real = empty("claim_real.csv")
    tables = claim_tables.format_tables(files[0], real, files[1])
    for variant in {*files[0]["variant"], *files[1]["variant"]} - {"input"}:
        assert f"\n- `{variant}`: " in tables
