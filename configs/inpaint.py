"""A further transfer task: remove smears in the shape of rain from clean photographs.

    python -m ttl_jax.main --config=configs/inpaint.py:small \\
        --config.pairs=smears:folder:/photos/clean

As in `recon`, the targets are the photographs themselves. `configs/pipeline.py` trains
the encoder and the decoder of this run further on pairs. `holes:` instead of `smears:`
hides pixels completely.

Paper: the Introduction names the reconstruction of occluded objects as a task.
Expect: configs/README.md, "The paper's test".
Time: as derain.
"""

from configs import scratch


def get_config(preset=None):
    config = scratch.get_config(preset)
    config.run = "inpaint"
    config.pairs = ("smears:sample/train",)
    config.eval_pairs = ("smears:sample/test",)
    return config
