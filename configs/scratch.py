"""V2 of Table 4: the network of stage 4 from random weights, on the pairs alone.

    python -m ttl_jax.main --config=configs/scratch.py:small \\
        --config.pairs=folder:/photos/pairs

All params learn at the decoder's rate: fine-tuning's rate for the encoder would cripple
a random one. Compare with `derain` at its steps, and at the steps of all four stages.

Paper: section Ablation Study, "Effectiveness of transfer tasks".
Expect: README, "What was measured".
Time: as derain.
"""

from configs import derain


def get_config(preset=None):
    config = derain.get_config(preset)
    config.from_student = False
    config.encoder_learning_rate = config.get_oneway_ref("learning_rate")
    return config
