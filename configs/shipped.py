"""The recipe of the shipped weights: `configs/pipeline.py` on a collection's lists.

    python launch/lists_by_scene.py PHOTOGRAPHS --output runs/lists
    python -m ttl_jax.main --config=configs/shipped.py --workdir=runs/shipped

`bash launch/weights.sh PHOTOGRAPHS` does this, trains the recognition network that judges
and packs both. Every choice, with what was tried beside it, stands in
ttl_jax/weights/MODEL_CARD.md; only training scenes are trained on, and the validation
scenes chose.

Paper: Fig. 3; section Training details has its own recipe (`:paper`).
Expect: ttl_jax/weights/MODEL_CARD.md, "Figures".
Time: about seven hours on 2 CPU cores.
"""

from configs import pipeline

_LISTS = "list:runs/lists"
_RAINY, _CLEAN, _PAIRS = (
    f"{_LISTS}/{kind}_train.txt" for kind in ("rainy", "clean", "pairs")
)


def get_config(preset=None):
    config = pipeline.get_config(preset)
    config.rainy = (_RAINY,)
    config.clean = (_CLEAN,)
    config.pairs = (
        _PAIRS,
        f"streaks:{_PAIRS} on {_CLEAN}",
        f"rain:{_CLEAN}",
        f"identity:{_CLEAN}",
    )
    config.pairs_weights = (0.5, 0.35, 0.1, 0.05)
    config.eval_rainy = (f"{_LISTS}/rainy_validation.txt",)
    config.eval_clean = (f"{_LISTS}/clean_validation.txt",)
    config.eval_pairs = (f"{_LISTS}/pairs_validation.txt",)
    if config.preset == "smoke":
        return config
    config.num_eval = 0
    config.eval_every = 1000
    for stage, num_steps in (("recog", 800), ("recon", 800), ("distill", 800)):
        config[stage].num_steps = num_steps
    config.derain.num_steps = 10_000
    config.derain.crop_sizes = ((0, 64), (7000, 96))
    config.derain.encoder_learning_rate = config.derain.get_oneway_ref("learning_rate")
    return config
