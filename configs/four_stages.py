"""The paper's four stages: recog, recon, distill, derain; finished ones are skipped.

    python -m ttl_jax.main --config=configs/four_stages.py:small \\
        --config.rainy=folder:/photos/rain --config.clean=folder:/photos/clean \\
        --config.pairs=folder:/photos/pairs

A field set here holds for every stage; --config.derain.num_steps=500 sets it for one.
Some fields, such as num_steps and learning_rate, exist per stage only.
--config.teachers="('recog',)" trains a row of Table 3, in runs with names of their own.

Paper: Fig. 3.
Expect: configs/README.md, "What was measured of the stages".
Time: the sum of the stages'; see their files.
"""

from configs import common, derain, distill, recog, recon
from ttl_jax.config_fields import FIELDS

STAGES = ("recog", "recon", "distill", "derain")


def get_config(preset=None):
    config = common.get_config(preset)
    for name, field in FIELDS.items():
        if not field.shared and name != "preset":
            del config[name]
    config.teachers = distill.get_config(preset).teachers
    config.planner = "configs.four_stages"  # the module with list_runs
    config.stages = STAGES
    for stage in (recog, recon, distill, derain):
        stage_config = stage.get_config(preset)
        common.follow(stage_config, config, but=("preset",))
        config[stage_config.stage] = stage_config
    return config


def list_runs(config) -> list:
    """Returns the configs of `stages`, without teachers from which no student learns."""
    unused = set()
    if "distill" in config.stages:
        unused = {"recog", "recon"} - set(config.distill.teachers)
    return [config[name] for name in config.stages if name not in unused]
