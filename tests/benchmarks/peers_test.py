"""Networks of others beside ours; PyTorch is replaced where it is missing."""

import json
import re
import sys

import jax
import numpy as np
import pytest

from ttl_jax import benchmark, memory
from ttl_jax.benchmarks import peers, torch_peers

# Stands for PyTorch in this process and in those that it starts.
FAKE_TORCH = """
import sys
from unittest import mock
sys.modules[__name__] = mock.MagicMock(__spec__=__spec__)
"""
NETWORK = """
import time

class Weight:
    def numel(self):
        return 250_000

class Waiting:
    def __init__(self, seconds, names=("weight",)):
        self.seconds, self.names = seconds, names

    def parameters(self):
        return [Weight() for _ in self.names]

    def train(self):
        self.seconds *= 3

    def eval(self):
        pass

    def __call__(self, images):
        time.sleep(self.seconds)
        return [images]
"""
TORCH_NETWORK = """
import torch

class Two(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, width, 1)
        self.back = torch.nn.Conv2d(width, 3, 1)

    def forward(self, images):
        return images + self.back(self.conv(images)), images
"""


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "network.py"
    path.write_text(NETWORK)
    return path


@pytest.fixture
def fake_torch(tmp_path, monkeypatch):
    folder = tmp_path / "fake"
    folder.mkdir()
    (folder / "torch.py").write_text(FAKE_TORCH)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    yield
    sys.modules.pop("torch", None)


def compare(tmp_path, **arguments):
    sizes = {"crop_size": 16, "batch_size": 4, "side": 32, "rounds": 3}
    table = peers.run(**sizes, **arguments, output=str(tmp_path))
    return table, json.loads((tmp_path / peers.TABLES).read_text())["peers"]


@pytest.mark.usefixtures("fake_torch")
def test_ratios_are_those_of_the_times(network, tmp_path):
    words = [
        [f"slow={network}:Waiting", "seconds=0.1", "names=['a','b','c','d']"],
        [f"quick={network}:Waiting", "seconds=0.05"],
    ]
    table, (slow, quick) = compare(tmp_path, networks=[], peers=words)
    assert (slow["network"], quick["network"]) == ("slow", "quick")
    assert (slow["params_m"], quick["params_m"]) == (1.0, 0.25)
    assert slow["update_ratio"] == slow["restore_ratio"] == 1
    # While it trains, the network waits three times as long.
    assert slow["update_ms"] / slow["restore_ms"] == pytest.approx(3, rel=0.3)
    assert quick["update_ratio"] == pytest.approx(0.5, rel=0.3)
    assert quick["restore_ratio"] == pytest.approx(0.5, rel=0.3)
    assert "| slow | torch | 1 |" in table


@pytest.mark.slow
@pytest.mark.usefixtures("fake_torch")
def test_our_networks_stand_beside_peers(network, tmp_path):
    words = [[f"other={network}:Waiting", "seconds=0.001"]]
    _, (other, ours) = compare(tmp_path, networks=["smoke"], peers=words)
    assert (other["library"], ours["library"]) == ("torch", "jax")
    for kind in ("update", "restore"):
        ratio = ours[f"{kind}_ms"] / other[f"{kind}_ms"]
        assert ours[f"{kind}_ratio"] == pytest.approx(ratio)
        # A process with JAX holds more than one with the fake.
        assert ours[f"{kind}_mib"] > other[f"{kind}_mib"] > 0


def test_a_peer_of_pytorch_learns_and_restores(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    path = tmp_path / "two.py"
    path.write_text(TORCH_NETWORK)
    peer = torch_peers.parse([f"two={path}:Two", "width=5"])
    made = _, network = torch_peers._make_network(peer)
    monkeypatch.setattr(torch_peers, "_make_network", lambda peer: made)
    first = [weight.detach().clone() for weight in network.parameters()]
    update = torch_peers.make_update(peer, 8, 2)
    assert update.facts["params_m"] * 1e6 == 3 * 5 + 5 + 5 * 3 + 3
    update.run()
    # AdamW's first step changes every weight by about its rate.
    for before, after in zip(first, network.parameters()):
        torch.testing.assert_close(
            abs(after - before), 0 * before + 1e-4, atol=2e-5, rtol=0
        )
    image = torch_peers.make_restoration(peer, 8).run()
    assert image.shape == (1, 3, 8, 8) and not image.requires_grad


def test_a_machine_without_pytorch_is_told_its_package(network, monkeypatch):
    monkeypatch.setattr(torch_peers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs PyTorch; install: pip install torch"):
        torch_peers.parse([f"other={network}:Waiting"])


@pytest.mark.usefixtures("fake_torch")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("other", "expected NAME=FILE:CLASS"),
        ("other={}", "expected NAME=FILE:CLASS"),
        ("other={}:Waiting seconds", "expected NAME=FILE:CLASS"),
        ("other={}x:Waiting", "network.pyx is not a file"),
        ("other={}:Wating seconds=1", "has no class 'Wating'; it has Weight, Waiting"),
        ("other={}:Waiting second=1", "unexpected keyword .*Its arguments: .*names="),
    ],
)
def test_wrong_peers_are_named(network, words, message):
    with pytest.raises(ValueError, match=message):
        torch_peers._make_network(torch_peers.parse(words.format(network).split()))


@pytest.mark.usefixtures("fake_torch")
def test_a_file_that_cannot_be_imported_is_named(network):
    network.write_text("import no_such_package")
    peer = torch_peers.parse([f"other={network}:Waiting"])
    with pytest.raises(ValueError, match="'no_such_package'.* set PYTHONPATH"):
        torch_peers._make_network(peer)


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ("restorme:tiny", "'restorme' is unknown.*did you mean 'restormer'"),
        ("restormer:tinny", "Unknown preset 'tinny'"),
        ("tiny tiny", "'tiny' is given twice"),
    ],
)
def test_wrong_networks_are_named_before_any_is_compiled(networks, message, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["peers", "--networks", *networks.split()])
    assert re.search(message, capsys.readouterr().err)


def test_peers_are_compared_on_a_cpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(ValueError, match="set JAX_PLATFORMS=cpu"):
        compare(None, networks=["smoke"], peers=[])


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from Linux")
def test_the_peak_of_memory_is_that_since_the_last_reset():
    np.ones(2**24)  # 128 MiB
    memory.reset_peak()
    first = memory.peak_mib()
    np.ones(2**23)
    assert 60 < memory.peak_mib() - first < 68
