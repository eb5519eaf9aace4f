"""V2 of Table 4: the network of stage 4, trained from random weights on the pairs only.

    python -m ttl_jax.main --config=configs/scratch.py:small \\
        --config.pairs=folder:/photos/pairs

All parameters learn at the decoder's rate: the rate for fine-tuning an encoder is too
low for random weights. Compare V2 with `derain` twice: after the same number of steps,
and after as many steps as all four stages take together.

Paper: section Ablation Study, "Effectiveness of transfer tasks".
Expect: configs/README.md, "The paper's claim, tested".
Time: as derain.
"""

from configs import derain


def get_config(preset=None):
    config = derain.get_config(preset)
    config.from_student = False
    config.encoder_learning_rate = config.get_oneway_ref("learning_rate")
    return config
