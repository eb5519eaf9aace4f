"""The command that packs a run's weights into one file."""

import numpy as np
import pytest

from tests import pictures
from tests.inference import tiny_networks
from tests.training import metadata
from ttl_jax import pack
from ttl_jax.inference.restorer import Restorer
from ttl_jax.weights import checkpoint, flat_params, packed_files


@pytest.fixture
def run_dir(tmp_path):
    """A run of the stage derain, as training saves it."""
    modules = dict(zip(("encoder", "decoder"), tiny_networks.make()))
    params = {name: flat_params.split_module(m)[1] for name, m in modules.items()}
    described = {
        "encoder": {
            "factory": "make_encoder",
            "width": 8,
            "num_blocks": 1,
            "head_width": 4,
            "window": 4,
            "local_kernel": 5,
        },
        "decoder": {"factory": "make_image_decoder", "width": 8, "pools": [8, 4]},
    }
    for module in described.values():
        module["stem_stride"] = 2
    saver = checkpoint.Checkpointer(tmp_path / "derain", keep=1)
    saver.save(5, {"params": params}, metadata.make(modules=described))
    saver.close()
    return tmp_path / "derain"


def test_a_packed_run_restores_as_the_run_does(run_dir, tmp_path, capsys):
    output = tmp_path / "mine.safetensors"
    assert pack.main([str(run_dir), "--output", str(output)]) == 0
    assert f"{output.stat().st_size:,} bytes" in capsys.readouterr().out
    image = pictures.noise(32, 48, 3)
    of_run, of_file = (Restorer.from_checkpoint(path) for path in (run_dir, output))
    restored = of_file.restore(image)
    np.testing.assert_array_equal(restored, of_run.restore(image))
    assert (restored != image).any()
    assert (of_file.name, of_file.step) == ("mine", 5)


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as exit_:
        pack.main([str(argument) for argument in arguments])
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_mistakes_are_reported_in_one_line(run_dir, tmp_path, capsys):
    there = tmp_path / "there.safetensors"
    there.write_bytes(b"mine")
    assert "--overwrite" in refusal(capsys, run_dir, "--output", there)
    assert there.read_bytes() == b"mine"
    assert "must end in .safetensors" in refusal(
        capsys, run_dir, "--output", tmp_path / "x.npz"
    )
    assert "holds no checkpoint" in refusal(
        capsys, tmp_path / "gone", "--output", tmp_path / "x.safetensors"
    )
    assert pack.main([str(run_dir), "--output", str(there), "--overwrite"]) == 0
    assert there.read_bytes() != b"mine"


def test_other_sums_restore_as_a_network_that_has_them(run_dir, tmp_path):
    output = tmp_path / "local.safetensors"
    assert pack.main([str(run_dir), "--output", str(output), "--sums", "16,1"]) == 0
    networks = tiny_networks.make(attention_cell=16, attention_radius=1)
    expected = Restorer(*networks, name="local")
    image = pictures.noise(96, 80, 3)  # larger than a box of 48 pixels
    restored = Restorer.from_checkpoint(output).restore(image)
    np.testing.assert_array_equal(restored, expected.restore(image))
    assert (restored != Restorer.from_checkpoint(run_dir).restore(image)).any()


def test_invalid_sums_are_refused_before_anything_is_written(run_dir, tmp_path, capsys):
    output = tmp_path / "local.safetensors"
    for sums, message in {
        "7,1": "multiple of stem_stride",
        "64": "CELL,RADIUS",
    }.items():
        assert message in refusal(capsys, run_dir, "--output", output, "--sums", sums)
    peer = tmp_path / "peer.safetensors"
    parts = {"encoder": {}, "decoder": {}}
    described = {name: {"factory": "make_restormer"} for name in parts}
    ancestors = {"digests": [], "are_all": True}
    packed = metadata.make(modules=described, step=1, ancestors=ancestors)
    packed_files.write(peer, parts, packed)
    message = "has no channel attention"
    assert message in refusal(capsys, peer, "--output", output, "--sums", "64,1")
    assert not output.exists()
