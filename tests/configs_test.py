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
