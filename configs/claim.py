"""The paper's test: train on the rain of one generator, test on all others.

    python -m launch.claim /photos/collection --workdir=runs/claim

This trains and scores the whole table. To train one seed without scoring it:

    python -m ttl_jax.main --config=configs/claim.py:tiny --config.seed=1 \\
        --workdir=runs/claim/seed1

The transfer tasks learn from all real training photographs. Then every variant of
`VARIANTS` learns to remove the rain of each generator from the pairs of each number of
scenes. All lists come from `launch/lists_by_scene.py`: the scenes of a test are neither
training backgrounds nor training photographs.

All variants use the same number of updates in all stages together, except `V2-short`,
which has those of the last stage alone. The variants `Restormer` and `NAFNet` are networks
of others with as many multiply-adds, trained like V2 on the same batches.

Paper: section Experiments: one generator (Rain1200) trains, other sets test.
Expect: configs/README.md, "The paper's test".
Time: with n variants on g generators and s numbers of scenes, the transfer tasks once and
n g s trainings on pairs, for each seed; each network is compiled once.
"""

import dataclasses
import pathlib
from typing import Any

from ml_collections import FieldReference

from configs import (
    common,
    degradations,
    four_stages,
    inpaint,
    nafnet,
    restormer,
    scratch,
)
from ttl_jax import user_paths

GENERATORS = {
    "additive": "additive:list:{list}",
    "Rain100H": "list:{list}",
}
_ALL = 0  # number of scenes
_NETWORKS = {"restormer": restormer, "nafnet": nafnet}  # of others
STAGES = (*four_stages.STAGES, "inpaint", "scratch", *_NETWORKS)


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to use the transfer tasks; by default V1.

    Attributes:
      description: One line for tables.
      start: Origin of the weights that learn from pairs: "student", "inpaint" (encoder
        and decoder), or "random".
      recog: Fields of the recognition task that differ from the config.
      recon: Fields of the reconstruction task that differ.
      distill: Fields of the distillation that differ.
      task: Source of the pairs of `inpaint`: "holes" or "smears".
      rehearsal: Share of the last stage's batches that comes from `inpaint`.
      derain: Fields of the last stage that differ.
      one_rate: Whether the encoder learns from pairs at the decoder's rate, as in V2.
      is_long: Whether training from random weights has the updates of all stages.
      config: Config of the network if it starts from random weights.
    """

    description: str
    start: str = "student"
    recog: dict[str, Any] = dataclasses.field(default_factory=dict)
    recon: dict[str, Any] = dataclasses.field(default_factory=dict)
    distill: dict[str, Any] = dataclasses.field(default_factory=dict)
    task: str = "holes"
    rehearsal: float = 0.0
    derain: dict[str, Any] = dataclasses.field(default_factory=dict)
    one_rate: bool = False
    is_long: bool = True
    config: str = "scratch"


_CLASSES = {"num_classes": degradations.NUM_CLASSES}
_MASKED = {"masked_share": 0.5}
VARIANTS = {
    "V1": Variant("task transfer as in the paper"),
    "V2": Variant("random weights, for the updates of all stages of V1", "random"),
    "V2-short": Variant("random weights", "random", is_long=False),
    "V3": Variant(
        "the stages of `pipeline`: as smears, and the mean of the weights before and after",
        "inpaint",
        task="smears",
        one_rate=True,
        derain={"start_share": 0.5},
    ),
    "shared": Variant(
        "E_recon starts from E_recog, and the student from E_recon",
        recon={"encoder_run": "recog"},
        distill={"student_init": "recon"},
    ),
    "masked": Variant(
        "half of the patches of the input are masked in the transfer tasks",
        recog=_MASKED,
        recon=_MASKED,
        distill=_MASKED,
    ),
    "projections": Variant(
        "a projection per teacher, standardized features, teachers dropped at random",
        distill={"projections": True, "standardize": True, "teacher_dropout": 0.25},
    ),
    "degradations": Variant(
        "E_recog recognizes kind and level of degradations instead of rain",
        recog={"stage": "degradations", **_CLASSES},
        distill=_CLASSES,
    ),
    "inpaint": Variant("starts from the task inpaint alone", "inpaint"),
    "smears": Variant(
        "starts from inpaint with translucent smears that brighten; one rate for all params",
        "inpaint",
        task="smears",
        one_rate=True,
    ),
    "smears-rehearsal": Variant(
        "as smears, which stay a third of the batches",
        "inpaint",
        task="smears",
        rehearsal=1 / 3,
        one_rate=True,
    ),
    "Restormer": Variant("Restormer, trained like V2", "random", config="restormer"),
    "NAFNet": Variant("NAFNet, trained like V2", "random", config="nafnet"),
}
# Variants that lost and left the code; their rows name the commit that had them.
DROPPED = {
    "inpaint-rehearsal": "starts from inpaint, which stays a sixth of the batches",
    "grey-smears": "starts from inpaint with fewer smears, which also darken",
    "soft-smears": "as smears, with faint rain between the smears",
    "soft-smears-mean": "as soft-smears; the mean of the weights before and after the pairs",
    "by-depth": "as smears; the last blocks begin to learn first",
    "mixed-smears-mean": "as V3, half of the photographs with soft smears",
}


def get_config(preset=None):
    config = four_stages.get_config(preset)
    del config.teachers
    config.planner = "configs.claim"
    config.stages = STAGES
    config.variants = ("V1", "V2", "V2-short", "V3")
    config.generators = tuple(GENERATORS)
    config.num_scenes = (10, 50, _ALL)
    config.seed = 1
    config.lists = "runs/lists"  # folder that launch/lists_by_scene.py wrote
    config.num_eval = 8  # launch/claim.py scores whole images at the end
    config.eval_every = 10**6
    for name, make in (("inpaint", inpaint), ("scratch", scratch)):
        config[name] = make.get_config(preset)
        config[name].run = ""
        own = ("stage", "run", "from_student", "encoder_learning_rate", "num_steps")
        common.follow(config[name], config.derain, but=own)
    if preset != "smoke":
        for stage in ("recog", "recon", "distill"):
            config[stage].num_steps = 500
        config.derain.num_steps = 1000
    # References, so that flags that change a stage keep the totals equal.
    config.inpaint.num_steps = _count(config, "recog", "recon", "distill")
    config.scratch.num_steps = _count(config, "inpaint", "derain")
    for name, make in _NETWORKS.items():
        config[name] = make.get_config(preset)
        config[name].run = ""
        own = ("architecture", "encoder", "learning_rate", "encoder_learning_rate")
        common.follow(config[name], config.scratch, but=own)
    for fields in (config, *(config[name] for name in config.stages)):
        for field in common.DATA_FIELDS:  # they follow from `lists` and the variant
            del fields[field]
    return config


def _count(config, *stages: str) -> FieldReference:
    first, *others = (config[stage].get_oneway_ref("num_steps") for stage in stages)
    return sum(others, start=first)


def list_scenes(config) -> list[tuple[str, int]]:
    """Returns the generators with their numbers of scenes; 0 means all.

    A number that is not smaller than that of all scenes has no list and is left out.

    Raises:
      ValueError: If the list of a smaller number does not exist.
    """
    _check_lists(config)
    return [
        (generator, count)
        for generator in config.generators
        for count in config.num_scenes
        if _list_path(config, generator, count).is_file()
    ]


def list_runs(config) -> list:
    """Returns the configs to train: the transfer tasks, then each variant's runs.

    Raises:
      ValueError: If `variants`, `generators` or `num_scenes` are invalid.
    """
    _check_names(config)
    runs = [
        run
        for generator, num_scenes in list_scenes(config)
        for name in config.variants
        for run in _list_runs(config, name, generator, num_scenes)
    ]
    return list({run.run or run.stage: run for run in runs}.values())


def _list_runs(config, name: str, generator: str, num_scenes: int) -> list:
    """Returns the runs of a variant in order, those of the transfer tasks first."""
    variant = VARIANTS[name]
    transfer, start = _list_transfer(config, name, variant)
    pairs = GENERATORS[generator].format(list=_list_path(config, generator, num_scenes))
    fields: dict[str, Any] = {"run": run_name(name, generator, num_scenes), **start}
    fields |= {"pairs": (pairs,), "eval_pairs": (pairs,), **variant.derain}
    if variant.one_rate:
        fields["encoder_learning_rate"] = config.derain.learning_rate
    if variant.rehearsal:
        fields["pairs"] += (_inpainted(config, variant.task),)
        fields["pairs_weights"] = (1 - variant.rehearsal, variant.rehearsal)
    stage = variant.config if variant.start == "random" else "derain"
    if not variant.is_long:
        fields["num_steps"] = config.derain.num_steps
    return [*transfer, _change(config, stage, fields)]


def _list_transfer(config, name: str, variant: Variant) -> tuple[list, dict[str, Any]]:
    """Returns the runs of the transfer tasks, and the fields that name their weights."""
    if variant.start == "random":
        return [], {}
    if variant.start != "student":
        sources = (_inpainted(config, variant.task),)
        run = "inpaint" if variant.task == "holes" else f"inpaint_{variant.task}"
        fields = {"run": run, "pairs": sources, "eval_pairs": sources}
        return [_change(config, "inpaint", fields)], {"start_from": run}
    runs, teachers = [], {}
    for task in ("recog", "recon"):
        changes = getattr(variant, task)
        teachers[task] = f"{task}_{name}" if changes else task
        runs.append(_change(config, task, {"run": teachers[task], **changes}))
    own = bool(variant.recog or variant.recon or variant.distill)
    student = f"distill_{name}" if own else "distill"
    fields = {"run": student, "teacher_runs": teachers, **variant.distill}
    runs.append(_change(config, "distill", fields))
    return runs, {"student_run": student}


def _inpainted(config, task: str) -> str:
    return f"{task}:list:{config.lists}/clean_train.txt"


def _change(config, stage: str, fields):
    """Returns the config of a stage with other fields and a separate seed.

    With the same seed, a student would start from the random values of its teachers.
    Networks of others share the seed of V2, and so its batches.
    """
    run = config[stage].copy_and_resolve_references()
    stages = [name for name in config.stages if name not in _NETWORKS]
    index = stages.index("scratch" if stage in _NETWORKS else stage)
    common.without_data(run)
    run.update(seed=len(stages) * config.seed + index, **fields)
    for field in ("rainy", "clean"):
        run[field] = run[f"eval_{field}"] = (f"list:{config.lists}/{field}_train.txt",)
    return run


def _list_path(config, generator: str, num_scenes: int) -> pathlib.Path:
    """Returns the path of the list of training backgrounds."""
    drawn = f"{num_scenes}_seed{config.seed}" if num_scenes != _ALL else "all"
    return user_paths.expand(config.lists) / f"claim_{generator}_{drawn}.txt"


def run_name(variant: str, generator: str, num_scenes: int) -> str:
    """Returns the folder of the run that removes rain."""
    return f"{variant}_{generator}_{num_scenes or 'all'}"


def list_rows(config) -> list[dict[str, Any]]:
    """Returns the entries of `ablation.json`; without V2, each row is its own reference."""
    has_v2 = "V2" in config.variants
    return [
        {
            "name": run_name(name, generator, num_scenes),
            "description": VARIANTS[name].description,
            "tables": [],
            "reference": run_name("V2" if has_v2 else name, generator, num_scenes),
            "runs": {str(config.seed): run_name(name, generator, num_scenes)},
        }
        for generator, num_scenes in list_scenes(config)
        for name in config.variants
    ]


def _check_lists(config) -> None:
    for generator in config.generators:
        whole = _list_path(config, generator, _ALL)
        all_scenes = whole.read_text().splitlines() if whole.is_file() else ()
        smaller = [count for count in config.num_scenes if count < len(all_scenes)]
        for path in (whole, *(_list_path(config, generator, n) for n in smaller)):
            if not path.is_file():
                raise ValueError(
                    f"{path} does not exist: launch/lists_by_scene.py writes lists of 10, "
                    "50 and all scenes for the seeds 1 to 3; name their folder with "
                    "--config.lists=FOLDER."
                )


def _check_names(config) -> None:
    common.check_stages(config, STAGES)
    common.check_choices(config, "variants", VARIANTS)
    common.check_choices(config, "generators", GENERATORS)
    common.check_choices(config, "num_scenes")
