"""The command in an empty folder, with a stand-in for the network."""

import numpy as np
import pytest


@pytest.fixture
def loaded(tmp_path, monkeypatch, replace_network):
    """Runs in an empty folder, with a network that inverts; lists the loaded weights."""
    monkeypatch.chdir(tmp_path)
    return replace_network(lambda array: np.iinfo(array.dtype).max - array)
