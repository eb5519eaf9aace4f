"""Tables 3 and 4: means and spread over seeds."""

import json
import statistics

import pytest

from tests import tables
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
    def row_of(set_name, protocol, method, **values):
        return dict(zip(scores.KEYS, (set_name, protocol, "a", "a", method))) | values

    psnr = {"input": 20.0}
    psnr |= {r.method(seed): PSNR[r.name][seed] for r in rows for seed in r.runs}
    pairs = [
        row_of("pairs", "rgb", m, psnr=v, ssim=v / 100, psnr_gain=v - 20)
        for m, v in psnr.items()
    ]
    real = [
        row_of("real", scores.NO_TARGET, m, niqe=v / 10, rain_score=1 - v / 100)
        for m, v in psnr.items()
    ]
    return scores.summarize(scores.make_table(pairs + real))


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
    third = ablation.format_summary(rows, summary).split("## ")[1]
    assert "against `scratch`" in third and "scratch (3 seeds)" in third


def test_each_table_holds_its_rows(rows, summary):
    text = ablation.format_summary(rows, summary)
    third, fourth, further = text.split("## ")[1:]
    assert third.startswith("Table 3") and fourth.startswith("Table 4")
    head, psnr, difference, *_ = tables.cells(third)
    assert head[1:] == ["input", "both (3 seeds)", "recog_only (2 seeds)"]
    assert psnr[1:] == ["20.00", "31.50 ± 1.80", "29.75 ± 1.06"]
    assert difference[1:] == ["", "", "-0.75 ± 0.35"]
    assert tables.cells(fourth)[0][2:] == ["both (3 seeds)", "scratch (3 seeds)"]
    # The reference stands beside rows that are in no table.
    assert tables.cells(further)[0][2:] == ["both (3 seeds)", "projections (1 seed)"]
    assert tables.cells(further)[2][-1] == "+0.50"
    assert "`projections`: what projections is, against `both`." in further


def test_shared_teachers_are_mentioned_only_where_there_is_a_spread(rows, summary):
    """A workdir of configs/claim.py has one seed."""
    assert "share their teachers" in ablation.format_summary(rows, summary)
    one = [row._replace(runs={"3": row.runs["3"]}) for row in rows if "3" in row.runs]
    assert "teachers" not in ablation.format_summary(one, summary)


def test_without_clean_images_the_other_metrics_are_compared(rows, summary):
    real = {"real": summary["real"]}
    means = ablation.summarize(rows, real)
    found = means["real"][scores.NO_TARGET]["scratch"]
    assert found["niqe"]["mean"] == pytest.approx(statistics.mean([2.8, 2.85, 2.95]))
    assert found["niqe_to_reference"] == {
        "mean": pytest.approx(statistics.mean([-0.2, -0.25, -0.4])),
        "spread": pytest.approx(statistics.stdev([-0.2, -0.25, -0.4])),
    }
    fourth = ablation.format_summary(rows, real).split("## ")[2]
    _, niqe, difference, rain_score, _ = tables.cells(fourth)
    assert niqe[1:] == ["2.00", "3.15 ± 0.18", "2.87 ± 0.08"]
    assert difference[1:] == ["", "", "-0.28 ± 0.10"]
    assert rain_score[1:] == ["+0.800", "+0.685 ± 0.018", "+0.713 ± 0.008"]


@pytest.mark.parametrize("text", [None, "no json", '{"rows": [{"name": "a"}]}', "[]"])
def test_a_folder_without_an_ablation_is_rejected_with_the_command_for_one(
    tmp_path, text
):
    if text is not None:
        (tmp_path / "ablation.json").write_text(text)
    with pytest.raises(ValueError, match="--config=configs/ablation.py --workdir="):
        ablation.read(tmp_path)
