"""A further transfer task: remove smears in the shape of rain from clean photographs.

    python -m ttl_jax.main --config=configs/inpaint.py:small \\
        --config.pairs=smears:folder:/photos/clean
    python -m ttl_jax.main --config=configs/derain.py:small \\
        --config.start_from=inpaint --config.pairs=folder:/photos/pairs \\
        --config.encoder_learning_rate=1e-3 --config.start_share=0.5

As in `recon`, the labels are the photographs themselves. The second command continues with
the encoder and the decoder of the first; with `start_share`, the pairs do not make the
network forget what it learned. `holes:` instead of `smears:` hides pixels completely.

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
