"""The runs of a config: those of an ablation, a pipeline or one stage, and their index."""

import json

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from configs import ablation, four_stages, recog
from configs import pipeline as pipeline_config
from ttl_jax.data.loading import pipeline
from ttl_jax.training import config_check, runs

# Fields in which two runs of the same stage differ by design.
NAMES = {"run", "student_run"}


@pytest.fixture
def config():
    config = ablation.get_config("small")
    config.rows = tuple(ablation.make_rows(config))
    config.seeds = (1, 4)
    return config.lock()


def by_name(config):
    listed = runs.list_runs(config)
    names = [run.run or run.stage for run in listed]
    assert len(set(names)) == len(names)
    return dict(zip(names, listed))


def differences(one, other):
    """Fields, dotted, in which two configs differ."""
    one, other = (flatten_dict(c.to_dict(), sep=".") for c in (one, other))
    return {k for k in one.keys() | other.keys() if one.get(k) != other.get(k)}


def test_rows_refer_to_rows_that_exist_and_fine_tune(config):
    rows = ablation.make_rows(config)
    for row in rows.values():
        assert row.reference in rows
        assert not row.student or rows[row.student].scratch is None


def test_teachers_are_trained_once_before_all_that_learn_from_them(config):
    listed = runs.list_runs(config)
    stages = [run.stage for run in listed]
    assert stages[:2] == ["recog", "recon"]
    assert set(stages[2:]) == {"distill", "derain"}
    assert {run.seed for run in listed[:2]} == {config.seed}


def test_each_student_is_trained_before_the_run_that_starts_from_it(config):
    names = list(by_name(config))
    students = {
        name: run.student_run
        for name, run in by_name(config).items()
        if run.stage == "derain" and run.from_student
    }
    assert len(students) == 2 * 9
    for name, student in students.items():
        assert names.index(student) < names.index(name)
        own = name.replace("derain_", "distill_")
        seed = name[name.index("_seed") :]
        assert student == (own if own in names else f"distill_both{seed}")


SCRATCH = {"from_student", "encoder_learning_rate"}


@pytest.mark.parametrize(
    ("row", "distill", "derain"),
    [
        ("recog_only", {"teachers"}, {"teachers"}),
        ("recon_only", {"teachers"}, {"teachers"}),
        ("scratch", None, SCRATCH),
        ("scratch_total", None, {*SCRATCH, "num_steps"}),
        ("projections", {"projections"}, set()),
        ("student_from_recog", {"student_init"}, set()),
        ("both_10", None, {"num_pairs"}),
        ("scratch_50", None, {*SCRATCH, "num_pairs"}),
        ("encoder_tenth", None, {"encoder_learning_rate"}),
        ("scratch_twice", None, {*SCRATCH, "learning_rate"}),
    ],
)
def test_a_row_differs_from_both_in_the_fields_that_it_names(
    config, row, distill, derain
):
    # So seed, data, batch size, steps, schedule and networks are the same.
    listed = by_name(config)
    last = listed.get(f"derain_{row}_seed4", listed.get(f"{row}_seed4"))
    assert differences(listed["derain_both_seed4"], last) - NAMES == derain
    assert (f"distill_{row}_seed4" in listed) == (distill is not None)
    if distill is not None:
        ours = listed[f"distill_{row}_seed4"]
        assert differences(listed["distill_both_seed4"], ours) - NAMES == distill


def test_seeds_of_a_row_differ_in_nothing_but_the_seed(config):
    listed = by_name(config)
    for name in ("distill_both", "derain_both", "scratch"):
        one, other = listed[f"{name}_seed1"], listed[f"{name}_seed4"]
        assert differences(one, other) - NAMES == {"seed"}
        assert (one.seed, other.seed) == (1, 4)


def test_rows_of_a_seed_train_on_the_same_pairs_in_the_same_order(config, photographs):
    config.pairs = (f"folder:{photographs}",)
    listed = by_name(config)

    def first_pairs(name):
        data = pipeline.open_training_data(listed[name])
        return [data.names(step) for step in range(5)]

    rows = [
        name
        for name, run in listed.items()
        if run.stage == "derain" and run.seed == 4 and not run.num_pairs
    ]
    assert len(rows) == 11
    orders = [first_pairs(name) for name in rows]
    assert all(order == orders[0] for order in orders)
    assert first_pairs("derain_both_seed1") != orders[0]


def test_rates_of_rows_follow_that_of_the_decoder(config):
    config.derain.learning_rate = 4e-4
    listed = by_name(config)
    rates = {
        row: (run.learning_rate, run.encoder_learning_rate)
        for row, run in listed.items()
        if row.endswith("seed1") and run.stage == "derain"
    }
    np.testing.assert_allclose(rates["derain_encoder_tenth_seed1"], (4e-4, 4e-5))
    np.testing.assert_allclose(rates["derain_encoder_equal_seed1"], (4e-4, 4e-4))
    np.testing.assert_allclose(rates["scratch_twice_seed1"], (8e-4, 8e-4))
    np.testing.assert_allclose(rates["scratch_half_seed1"], (2e-4, 2e-4))


def test_few_pairs_are_the_same_in_both_rows_and_others_with_each_seed(
    config, photographs
):
    config.pairs = (f"folder:{photographs}",)
    listed = by_name(config)

    def pairs_of(name):
        assert listed[name].num_pairs == 10
        listed[name].num_pairs = 2  # of the four
        data = pipeline.open_training_data(listed[name])
        return {pair for step in range(5) for pair in data.names(step)}

    drawn = [pairs_of(f"derain_both_10_seed{seed}") for seed in (1, 4)]
    assert [len(pairs) for pairs in drawn] == [2, 2]
    assert drawn == [pairs_of(f"scratch_10_seed{seed}") for seed in (1, 4)]
    assert drawn[0] != drawn[1]


def test_fields_set_by_the_user_reach_all_rows_of_a_stage(config):
    config.batch_size = 4
    config.encoder.width = 32
    config.distill.num_steps = 30
    config.derain.num_steps = 70
    config.derain.learning_rate = 0.5
    listed = by_name(config)
    assert {run.batch_size for run in listed.values()} == {4}
    assert {run.encoder.width for run in listed.values()} == {32}
    for name, run in listed.items():
        if run.stage == "distill":
            assert run.num_steps == 30
        elif run.stage == "derain":
            total = 1000 + 1000 + 30 + 70  # with the teachers' own
            assert run.num_steps == (total if "scratch_total" in name else 70)
            factor = {"twice": 2, "half": 0.5}.get(name.split("_")[1], 1)
            assert run.learning_rate == 0.5 * factor
    # All of V2 learns at the decoder's rate, which can still be tuned.
    assert listed["scratch_seed1"].encoder_learning_rate == 0.5
    config.scratch.learning_rate = 0.25
    listed = by_name(config)
    assert listed["scratch_seed1"].encoder_learning_rate == 0.25
    assert listed["scratch_half_seed1"].learning_rate == 0.125
    assert listed["derain_both_seed1"].learning_rate == 0.5


def test_listing_changes_nothing_of_the_config(config):
    before = config_check.as_json(config)
    runs.list_runs(config)
    assert config_check.as_json(config) == before


def test_only_the_teachers_that_rows_learn_from_are_trained(config):
    config.rows = ("recon_only",)
    config.seeds = (2,)
    names = ["recon", "distill_recon_only_seed2", "derain_recon_only_seed2"]
    assert list(by_name(config)) == names
    config.rows = ("scratch",)
    assert list(by_name(config)) == ["scratch_seed2"]


def test_one_stage_is_listed_as_it_is_and_a_pipeline_without_unused_teachers():
    config = recog.get_config("smoke")
    assert runs.list_runs(config) == [config]
    config = four_stages.get_config("smoke")
    config.teachers = ("recog",)
    listed = runs.list_runs(config)
    assert [run.stage for run in listed] == ["recog", "distill", "derain"]
    assert {run.teachers for run in listed[1:]} == {("recog",)}


def test_the_pipeline_smears_its_clean_photographs_and_derains_its_pairs():
    config = pipeline_config.get_config("smoke")
    config.update(clean=("folder:/a", "list:b"), clean_weights=(0.3, 0.7))
    config.update(eval_clean=("folder:/c",), pairs=("folder:/d",), num_pairs=5, seed=7)
    inpaint, derain = runs.list_runs(config.lock())
    assert inpaint.pairs == ("smears:folder:/a", "smears:list:b")
    assert inpaint.pairs_weights == (0.3, 0.7)
    assert inpaint.eval_pairs == ("smears:folder:/c",)
    assert (derain.pairs, derain.pairs_weights) == (("folder:/d",), ())
    assert (inpaint.num_pairs, derain.num_pairs) == (0, 5)
    assert (inpaint.seed, derain.seed) == (7, 7)
    assert derain.start_from == inpaint.run


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("rows", ("both", "scrach"), "'scrach' is unknown.*mean 'scratch'"),
        ("rows", (), "must be a tuple of different values, not empty"),
        ("rows", "both", "must be a tuple of different values, not empty"),
        ("rows", ("both", "both"), "must be a tuple of different values, not empty"),
        ("seeds", 3, "must be a tuple of different values, not empty"),
        ("seeds", (-1,), "must be integers >= 0"),
        ("seeds", (1, 1), "must be a tuple of different values, not empty"),
    ],
)
def test_invalid_rows_and_seeds_are_named(config, field, value, fault):
    with config.ignore_type():
        config[field] = value
    with pytest.raises(ValueError, match=f"config.{field}=.*{fault}"):
        runs.list_runs(config)


def test_a_run_name_of_the_users_own_is_rejected(config):
    config.distill.run = "mine"
    with pytest.raises(ValueError, match=r"config.distill.run='mine': .* keep their"):
        runs.list_runs(config)


@pytest.mark.parametrize(
    ("stages", "fault"),
    [
        (("recog", "recno"), "'recno' is no stage; .* did you mean 'recon'"),
        (("recog", "encoder"), "'encoder' is no stage"),
        (("recog", "recog"), "must name stages, each once"),
        ((), "must name stages, each once"),
    ],
)
def test_invalid_stages_are_named(stages, fault):
    config = four_stages.get_config("smoke")
    config.stages = stages
    with pytest.raises(ValueError, match=f"config.stages=.*{fault}"):
        runs.list_runs(config)


@pytest.mark.parametrize("stages", [("derain",), ("inpaint",)])
def test_stages_that_a_planner_would_ignore_are_refused(stages):
    config = pipeline_config.get_config("smoke")
    config.stages = stages
    with pytest.raises(ValueError, match=r"needs \('inpaint', 'derain'\)"):
        runs.list_runs(config)
    paper = pipeline_config.get_config("paper")
    paper.stages = ("derain",)
    assert runs.list_runs(paper) == [paper.derain]


@pytest.mark.parametrize(
    ("planner", "fault"),
    [("nope", "names no module 'nope'"), ("json", "has no function list_runs")],
)
def test_an_invalid_planner_is_named(planner, fault):
    config = pipeline_config.get_config("smoke")
    config.planner = planner
    with pytest.raises(ValueError, match=f"config.planner='{planner}'.* {fault}"):
        runs.list_runs(config)


def test_index_names_the_deraining_run_of_each_seed_and_grows(config, tmp_path):
    config.rows, config.seeds = ("both",), (1,)
    runs._write_index(config, tmp_path / "new")
    config.rows, config.seeds = ("scratch", "both"), (2,)
    runs._write_index(config, tmp_path / "new")
    rows = json.loads((tmp_path / "new" / "ablation.json").read_text())["rows"]
    assert rows == [
        {
            "name": "both",
            "description": "V1: both teachers",
            "tables": [3, 4],
            "reference": "both",
            "runs": {"1": "derain_both_seed1", "2": "derain_both_seed2"},
        },
        {
            "name": "scratch",
            "description": "V2: random weights, pairs alone",
            "tables": [4],
            "reference": "both",
            "runs": {"2": "scratch_seed2"},
        },
    ]
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "ablation.json"]


def test_other_configs_have_no_index(tmp_path):
    for config in (
        four_stages.get_config("smoke"),
        pipeline_config.get_config("smoke"),
    ):
        runs._write_index(config, tmp_path)
    assert not list(tmp_path.iterdir())
