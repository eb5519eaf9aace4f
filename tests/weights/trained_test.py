"""Trained weights: loading by path, ancestors, packing."""

import shutil

import jax.numpy as jnp
import pytest

from tests.training import metadata
from ttl_jax.weights import (
    checkpoint,
    fingerprints,
    packed_files,
    saved_runs,
    trained,
)


def save_descendant(run_dir, params, *origins, step=1, modules=None):
    """Saves a run with origins: run, step and digest."""
    saver = checkpoint.Checkpointer(run_dir, keep=3)
    told = {
        f"module{i}": {"run": run, "module": "encoder", "step": s, "digest": digest}
        for i, (run, s, digest) in enumerate(origins)
    }
    saver.save(
        step, {"params": params}, metadata.make(origins=told, modules=modules or {})
    )
    saver.close()


def make_params(value):
    """Params of a module, and their digest."""
    params = {"a.bias": jnp.full(3, value, float)}
    return params, fingerprints.digest(params)


def test_ancestors_are_found_through_all_earlier_runs(tmp_path, params):
    (recog, aa), (recon, bb), (student, cc) = map(make_params, (1, 2, 3))
    save_descendant(tmp_path / "recog", {"encoder": recog})
    save_descendant(tmp_path / "recon", {"encoder": recon}, step=4)
    teachers = ("recog", 1, aa), ("recon", 4, bb)
    save_descendant(tmp_path / "distill", {"encoder": student}, *teachers, step=2)
    save_descendant(tmp_path / "derain", {"encoder": params}, ("distill", 2, cc))
    everyone = frozenset({aa, bb, cc})
    runs = {tmp_path / name for name in ("recog", "recon", "distill")}
    assert trained.find_ancestors(tmp_path / "derain") == (everyone, runs, True)
    step = tmp_path / "distill" / saved_runs.FOLDER / "2"
    teachers = runs - {tmp_path / "distill"}
    assert trained.find_ancestors(step) == (everyone - {cc}, teachers, True)
    assert trained.find_ancestors(tmp_path / "recog") == (set(), set(), True)


def test_ancestry_through_a_deleted_resumed_or_replaced_run_is_incomplete(
    tmp_path, params
):
    modules, gone = {"encoder": params}, {tmp_path / "distill"}
    (student, digest), (other, _) = map(make_params, (1, 2))
    incomplete = {digest}, gone, False
    save_descendant(tmp_path / "derain", modules, ("distill", 2, digest))
    assert trained.find_ancestors(tmp_path / "derain") == incomplete
    origin = ("recog", 1, "aa")
    save_descendant(tmp_path / "distill", {"encoder": student}, origin, step=5)
    assert trained.find_ancestors(tmp_path / "derain") == incomplete
    # Another run of the same name and step says nothing of where this one came from.
    shutil.rmtree(tmp_path / "distill")
    save_descendant(tmp_path / "distill", {"encoder": other}, origin, step=2)
    assert trained.find_ancestors(tmp_path / "derain") == incomplete


def test_a_packed_run_is_read_as_the_run_itself(tmp_path, params):
    origin = {"run": "recog", "module": "encoder", "step": 1, "digest": "aa"}
    ema = {"encoder": {name: value + 5 for name, value in params.items()}}
    saver = checkpoint.Checkpointer(tmp_path / "derain", keep=1)
    told = metadata.make(
        ema=True,
        origins={"encoder": origin},
        modules={"encoder": {"factory": "make_encoder", "width": 8}},
        evaluation={"pairs/psnr": 30.25},
    )
    saver.save(7, {"params": {"encoder": params}, "ema": ema}, told)
    saver.close()
    packed = tmp_path / "mine.safetensors"
    trained.pack(tmp_path / "derain", packed)

    from_run, told_by_run = trained.load(tmp_path / "derain")
    from_file, told_by_file = trained.load(packed)
    assert told_by_file == told_by_run
    for modules in (from_run, from_file):
        assert fingerprints.digest(modules["encoder"]) == fingerprints.digest(
            ema["encoder"]
        )
    assert trained.find_name(packed) == "mine"
    assert trained.has_weights(packed)
    assert trained.find_ancestors(packed) == ({"aa"}, set(), False)


def test_a_run_that_started_from_a_packed_one_comes_from_its_ancestors(
    tmp_path, params
):
    modules, packed = {"encoder": params}, tmp_path / "mine.safetensors"
    described = {"encoder": {"factory": "make_encoder"}}
    recog, aa = make_params(1)
    save_descendant(tmp_path / "recog", {"encoder": recog})
    save_descendant(tmp_path / "derain", modules, ("recog", 1, aa), modules=described)
    trained.pack(tmp_path / "derain", packed)
    digest = fingerprints.digest(params)
    save_descendant(tmp_path / "adapt", modules, ("mine.safetensors", 1, digest))
    found = trained.find_ancestors(tmp_path / "adapt")
    assert found == ({aa, digest}, {packed}, True)
    # Another file in its place says nothing of where the run came from.
    other = {"encoder": {**params, "a.bias": jnp.ones(3)}}
    save_descendant(tmp_path / "other", other, modules=described)
    trained.pack(tmp_path / "other", packed)
    found = trained.find_ancestors(tmp_path / "adapt")
    assert found == ({digest}, {packed}, False)


def test_the_best_step_is_an_origin_as_the_run_is(tmp_path, params):
    restorer, digest = make_params(1)
    save_descendant(
        tmp_path / "derain", {"encoder": restorer}, ("gone", 1, "aa"), step=4
    )
    save_descendant(tmp_path / "adapt", {"encoder": params}, ("derain/best", 4, digest))
    found = trained.find_ancestors(tmp_path / "adapt")
    assert found.digests == {"aa", digest}
    assert found.runs == {tmp_path / "derain", tmp_path / "gone"}


def test_a_packed_run_of_another_kind_is_rejected(tmp_path, params):
    path = tmp_path / "mine.safetensors"
    packed_files.write(path, {"encoder": params}, {"step": 1})
    with pytest.raises(ValueError, match="mine.safetensors has missing or malformed"):
        trained.load(path)
    sound = metadata.make() | {"step": 1, "ancestors": {"digests": [], "are_all": True}}
    packed_files.write(path, {"encoder": params}, sound)
    with pytest.raises(
        ValueError, match=r"modules \['encoder'\], but its metadata describes others"
    ):
        trained.load(path)
    forged = sound | {"ancestors": {"digests": [["x"]], "are_all": True}}
    packed_files.write(path, {}, forged)
    with pytest.raises(ValueError, match="mine.safetensors has missing or malformed"):
        trained.find_ancestors(path)
    with pytest.raises(ValueError, match="or a file written by ttl_jax.pack"):
        trained.load(tmp_path / "other.safetensors")
    assert not trained.has_weights(tmp_path / "other.safetensors")
