"""Remove rain with few pairs: the network first learns to remove smears from clean photographs.

    python -m ttl_jax.main --config=configs/few_pairs.py:small --workdir=runs/few \\
        --config.inpaint.pairs=smears:folder:/photos/clean \\
        --config.pairs=folder:/photos/pairs

The run `inpaint` is `configs/inpaint.py`. The run `derain` continues with its encoder and its
decoder on the pairs. A network that sees few pairs forgets other rain, so the result is the mean
of the weights before and after them. This is the variant `smears-mean` of `configs/claim.py`.

Paper: none; its Introduction names the reconstruction of occluded objects as a task.
Expect: configs/README.md, "The paper's test": with ten pairs, a gain over the same network
from random weights on other kinds of rain and on real pairs.
Time: as derain, for the updates of both runs.
"""

from configs import common, derain, inpaint, pipeline

_PAIRS = ("pairs", "pairs_weights", "eval_pairs", "num_pairs")  # of derain alone


def get_config(preset=None):
    config = pipeline.get_config(preset)
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
