"""The runs that a config asks for: one, a pipeline's stages, or those of an ablation.

An ablation's working directory holds `ablation.json`, for whoever makes its tables:

    {"rows": [{"name": "recog_only",              of config.variants
               "description": "the recognition teacher alone",
               "tables": [3],                     of the paper; [] for rows beyond it
               "reference": "both",               the row that it is compared with
               "runs": {"1": "derain_recog_only_seed1", ...}},     by seed
              ...]}

A row's runs are those that restore images: folders beside that file, from the time they
are trained on. Rows come in the order in which commands first asked for them.
"""

import pathlib
from typing import Any

from ttl_jax import atomic_files, suggestions
from ttl_jax.training import sharding

INDEX = "ablation.json"

_TEACHERS = ("recog", "recon")
_OF_ROWS = ("distill", "derain", "scratch")  # a ConfigDict has an order of its own


def list_runs(config) -> list[Any]:
    """The configs to train, one stage each, in order.

    Args:
      config: A `ConfigDict` as `configs/*.py` return it: of one stage, with `stages` of
        a pipeline, or with `rows` of an ablation.

    Raises:
      ValueError: If a stage of several has a run of its own name, where the later ones
        look for it under the usual one; if an ablation's rows or seeds are at fault.
    """
    if "rows" in config:
        return _list_ablation(config)
    if "stages" not in config:
        return [config]
    _check_run_names(config, config.stages)
    return [config[name] for name in config.stages]


def write_index(config, workdir: str | pathlib.Path) -> None:
    """Writes `ablation.json`, with the rows and seeds of earlier commands kept in it.

    Does nothing for other configs.

    Raises:
      ValueError: If the file that is there cannot be read, or is no such index.
    """
    if "rows" not in config or not sharding.is_writer():
        return
    path = pathlib.Path(workdir) / INDEX
    try:
        known = atomic_files.read_json(path)["rows"] if path.exists() else []
        rows = _merge_rows(config, known)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} tells no ablation ({error!r}); move it elsewhere, and this command "
            "writes another."
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_files.write_json(path, {"rows": rows})


def _list_ablation(config) -> list[Any]:
    """The teachers that the rows need, then each seed's runs."""
    _check_rows(config)
    _check_run_names(config, _TEACHERS + _OF_ROWS)
    runs = {
        run.run: run for seed in config.seeds for name in config.rows
        for run in _runs_of_row(config, name, seed)
    }  # fmt: skip
    needed = {
        name for run in runs.values() if run.stage == "distill" for name in run.teachers
    }
    teachers = [config[name] for name in _TEACHERS if name in needed]
    return [*teachers, *runs.values()]


def _runs_of_row(config, row: str, seed: int) -> list[Any]:
    """The row's stages, each with the fields in which it differs.

    The first is another row's where that has the student that this one starts from.
    """
    student = config.variants[row].student or row
    runs = []
    for stage in _stages_of(config, row):
        origin = student if stage == "distill" else row
        run = config[stage].copy_and_resolve_references()
        changes = config.variants[origin].stages[stage]
        _change(run, changes, f"config.variants.{origin}.stages.{stage}")
        run.run, run.seed = _run_name(stage, origin, seed), seed
        if stage == "derain":
            run.student_run = _run_name("distill", student, seed)
        runs.append(run)
    return runs


def _stages_of(config, row: str) -> list[str]:
    return [stage for stage in _OF_ROWS if stage in config.variants[row].stages]


def _run_name(stage: str, row: str, seed: int) -> str:
    """For example derain_both_seed1; what is from scratch says so in its row's name."""
    return f"{row}_seed{seed}" if stage == "scratch" else f"{stage}_{row}_seed{seed}"


def _change(run, changes, where: str) -> None:
    for field, value in changes.items():
        if field not in run:
            raise ValueError(f"{where}.{field}: {_suggest(field, run)}")
        if hasattr(value, "items"):  # a ConfigDict, which is no Mapping
            _change(run[field], value, f"{where}.{field}")
        else:
            run[field] = value


def _check_rows(config) -> None:
    for field in ("rows", "seeds"):
        values = config[field]
        if not isinstance(values, tuple) or not values:
            raise ValueError(f"config.{field}={values!r} must be a tuple, not empty.")
        if len(set(values)) < len(values):
            raise ValueError(f"config.{field}={values!r} names one of them twice.")
    if not all(isinstance(seed, int) and seed >= 0 for seed in config.seeds):
        raise ValueError(f"config.seeds={config.seeds!r} must be whole numbers from 0.")
    for name in config.rows:
        if name not in config.variants:
            raise ValueError(
                f"config.rows={config.rows!r}: {_suggest(name, config.variants)}"
            )
        for field in ("student", "reference"):
            other = config.variants[name][field]
            if other and other not in config.variants:
                where = f"config.variants.{name}.{field}"
                raise ValueError(f"{where}: {_suggest(other, config.variants)}")
        student = config.variants[name].student
        if student and "distill" not in config.variants[student].stages:
            raise ValueError(
                f"config.variants.{name}.student={student!r} has no distillation that "
                "another row could start from."
            )


def _suggest(name: str, known) -> str:
    return f"{name!r} is unknown; choose from {suggestions.known_and_hint(name, known)}"


def _check_run_names(config, stages) -> None:
    for name in stages:
        if config[name].run:
            raise ValueError(
                f"config.{name}.run={config[name].run!r}: the runs of several stages "
                "keep their names. Give them another --workdir, or train the stage alone."
            )


def _merge_rows(config, known: list[dict]) -> list[dict]:
    """The rows known already, and those of the config with the runs known of them."""
    rows = {row["name"]: row for row in known}
    for name in config.rows:
        last = _stages_of(config, name)[-1]
        runs = {str(seed): _run_name(last, name, seed) for seed in config.seeds}
        rows[name] = {
            "name": name,
            "description": config.variants[name].description,
            "tables": list(config.variants[name].tables),
            "reference": config.variants[name].reference,
            "runs": rows.get(name, {}).get("runs", {}) | runs,
        }
    return list(rows.values())
