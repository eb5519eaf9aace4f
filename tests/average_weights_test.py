"""The mean of two weights, on those that ship."""

import sys

import numpy as np
import pytest

from launch import average_weights
from ttl_jax.weights import shipped, trained

FIRST, SECOND = "shipped", "shipped@0.1"


def average(monkeypatch, output, share):
    arguments = [FIRST, SECOND, "--share", str(share), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["average_weights.py", *arguments])
    average_weights.main()
    return trained.load(output)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_each_param_lies_between_the_two(monkeypatch, tmp_path, share):
    mean, metadata = average(monkeypatch, tmp_path / "mean.safetensors", share)
    first, second = (trained.load(shipped.find(name))[0] for name in (FIRST, SECOND))
    for module, params in mean.items():
        for name, value in params.items():
            expected = share * first[module][name] + (1 - share) * second[module][name]
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)
    assert metadata["averaged_with"]["name"] == SECOND
    assert metadata["averaged_with"]["share"] == 1 - share


def test_both_are_ancestors_of_the_mean(monkeypatch, tmp_path):
    average(monkeypatch, tmp_path / "mean.safetensors", 0.5)
    ancestors = trained.find_ancestors(tmp_path / "mean.safetensors")
    for name in (FIRST, SECOND):
        path = shipped.find(name)
        assert trained.find_ancestors(path).digests <= ancestors.digests


def test_other_networks_are_refused():
    first = {"encoder": {"kernel": np.zeros(3, np.float32)}}
    with pytest.raises(ValueError, match=r"wanted \(3,\) float32"):
        average_weights.average(
            first, {"encoder": {"kernel": np.zeros(4, np.float32)}}, 0.5, source="b"
        )
    with pytest.raises(ValueError, match="b holds"):
        average_weights.average(first, {"decoder": {}}, 0.5, source="b")
