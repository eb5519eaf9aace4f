"""A further transfer task: fill holes in the shape of rain in clean photographs.

    python -m ttl_jax.main --config=configs/inpaint.py:small \\
        --config.pairs=holes:folder:/photos/clean
    python -m ttl_jax.main --config=configs/derain.py:small \\
        --config.start_from=inpaint --config.pairs=folder:/photos/pairs

As in `recon`, the labels are the photographs themselves. The second command continues with
the encoder and the decoder of the first.

Paper: the Introduction names the reconstruction of occluded objects as a task.
Expect: configs/README.md, "The paper's test".
Time: as derain.
"""

from configs import scratch


def get_config(preset=None):
    config = scratch.get_config(preset)
    config.run = "inpaint"
    config.pairs = ("holes:sample/train",)
    config.eval_pairs = ("holes:sample/test",)
    return config
