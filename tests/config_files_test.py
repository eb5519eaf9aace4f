"""Configs by name: the file that is found, and the `configs` from which it imports."""

import pathlib
import sys

import pytest

from ttl_jax import config_files

CHECKOUT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A current folder with another project's `configs/`, first on Python's path."""
    folder = tmp_path / "other_project"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "common.py").write_text("raise ImportError('not ours')")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [n for n in sys.modules if n.partition(".")[0] == "configs"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["derain:tiny", "configs/derain.py:tiny"])
def test_own_configs_are_found_beside_another_projects(elsewhere, name):
    path, preset = config_files.find(name)
    assert (path, preset) == (CHECKOUT / "configs" / "derain.py", "tiny")
    assert config_files.load(name).encoder.width == 32


def test_the_checkout_around_the_current_folder_has_priority(elsewhere, monkeypatch):
    inside = elsewhere / "checkout" / "runs"
    inside.mkdir(parents=True)
    (inside.parent / "configs").mkdir()
    (inside.parent / "configs" / "common.py").write_text("WIDTH = 7\n")
    (inside.parent / "configs" / "derain.py").write_text(
        "from configs import common\n\n\ndef get_config(preset):\n    return common.WIDTH\n"
    )
    monkeypatch.chdir(inside)
    assert config_files.load("derain").encoder.width == 48  # not yet a checkout
    project = inside.parent / "pyproject.toml"
    project.write_text('[project]\nname = "other"\n')
    assert config_files.load("derain").encoder.width == 48
    project.write_text('[project]\nname = "ttl_jax"\n')
    assert config_files.load("derain") == 7


def test_a_users_config_imports_the_projects_common(elsewhere):
    own = elsewhere / "mine.py"
    own.write_text(
        "from configs import derain\n\n\ndef get_config(preset):\n"
        "    return derain.get_config(preset)\n"
    )
    assert config_files.load("mine.py:base").encoder.width == 96
    assert config_files.load(f"{own}:tiny").encoder.width == 32


def test_an_unknown_name_is_rejected_with_a_suggestion(elsewhere):
    with pytest.raises(ValueError, match="'deraine'.*did you mean 'derain'"):
        config_files.load("deraine:small")
    with pytest.raises(ValueError, match="no config file 'elsewhere/derain.py'"):
        config_files.load("elsewhere/derain.py")


@pytest.mark.parametrize(
    ("arguments", "resolved"),
    [
        (["--config=recog:tiny"], ["--config={}/recog.py:tiny"]),
        (
            ["-config", "recog", "--workdir=x"],
            ["-config", "{}/recog.py", "--workdir=x"],
        ),
        (["--config.seed=1"], ["--config.seed=1"]),
        (["--config"], ["--config"]),
    ],
)
def test_the_flag_names_an_absolute_path(elsewhere, arguments, resolved):
    own = CHECKOUT / "configs"
    expected = [argument.format(own) for argument in resolved]
    assert config_files.resolve_flag(arguments) == expected


def test_fields_are_set_and_checked():
    fields = {"pairs": "sample/test", "num_steps": 7, "encoder": {"attention_cell": 32}}
    config = config_files.load("derain:tiny", fields)
    assert config.pairs == ("sample/test",)
    assert (config.num_steps, config.encoder.attention_cell) == (7, 32)
    assert config.encoder.width == 32
    with pytest.raises(ValueError, match="config.num_step;.*config.num_steps"):
        config_files.load("derain", {"num_step": 1})
    with pytest.raises(ValueError, match="config.encoder.widht;.*config.encoder.width"):
        config_files.load("derain", {"encoder": {"widht": 1}})
    with pytest.raises(ValueError, match="config.num_steps='many'"):
        config_files.load("derain", {"num_steps": "many"})


def test_a_preset_may_be_a_path(elsewhere):
    (elsewhere / "mine.py").write_text("def get_config(preset):\n    return preset\n")
    assert config_files.find("mine.py:/photos/a:b")[1] == "/photos/a:b"
