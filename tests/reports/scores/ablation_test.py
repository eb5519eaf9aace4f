"""Tables 3 and 4: means and spread over seeds."""

import json
import statistics

import pytest

from ttl_jax.reports.scores import ablation, scores

PSNR = {
    "both": {"1": 30.0, "2": 31.0, "3": 33.5},
    "recog_only": {"1": 29.0, "2": 30.5},
    "scratch": {"1": 28.0, "2": 28.5, "3": 29.5},
    "projections": {"3": 34.0},
}
TABLES = {"both": [3, 4], "recog_only": [3], "scratch": [4], "projections": []}


@pytest.fixture
def rows(tmp_path):
    content = [
        {
            "name": name,
            "description": f"what {name} is",
            "tables": TABLES[name],
            "runs": {seed: f"run_{name}_{seed}" for seed in by_seed},
        }
        for name, by_seed in PSNR.items()
    ]
    (tmp_path / "ablation.json").write_text(json.dumps({"rows": content}))
    return ablation.read(tmp_path)


@pytest.fixture
def summary(rows):
    def score(method, psnr):
        values = {"psnr": psnr, "ssim": psnr / 100, "psnr_gain": psnr - 20}
        return scores.Score("pairs", "rgb", "a", "a", method, values)

    found = [score("input", 20.0)]
    for row in rows:
        found += [score(row.method(seed), PSNR[row.name][seed]) for seed in row.runs]

    def score_real(method, psnr):
        values = {"niqe": psnr / 10, "rain_score": 1 - psnr / 100}
        return scores.Score("real", scores.NO_TARGET, "b", "b", method, values)

    found.append(score_real("input", 20.0))
    for row in rows:
        found += [
            score_real(row.method(seed), PSNR[row.name][seed]) for seed in row.runs
        ]
    return scores.summarize(found)


def test_rows_are_read_with_their_runs_beside_the_file(rows, tmp_path):
    assert [row.name for row in rows] == list(PSNR)
    assert rows[1].runs == {
        "1": tmp_path / "run_recog_only_1",
        "2": tmp_path / "run_recog_only_2",
    }


def test_means_and_sample_deviations_are_over_seeds(rows, summary):
    means = ablation.summarize(rows, summary)
    assert list(means) == ["pairs", "real"]
    found = means["pairs"]["rgb"]
    for name, by_seed in PSNR.items():
        values = list(by_seed.values())
        assert found[name]["psnr"]["mean"] == pytest.approx(statistics.mean(values))
        assert found[name]["seeds"] == len(values)
        if len(values) > 1:
            spread = statistics.stdev(values)
            assert found[name]["psnr"]["spread"] == pytest.approx(spread)
    assert found["projections"]["psnr"]["spread"] is None


def test_differences_are_between_runs_of_one_seed(rows, summary):
    found = ablation.summarize(rows, summary)["pairs"]["rgb"]
    assert "psnr_to_reference" not in found["both"]
    differences = {"recog_only": [-1.0, -0.5], "scratch": [-2.0, -2.5, -4.0]}
    for name, values in differences.items():
        assert found[name]["psnr_to_reference"] == {
            "mean": pytest.approx(statistics.mean(values)),
            "spread": pytest.approx(statistics.stdev(values)),
        }
    assert found["projections"]["psnr_to_reference"] == {"mean": 0.5, "spread": None}


def test_a_row_is_compared_with_the_one_that_it_names(rows, summary):
    rows = [
        row._replace(reference="scratch") if row.name == "recog_only" else row
        for row in rows
    ]
    means = ablation.summarize(rows, summary)
    found = means["pairs"]["rgb"]["recog_only"]["psnr_to_reference"]
    assert found["mean"] == statistics.mean([29.0 - 28.0, 30.5 - 28.5])
    third = ablation.markdown(rows, summary, means).split("## ")[1]
    assert "against `scratch`" in third and "scratch (3 seeds)" in third


def test_each_table_holds_its_rows(rows, summary):
    means = ablation.summarize(rows, summary)
    text = ablation.markdown(rows, summary, means)
    third, fourth, further = (part.splitlines() for part in text.split("## ")[1:])
    assert third[0].startswith("Table 3") and fourth[0].startswith("Table 4")
    assert third[2].split(" | ")[1:] == [
        "input", "both (3 seeds)", "recog_only (2 seeds) |"
    ]  # fmt: skip
    assert third[4] == (
        "| pairs (1 image, 1 scene), rgb: PSNR, dB | 20.00 | 31.50 ± 1.80 | 29.75 ± 1.06 |"
    )
    assert third[5] == "| PSNR, dB: difference |  |  | -0.75 ± 0.35 |"
    assert third[6] == (
        "| pairs (1 image, 1 scene), rgb: SSIM | 0.2000 | 0.3150 ± 0.0180 "
        "| 0.2975 ± 0.0106 |"
    )
    assert "scratch (3 seeds) |" in fourth[2] and "recog_only" not in fourth[2]
    # What is compared with stands beside rows that are in no table.
    assert further[2].endswith("| both (3 seeds) | projections (1 seed) |")
    assert further[5].endswith("|  |  | +0.50 |")
    assert "`projections`: what projections is, against `both`." in further[-1]


def test_without_clean_images_the_other_metrics_are_compared(rows, summary):
    real = {"real": summary["real"]}
    means = ablation.summarize(rows, real)
    found = means["real"][scores.NO_TARGET]["scratch"]
    assert found["niqe"]["mean"] == pytest.approx(statistics.mean([2.8, 2.85, 2.95]))
    assert found["niqe_to_reference"] == {
        "mean": pytest.approx(statistics.mean([-0.2, -0.25, -0.4])),
        "spread": pytest.approx(statistics.stdev([-0.2, -0.25, -0.4])),
    }
    fourth = ablation.markdown(rows, real, means).split("## ")[2].splitlines()
    set_name = "real (1 image, 1 scene), no_reference"
    assert fourth[4:8] == [
        f"| {set_name}: NIQE | 2.00 | 3.15 ± 0.18 | 2.87 ± 0.08 |",
        "| NIQE: difference |  |  | -0.28 ± 0.10 |",
        f"| {set_name}: rain score | +0.800 | +0.685 ± 0.018 | +0.713 ± 0.008 |",
        "| rain score: difference |  |  | +0.028 ± 0.010 |",
    ]


@pytest.mark.parametrize("text", [None, "no json", '{"rows": [{"name": "a"}]}', "[]"])
def test_a_folder_without_an_ablation_is_told_what_makes_one(tmp_path, text):
    if text is not None:
        (tmp_path / "ablation.json").write_text(text)
    with pytest.raises(ValueError, match="--config=configs/ablation.py --workdir="):
        ablation.read(tmp_path)
