"""The documents: commands can be parsed, links are valid, code runs."""

import argparse
import importlib
import os
import pathlib
import re
import runpy
import shlex
import subprocess
import sys

import pytest
from PIL import Image

from ttl_jax import config_files
from ttl_jax.data.sources import source_names

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("configs", "launch", "ttl_jax")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md"))])  # fmt: skip
SCRIPTS = [ROOT / "launch" / name for name in ("quickstart.sh", "weights.sh")]
MAIN_FLAGS = {"workdir", "fallback", "coordinator", "num_processes", "process_id"}


def blocks(document, language):
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL)


def shell_lines(document):
    """The words of each command line in a document or script; quotes may span lines."""
    is_script = document.suffix == ".sh"
    for block in [document.read_text()] if is_script else blocks(document, "bash"):
        text = ""
        for line in block.replace("\\\n", " ").splitlines():
            text += line + "\n"
            try:
                words = shlex.split(text, comments=True)
            except ValueError:  # within quotes
                continue
            text = ""
            yield words


def without_prefix(words):
    """A command without variables of the environment, and the cores it may use."""
    if words[:1] == ["$python"]:  # of a script
        return ["python", *words[1:]]
    if words and "=" in words[0]:
        return without_prefix(words[1:])
    if words[:2] == ["taskset", "-c"]:
        return without_prefix(words[3:])
    return words


def words_after_launcher(words):
    """The words that launch/local.sh and launch/slurm.sbatch pass on."""
    if words[:2] == ["bash", "launch/local.sh"]:
        return words[3:]
    if words[:1] == ["sbatch"] and "launch/slurm.sbatch" in words:
        return words[words.index("launch/slurm.sbatch") + 1 :]
    return []


def commands(document):
    """The project's commands in a document, each as a list of words."""
    for words in map(without_prefix, shell_lines(document)):
        if "ttl-jax" in words[:4]:  # behind pipx or uvx, too
            yield words[words.index("ttl-jax") + 1 :]
        elif words[:1] == ["ttl-jax-lite"]:
            yield ["derain", *words[1:]]
        elif after := words_after_launcher(words):
            yield after if after[0] == "derain" else ["main", *after]
        elif words[:2] == ["python", "-m"] and words[2].startswith("ttl_jax."):
            yield [words[2].removeprefix("ttl_jax."), *words[3:]]
        elif words[:2] == ["python", "-m"] and words[2].startswith("launch."):
            yield words[2:]
        elif words[:1] == ["python"] and words[1].startswith("launch/"):
            yield words[1:]


def test_commands_are_found_behind_their_prefixes(tmp_path):
    document = tmp_path / "a.md"
    lines = (
        "A=1 taskset -c 0 python -m ttl_jax.benchmark peers\npython -m launch.claim P\n"
        "uvx --from x.whl ttl-jax pack A\nttl-jax-lite a b\n"
        "bash launch/local.sh 2 derain a\nsbatch -n 2 launch/slurm.sbatch --config=c"
    )
    document.write_text(f"```bash\n{lines}\n```")
    assert [" ".join(words) for words in commands(document)] == [
        "benchmark peers", "launch.claim P", "pack A", "derain a b", "derain a",
        "main --config=c",
    ]  # fmt: skip


def test_the_commands_of_scripts_are_found():
    found = [[words[0] for words in commands(script)] for script in SCRIPTS]
    training = ["launch/lists_by_scene.py", "main", "main", "pack", "pack", "pack"]
    assert found == [["main", "evaluate"], training]


def all_commands():
    return [
        pytest.param(words, id=f"{document.name}: {' '.join(words)[:60]}")
        for document in [*DOCUMENTS, *SCRIPTS]
        for words in commands(document)
    ]


class Parsed(Exception):
    """The arguments were valid."""


@pytest.mark.parametrize("words", all_commands())
def test_a_command_has_flags_and_fields_that_exist(words, monkeypatch):
    program, *arguments = words
    if program == "main":
        check_training(arguments)
        return
    parse = argparse.ArgumentParser.parse_args

    def stop(self, *given):
        parse(self, *given)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    if program.endswith(".py"):
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(Parsed):
            runpy.run_path(str(ROOT / program), run_name="__main__")
    else:
        name = program if program.startswith("launch.") else f"ttl_jax.{program}"
        command = importlib.import_module(name)
        with pytest.raises(Parsed):
            command.main(arguments)


def check_training(arguments):
    flags = dict(argument.lstrip("-").partition("=")[::2] for argument in arguments)
    config = config_files.load(flags.pop("config"))
    for name in flags.keys() - MAIN_FLAGS:
        prefix, _, field = name.partition(".")
        assert prefix == "config"
        value = config
        for part in field.split("."):
            assert part in value, name
            value = value[part]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_point_to_files_and_headings(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("http"):
            continue
        name, _, heading = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = {
                re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles
            }
            assert heading in slugs, target


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220


def run(folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    subprocess.run(command, cwd=folder, env=environment, check=True)


@pytest.mark.slow
def test_the_python_examples_run_in_their_order(tmp_path):
    code = "\n".join(blocks(ROOT / "README.md", "python"))
    run(tmp_path, sys.executable, "-c", code)
    assert (tmp_path / "runs" / "scratch" / "checkpoints").is_dir()


@pytest.mark.slow
def test_the_readmes_commands_run(tmp_path):
    """On embedded photographs in place of /photos, with the smallest networks."""
    photos = make_photographs(tmp_path / "photos")
    (tmp_path / "album").symlink_to(photos / "rain")
    (tmp_path / "photo.jpg").symlink_to(photos / "photo.jpg")
    for program, *arguments in commands(ROOT / "README.md"):
        if program in ("COMMAND", "--help"):
            continue
        arguments = [
            argument.replace("/photos", str(photos)).replace(":small", ":smoke")
            for argument in arguments
        ]
        run(tmp_path, sys.executable, "-m", f"ttl_jax.{program}", *arguments)
    assert (tmp_path / "restored" / "photo.jpg").is_file()
    assert (tmp_path / "scores" / "table.md").is_file()


def make_photographs(folder):
    for name in ("rain", "clean", "pairs/rainy", "pairs/clean"):
        (folder / name).mkdir(parents=True)
    for i, pair in enumerate(source_names.open_pairs("sample/test")):
        rainy, clean = (Image.fromarray(side[:200, :200]) for side in pair.load())
        rainy.save(folder / "rain" / f"{i}.png")
        clean.save(folder / "clean" / f"{i}.png")
        rainy.save(folder / "pairs" / "rainy" / f"{i}.png")
        clean.save(folder / "pairs" / "clean" / f"{i}.png")
    rainy.save(folder / "photo.jpg")
    (folder / "rain_test.txt").write_text("rain/0.png\n")
    (folder / "clean_test.txt").write_text("clean/0.png\n")
    (folder / "pairs_test.txt").write_text("pairs/rainy/0.png\tpairs/clean/0.png\n")
    return folder
