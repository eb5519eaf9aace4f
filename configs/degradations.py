"""A further transfer task: classify the kind and the level of a degradation.

    python -m ttl_jax.main --config=configs/degradations.py:small \\
        --config.rainy=folder:/photos/rain --config.clean=folder:/photos/clean

It can replace `recog`, as in the variant `degradations` of `configs/claim.py`. The
classes are real rain, clear, and eleven bins of rendered rain, blur, noise, JPEG
artefacts and veil (`ttl_jax/stages/degradations.py`).

Paper: none; Eq. 1 has two classes.
Expect: configs/README.md, "The paper's test".
Time: as recog.
"""

from configs import recog

NUM_CLASSES = 13


def get_config(preset=None):
    config = recog.get_config(preset)
    config.stage = "degradations"
    config.num_classes = NUM_CLASSES
    return config
