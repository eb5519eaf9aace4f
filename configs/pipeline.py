"""The recommended stages: first smears on clean photographs, then rain, from pairs.

    python -m ttl_jax.main --config=configs/pipeline.py:small --workdir=runs/mine \\
        --config.inpaint.pairs=smears:folder:/photos/clean \\
        --config.pairs=folder:/photos/pairs

The run `inpaint` is `configs/inpaint.py`. The run `derain` continues with its encoder and its
decoder on the pairs. A network forgets other rain while it learns from pairs, so the result is
the mean of the weights before and after them. This is the variant `V3` of
`configs/claim.py`. The preset `paper` has the stages of the paper, `configs/four_stages.py`.

Paper: none; its Introduction names the reconstruction of occluded objects as a task.
Expect: configs/README.md, "The paper's test": a gain over the same network from random weights
on other kinds of rain and on real pairs, and a loss on the rain of the pairs.
Time: as derain, for the updates of both runs.
"""

from configs import common, derain, four_stages, inpaint

_PAIRS = ("pairs", "pairs_weights", "eval_pairs", "num_pairs")  # of derain alone


def get_config(preset=None):
    config = four_stages.get_config(preset)
    if config.preset == "paper":
        return config
    unused = [name for name in config if name.endswith(("rainy", "clean"))]
    for name in (*config.stages, *unused, "rainy_weights", "clean_weights", "teachers"):
        del config[name]
    config.stages = ("inpaint", "derain")
    for name, make, own in (("inpaint", inpaint, _PAIRS), ("derain", derain, ())):
        config[name] = make.get_config(preset)
        common.follow(config[name], config, but=("preset", *own))
        config[name].run = name
    config.derain.start_from = "inpaint"
    config.derain.start_share = 0.5
    config.derain.encoder_learning_rate = config.derain.get_oneway_ref("learning_rate")
    return config
