"""Tables 3 and 4, and further rows: the contribution of each part of the method.

    python -m ttl_jax.main --config=configs/ablation.py:small --workdir=runs/ablation \\
        --config.rainy=folder:/photos/rain --config.clean=folder:/photos/clean \\
        --config.pairs=folder:/photos/pairs

The command trains each teacher that the rows need, once. Then it trains every row of
`rows` with the first seed of `seeds`, then with the next seed, and so on. A row is a
distillation and a fine-tuning, or a training from random weights (V2). All rows of a
seed see the same pairs in the same order for the same number of updates, unless their
description says otherwise. The file `ablation.json` in the workdir lists the rows. If
you run the command again with other rows or seeds, it adds them.
--config.rows="('both','projections')" chooses rows of `make_rows`. A field of one stage
is set as in `four_stages` (--config.derain.num_steps=500). A field of `scratch` has the
value of the same field of `derain`, unless it is set.

Transfer should help most with few pairs. The rows `both_10`, `scratch_10`, `both_50` and
`scratch_50` train on 10 or 50 pairs, drawn anew for each seed.

Note: all seeds share the teachers. The spread over seeds therefore excludes the spread of
the teachers, and is too small.

Paper: section Ablation Study, Tables 3 and 4.
Expect: in the paper, on Test-I, 35.01 dB for `both`, 34.34 for `recog_only`, 33.92 for
`recon_only`, 34.26 for `scratch`, each from one run.
Time: with n seeds and the default rows, 3 n distillations, 4 n trainings on the pairs and
the two teachers; each network is compiled once, not once per run.
"""

import dataclasses
from typing import Any

from configs import common, four_stages, scratch

TEACHERS = ("recog", "recon")
STAGES = (*four_stages.STAGES, "scratch")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the ablation; by default V1.

    Attributes:
      description: One line for tables.
      tables: Tables of the paper that have this row.
      distill: Fields of the distillation that differ from the config.
      derain: Fields of the fine-tuning that differ.
      student: Row whose distilled student is fine-tuned; empty: this row's own.
      scratch: Fields of the training from random weights that differ; None: the row
        fine-tunes a student.
      reference: Row with which tables compare this row.
    """

    description: str
    tables: tuple[int, ...] = ()
    distill: dict[str, Any] = dataclasses.field(default_factory=dict)
    derain: dict[str, Any] = dataclasses.field(default_factory=dict)
    student: str = ""
    scratch: dict[str, Any] | None = None
    reference: str = "both"


def get_config(preset=None):
    config = four_stages.get_config(preset)
    del config.teachers
    config.planner = "configs.ablation"  # the module with list_runs and list_rows
    config.stages = STAGES
    config.rows = ("both", "recog_only", "recon_only", "scratch")
    # The teachers use config.seed. With the same seed, a student would start from the
    # random values that its teachers started from.
    config.seeds = (1, 2, 3)
    config.scratch = scratch.get_config(preset)
    own = ("stage", "run", "from_student", "encoder_learning_rate")
    common.follow(config.scratch, config.derain, but=own)
    return config


def make_rows(config) -> dict[str, Row]:
    """Returns all rows by name."""
    rate = config.derain.learning_rate
    v2_rate = config.scratch.learning_rate
    all_steps = sum(config[name].num_steps for name in (*TEACHERS, "distill", "derain"))
    recog, recon = ({"teachers": (name,)} for name in TEACHERS)
    rows = {
        "both": Row("V1: both teachers", (3, 4)),
        "recog_only": Row("the recognition teacher alone", (3,), recog, recog),
        "recon_only": Row("the reconstruction teacher alone", (3,), recon, recon),
        "scratch": Row("V2: random weights, pairs alone", (4,), scratch={}),
        "scratch_total": Row(
            "V2 for as many updates as the four stages of V1 together",
            (4,),
            scratch={"num_steps": all_steps},
        ),
        "encoder_equal": Row(
            "V1, the encoder at the decoder's learning rate",
            derain=_rates(rate, rate),
            student="both",
        ),
        "encoder_tenth": Row(
            "V1, the encoder at a tenth of the decoder's learning rate, as in the paper",
            derain=_rates(rate, 0.1 * rate),
            student="both",
        ),
        "projections": Row(
            "a 1x1 projection per teacher between the student and Eqs. 3 and 4",
            distill={"projections": True},
        ),
        "student_from_recog": Row(
            "the student starts from E_recog, not from random weights",
            distill={"student_init": "recog"},
        ),
    }
    for name, factor in (("twice", 2), ("half", 0.5)):
        rates = _rates(factor * v2_rate, factor * v2_rate)
        text = f"V2 at {name} the learning rate"
        rows[f"scratch_{name}"] = Row(text, scratch=rates, reference="scratch")
    for count in (10, 50):
        both, pairs = f"both_{count}", {"num_pairs": count}
        rows[both] = Row(f"V1 on {count} pairs", derain=pairs, student="both")
        text = f"V2 on {count} pairs"
        rows[f"scratch_{count}"] = Row(text, scratch=pairs, reference=both)
    return rows


def _rates(decoder: float, encoder: float) -> dict[str, float]:
    return {"learning_rate": decoder, "encoder_learning_rate": encoder}


def list_runs(config) -> list:
    """Returns the configs to train: the teachers that rows need, then each seed's runs.

    Raises:
      ValueError: If `rows` or `seeds` are invalid.
    """
    _check(config)
    runs = {
        run.run: run
        for seed in config.seeds
        for name in config.rows
        for run in _list_runs_of_row(config, name, seed)
    }
    needed = {
        name for run in runs.values() if run.stage == "distill" for name in run.teachers
    }
    return [*(config[name] for name in TEACHERS if name in needed), *runs.values()]


def _list_runs_of_row(config, name: str, seed: int) -> list:
    rows = make_rows(config)
    row = rows[name]

    def change(stage, run_name, fields):
        run = config[stage].copy_and_resolve_references()
        run.update(run=run_name, seed=seed, **fields)
        return run

    last = _last_run(row, name, seed)
    if row.scratch is not None:
        return [change("scratch", last, row.scratch)]
    student = row.student or name
    student_run = f"distill_{student}_seed{seed}"
    return [
        change("distill", student_run, rows[student].distill),
        change("derain", last, {"student_run": student_run, **row.derain}),
    ]


def _last_run(row: Row, name: str, seed: int) -> str:
    """Returns the name of the run of a row that removes rain."""
    return f"{'derain_' if row.scratch is None else ''}{name}_seed{seed}"


def list_rows(config) -> list[dict[str, Any]]:
    """Returns the entries of `ablation.json` for the config's rows and seeds."""
    rows = {name: make_rows(config)[name] for name in config.rows}
    return [
        {
            "name": name,
            "description": row.description,
            "tables": list(row.tables),
            "reference": row.reference,
            "runs": {str(seed): _last_run(row, name, seed) for seed in config.seeds},
        }
        for name, row in rows.items()
    ]


def _check(config) -> None:
    common.check_stages(config, STAGES)
    common.check_choices(config, "seeds")
    if not all(isinstance(seed, int) and seed >= 0 for seed in config.seeds):
        raise ValueError(f"config.seeds={config.seeds!r} must be integers >= 0.")
    common.check_choices(config, "rows", make_rows(config))
