"""The recommended stages: remove smears from clean photographs, then rain from pairs.

    python -m ttl_jax.main --config=configs/pipeline.py:small --workdir=runs/mine \\
        --config.clean=folder:/photos/clean --config.pairs=folder:/photos/pairs

The run `inpaint` is `configs/inpaint.py`, with smears on the photographs of `clean`.
The run `derain` trains its encoder and its decoder further on the pairs. A network
forgets other rain while it learns from pairs. The result is therefore the mean of the
weights before and after the run `derain`. This is the variant `V3` of
`configs/claim.py`. The preset `paper` has the stages of the paper,
`configs/four_stages.py`.

Paper: none; its Introduction names the reconstruction of occluded objects as a task.
Expect: configs/README.md, "The paper's test": a gain over the same network from random
weights on other kinds of rain and on real pairs, and a loss on the rain of the pairs.
Time: as derain, for the updates of both runs.
"""

from configs import common, derain, four_stages, inpaint

STAGES = ("inpaint", "derain")


def get_config(preset=None):
    config = four_stages.get_config(preset)
    if config.preset == "paper":
        return config
    rainy = ("rainy", "rainy_weights", "eval_rainy")
    for name in (*config.stages, *rainy, "teachers"):
        del config[name]
    config.planner = "configs.pipeline"  # the module with list_runs
    config.stages = STAGES
    for name, make, own in (
        ("inpaint", inpaint, (*common.DATA_FIELDS, "num_pairs")),
        ("derain", derain, ()),
    ):
        config[name] = make.get_config(preset)
        common.follow(config[name], config, but=("preset", *own))
        config[name].run = name
    for field in common.DATA_FIELDS:  # `list_runs` sets them from `clean`
        del config.inpaint[field]
    config.derain.start_from = "inpaint"
    config.derain.start_share = 0.5
    config.derain.encoder_learning_rate = config.derain.get_oneway_ref("learning_rate")
    return config


def list_runs(config) -> list:
    """Returns the configs of both runs; `inpaint` has the photographs of `clean`."""
    common.check_stages(config, STAGES)
    first = config.inpaint.copy_and_resolve_references()
    common.without_data(first)
    first.update(
        pairs=_smear(config.clean),
        pairs_weights=config.clean_weights,
        eval_pairs=_smear(config.eval_clean),
    )
    return [first, config.derain]


def _smear(sources: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"smears:{source}" for source in sources)
