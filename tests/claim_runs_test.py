"""configs/claim.py: the runs of the paper's test and their budgets."""

import numpy as np
import pytest

import ttl_jax
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
