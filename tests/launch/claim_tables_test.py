"""launch/claim_tables.py: the tables of the paper's test."""

import pathlib

import pandas as pd
import pytest

from launch import claim as claim_script
from launch import claim_tables
from tests import tables


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


def test_time_and_memory_of_runs_are_means_over_seeds():
    scores = make_scores({("unseen", "a"): 1.0})
    run = {"variant": "V2", "generator": "additive", "num_scenes": 10}
    run |= {"updates": 2500, "commit": "c"}
    runs = pd.DataFrame(
        [
            {**run, "seed": 1, "seconds_per_update": 0.5, "peak_memory_mib": 2000.0},
            {**run, "seed": 2, "seconds_per_update": 0.9, "peak_memory_mib": 2400.0},
        ]
    )
    text = claim_tables.format_tables(scores, empty("claim_real.csv"), runs)
    table = text[text.index("seconds per update") :]
    assert text.count("peak memory, MiB") == 1
    # Deviations of samples: 0.4 and 400 over the root of 2.
    assert tables.row(table, "`V2`") == ["`V2`", "0.70 ± 0.28", "2200 ± 283"]


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
def test_a_variant_without_all_scenes_has_no_mean_of_their_set_and_of_the_unseen(
    lacking,
):
    differences = {("unseen", "a"): 1.0, ("unseen", "b"): 3.0, ("real", "r"): 0.0}
    scores = make_scores(differences)
    matches = (scores[list(lacking)] == list(lacking.values())).all(axis=1)
    is_gone = matches & scores["variant"].eq("V1") & scores["seed"].eq(2)
    text = claim_tables.format_tables(
        scores[~is_gone], empty("claim_real.csv"), empty("claim_runs.csv")
    )
    head = tables.cells(text)[0]
    full = dict(zip(head, tables.row(text, "`V2`")))
    assert full["mean of unseen"] == "22.00 ± 0.00" and "" not in full.values()
    part = dict(zip(head, tables.row(text, "`V1`")))
    blank = {f"{lacking['set']} (unseen)", "mean of unseen"}
    assert {name for name, cell in part.items() if not cell} == blank


def test_rows_without_an_unseen_set_make_tables_without_its_columns():
    scores = make_scores({("trained", "a"): 1.0, ("real", "b"): 3.0})
    text = claim_tables.format_tables(
        scores, empty("claim_real.csv"), empty("claim_runs.csv")
    )
    head = ["PSNR, dB", "updates", "seeds", "a (trained)", "b (real)"]
    assert tables.cells(text)[0] == head
    assert tables.row(text[text.index("PSNR over") :], "`V1`")[2].startswith("+3.00")


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
