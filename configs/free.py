"""Trains only on photographs that are free for any use, with rendered rain.

    python launch/lists_by_scene.py PHOTOGRAPHS --output runs/lists
    python -m ttl_jax.main --config=configs/free.py --workdir=runs/free

Published pairs are made from photographs for research only. Here all training
photographs are in the list `clean_free_train.txt`; their licences allow any use. The
run `scratch` learns to fill holes in the shape of rain. The run `tuned` continues with
rendered rain and fewer holes. Evaluation uses all validation pairs.

Paper: none.
Expect: not trained yet.
Time: as derain.
"""

from configs import common, derain, four_stages, scratch

_FREE = "list:runs/lists/clean_free_train.txt"
_SHARES = {"rain": 0.35, "kinds": 0.2, "additive": 0.15, "holes": 0.12, "identity": 0.1}


def get_config(preset=None):
    config = four_stages.get_config(preset)
    for stage in config.stages:
        del config[stage]
    del config.teachers
    common.use_lists(config)
    config.pairs = (f"holes:{_FREE}",)
    config.resave_pairs = True
    config.whole_share = 0.1
    config.stages = ("scratch", "tuned")
    for name, make in (("scratch", scratch), ("tuned", derain)):
        config[name] = make.get_config(preset)
        common.follow(config[name], config, but=("preset",))
        config[name].encoder_learning_rate = config[name].get_oneway_ref(
            "learning_rate"
        )
    config.tuned.start_from = "scratch"
    config.tuned.pairs = tuple(f"{kind}:{_FREE}" for kind in _SHARES)
    config.tuned.pairs += (f"identity:structures:{_FREE}",)
    config.tuned.pairs_weights = (*_SHARES.values(), 0.08)
    if config.preset == "smoke":
        return config
    config.num_eval = 0
    config.eval_every = 1000
    config.scratch.num_steps = 6000
    config.tuned.num_steps = 18_000
    config.tuned.crop_mix = ((96, 0.45), (128, 0.35), (192, 0.15), (320, 0.05))
    config.tuned.num_micro_batches = 4  # crops of 320 pixels: 7 GB instead of 26
    return config
