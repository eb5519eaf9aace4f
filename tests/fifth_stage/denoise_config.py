"""The config of the task: python -m ttl_jax.main --config=tests/fifth_stage/..."""

from configs import common


def get_config(preset=None):
    config = common.get_config(preset)
    config.stage = "tests.fifth_stage.denoise"
    config.dataset = "clean"
    config.noise_level = 0.1
    return config
