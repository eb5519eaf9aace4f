"""What a checkpoint tells of a run without its weights."""

import numpy as np

from tests.training import metadata
from ttl_jax.weights import checkpoint, rebuild


def test_progress_is_the_last_saved_step_of_those_to_do(tmp_path):
    assert rebuild.read_progress(tmp_path) == (0, None)
    saver = checkpoint.Checkpointer(tmp_path, keep=2)
    params = {"params": {"encoder": {"bias": np.zeros(2, np.float32)}}}
    for step in (3, 12):
        saver.save(step, params, metadata.make(config={"num_steps": 20}))
    saver.close()
    assert rebuild.read_progress(tmp_path) == (12, 20)
