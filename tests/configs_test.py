"""The stages of every config file and preset can be built."""

import ast
import importlib
import os
import pathlib

import pytest

from ttl_jax.stages.stage import make_stage
from ttl_jax.training import config_check, runs
from ttl_jax.training.sharding import make_mesh

FOLDER = pathlib.Path(__file__).parents[1] / "configs"
FILES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "common")
PRESETS = ("smoke", "tiny", "small", "base", "paper")
PLANNED = ("ablation", "claim")  # their stages are those of the other files
CASES = [
    (name, preset)
    for name in FILES
    for preset in (None, *PRESETS)
    if preset in (None, "smoke") or name not in PLANNED
]


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """The lists that `claim` looks for; their content is not read here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/lists").mkdir(parents=True)
    for generator in ("additive", "Rain100H"):
        (tmp_path / f"runs/lists/claim_{generator}_all.txt").touch()


@pytest.mark.parametrize(("name", "preset"), CASES)
@pytest.mark.usefixtures("lists")
def test_all_runs_of_a_config_are_checked_and_built(name, preset):
    config = importlib.import_module(f"configs.{name}").get_config(preset)
    listed = runs.list_runs(config)
    for run in listed:
        config_check.check(run)
        stage = make_stage(run)
        assert run.preset == (preset or "small")
        assert set(stage.trainable) <= set(stage.modules)
        if preset == "smoke" and name not in PLANNED:
            assert run.num_steps <= 2 and run.crop_size <= 32


@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("lists")
def test_the_default_preset_can_be_trained_with_8_gib(name, monkeypatch):
    config, mesh = importlib.import_module(f"configs.{name}").get_config(), make_mesh()
    # The estimate is half of the memory that is needed.
    half = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 4 * 2**30 // 4096}
    monkeypatch.setattr(os, "sysconf", half.__getitem__)
    for run in runs.list_runs(config):
        config_check.check_memory(run, mesh)


@pytest.mark.parametrize("name", FILES)
def test_a_config_says_which_command_reads_it_and_what_to_expect(name):
    docstring = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text()))
    assert f"python -m ttl_jax.main --config=configs/{name}.py" in docstring
    for heading in ("Paper:", "Expect:", "Time:"):
        assert f"\n{heading}" in docstring, heading


def test_the_pipeline_of_the_paper_has_the_stages_of_the_paper():
    paper = importlib.import_module("configs.pipeline").get_config("paper")
    assert [run.stage for run in runs.list_runs(paper)] == [
        "recog",
        "recon",
        "distill",
        "derain",
    ]


@pytest.mark.usefixtures("lists")
def test_the_pipeline_is_the_variant_v3_of_the_claim():
    claim = importlib.import_module("configs.claim").get_config("tiny")
    claim.update(variants=("V3",), generators=("Rain100H",), num_scenes=(0,))
    tested = runs.list_runs(claim)
    recommended = runs.list_runs(
        importlib.import_module("configs.pipeline").get_config("tiny")
    )
    # The test has its own photographs, numbers of updates, seeds and names of runs.
    own = {"seed", "run", "start_from", "num_steps", "num_eval", "eval_every"}
    own |= {name for name in tested[0] if name.endswith(("pairs", "rainy", "clean"))}
    for ours, its in zip(recommended, tested, strict=True):
        assert {k: ours[k] for k in ours if k not in own} == {
            k: its[k] for k in its if k not in own
        }
    assert [run.start_from for run in tested] == ["", "inpaint_smears"]
    assert [run.start_from for run in recommended] == ["", "inpaint"]
    assert recommended[0].pairs[0].startswith("smears:")
    assert tested[0].pairs[0].startswith("smears:")
