"""Trains and scores `configs/claim.py` with several seeds, and makes its tables.

    python launch/lists_by_scene.py PHOTOGRAPHS --output runs/lists
    python -m launch.claim PHOTOGRAPHS --workdir runs/claim

PHOTOGRAPHS contains a MANIFEST.csv, as for `launch/lists_by_scene.py`. Flags after `--` are
passed to `ttl_jax.main`: `-- --config.derain.num_steps=2000`. The same command resumes after an
interruption; `--variants`, `--generators`, `--num_scenes` and `--seeds` choose a part of
the table, and other parts can be added later.

Three files in --output hold the raw results. Each line has the variant, generator, seed,
number of scenes (0: all), updates of all stages together, and the commit that scored it:

- `claim.csv`: PSNR and SSIM (`y_uint8`) of a scene, the mean over its images. `role` is
  `trained` for the generator that trained, `real` for real pairs, otherwise `unseen`.
- `claim_real.csv`: rain score and NIQE of scenes of real rain (set `rainy`), and change
  inside and outside the rain (set `masks`).
- `claim_runs.csv`: seconds per update of the last stage, and the peak memory of its
  process on the host during updates, in MiB. Do not compare variants by them: all runs of a
  seed share one process, and the machine may have done other work. `python -m
  ttl_jax.benchmark peers` compares networks.

A file has one number of updates for each variant, one preset, one set of fields and one set
of test images: give others another --output. `claim_settings.json` has the preset and the flags
after `--`. The scenes and the PSNR of the input are compared with the rows that are there.
`claim.md` has the tables. `--tables` makes them anew from the files, without training.
"""

import argparse
import itertools
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

import ttl_jax
from configs import claim
from launch import claim_tables
from ttl_jax import atomic_files, command_line, suggestions
from ttl_jax.reports import examples
from ttl_jax.reports.examples import INPUT

_SAME_PSNR = 0.01  # dB, largest difference of the same image scored twice
_RUN = ["variant", "generator", "seed", "num_scenes", "updates", "commit"]
COLUMNS = {
    "claim.csv": [*_RUN, "set", "role", "scene", "psnr", "ssim"],
    "claim_real.csv": [
        *_RUN, "set", "scene", "rain_score", "niqe", "change_inside", "change_outside",
    ],
    "claim_runs.csv": [*_RUN, "seconds_per_update", "peak_memory_mib"],
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains and scores the variants that the flags choose, and writes the tables."""
    args = _parse(sys.argv[1:] if arguments is None else arguments)
    for folder in ("photographs", "lists", "workdir", "output"):
        setattr(args, folder, pathlib.Path(getattr(args, folder) or ""))
    args.output.mkdir(parents=True, exist_ok=True)
    if not args.tables:
        try:
            _check_settings(args)
            _check_sets(args)
            for seed in args.seeds:
                _train_and_score(args, seed)
        except (ValueError, OSError) as error:
            sys.exit(str(error))
    files = {name: _read(args.output / name) for name in COLUMNS}
    if files["claim.csv"].empty:
        sys.exit(f"{args.output / 'claim.csv'} has no scores yet.")
    text = claim_tables.format_tables(*files.values())
    atomic_files.write_bytes(args.output / "claim.md", text.encode())
    print(text)


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("launch.claim", __doc__)
    add = parser.add_argument
    text = "folder with a MANIFEST.csv; --tables needs none"
    add("photographs", type=command_line.path, nargs="?", help=text)
    add("--lists", type=command_line.path, default="runs/lists")
    add("--workdir", type=command_line.path, default="runs/claim")
    text = "folder of the results (default: configs)"
    add("--output", type=command_line.path, default="configs", help=text)
    add("--preset", default="tiny", help="size of the network (default: tiny)")
    add("--seeds", type=int, nargs="+", default=[1, 2, 3])
    add("--variants", nargs="+", choices=list(claim.VARIANTS))
    add("--generators", nargs="+", choices=list(claim.GENERATORS))
    add("--num_scenes", type=int, nargs="+", help="0: all")
    add(
        "--without_real", action="store_true", help="skip the photographs without pairs"
    )
    add("--tables", action="store_true", help="make the tables from the files alone")
    return parser


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the flags; `flags` has those after --."""
    own = list(itertools.takewhile(lambda argument: argument != "--", arguments))
    parser = _make_parser()
    args = parser.parse_args(own)
    args.flags = list(arguments[len(own) + 1 :])
    if args.photographs is None and not args.tables:
        parser.error("name the folder of the photographs")
    return args


def _fields(args: argparse.Namespace, seed: int) -> dict:
    chosen = {
        name: getattr(args, name) for name in ("variants", "generators", "num_scenes")
    }
    chosen = {name: tuple(values) for name, values in chosen.items() if values}
    return {"seed": seed, "lists": str(args.lists), **chosen}


def _train_and_score(args: argparse.Namespace, seed: int) -> None:
    config = ttl_jax.config(f"claim:{args.preset}", **_fields(args, seed))
    workdir = args.workdir / f"seed{seed}"
    _train(args, seed, workdir)
    for run in _list_networks(config, workdir):
        _score(args, run)


def _train(args: argparse.Namespace, seed: int, workdir: pathlib.Path) -> None:
    fields = (f"--config.{name}={value}" for name, value in _fields(args, seed).items())
    command = [sys.executable, "-m", "ttl_jax.main", f"--config=claim:{args.preset}"]
    command += [*fields, f"--workdir={workdir}", *args.flags]
    if status := subprocess.run(command, check=False).returncode:
        sys.exit(status)


def _list_networks(config, workdir: pathlib.Path) -> Iterator[dict]:
    """Returns the runs that remove rain, with the columns `_RUN` and their folders."""
    from ttl_jax.weights import saved_runs

    describe = [
        "git",
        "-C",
        pathlib.Path(__file__).parent,
        "rev-parse",
        "--short",
        "HEAD",
    ]
    commit = subprocess.run(
        describe, capture_output=True, text=True, check=False
    ).stdout
    index = {
        row["name"]
        for row in atomic_files.read_json(workdir / saved_runs.INDEX)["rows"]
    }
    for generator, num_scenes in claim.list_scenes(config):
        for variant in config.variants:
            folder = claim.run_name(variant, generator, num_scenes)
            assert folder in index
            yield {
                "variant": variant,
                "generator": generator,
                "seed": config.seed,
                "num_scenes": num_scenes,
                "updates": _count_updates(workdir / folder),
                "commit": commit.strip(),
                "folder": workdir / folder,
            }


def _count_updates(run: pathlib.Path) -> int:
    """Returns the updates of a run and of all runs from which it starts, each once."""
    from ttl_jax.weights import trained

    def collect(folder: pathlib.Path) -> dict[pathlib.Path, int]:
        _, metadata = trained.load(folder)
        found = {folder: metadata["step"]}
        for origin in metadata["origins"].values():
            found |= collect(folder.parent / origin["run"])
        return found

    return sum(collect(run).values())


def _score(args: argparse.Namespace, run: dict) -> None:
    """Appends a run's scores to the files that lack them."""
    about = {name: run[name] for name in _RUN}
    _check_updates(args.output / "claim.csv", about)
    folder = run["folder"]
    if not _has(args.output / "claim.csv", about):
        sets = _test_sets(args.lists)
        report = ttl_jax.score({run["variant"]: folder}, sets, **_scenes(args))
        _append(args.output / "claim.csv", about, _label(report.per_image, run))
    if not (args.without_real or _has(args.output / "claim_real.csv", about)):
        frames = []
        for name, source, options in _real_sets(args):
            report = ttl_jax.score({run["variant"]: folder}, {name: source}, **options)
            frames.append(_by_scene(report.per_image))
        _append(args.output / "claim_real.csv", about, pd.concat(frames))
    if not _has(args.output / "claim_runs.csv", about):
        frame = pd.DataFrame([{"method": run["variant"], **_read_log(folder)}])
        _append(args.output / "claim_runs.csv", about, frame)


def _check_settings(args: argparse.Namespace) -> None:
    """Raises ValueError if the rows that are there have another preset or other flags."""
    path = args.output / "claim_settings.json"
    settings = {"preset": args.preset, "flags": sorted(args.flags)}
    known = atomic_files.read_json(path) if path.exists() else None
    if known == settings:
        return
    if known and not _read(args.output / "claim.csv").empty:
        raise ValueError(
            f"{path}: the rows there have {_describe(known)}, and this command has "
            f"{_describe(settings)}. Name another --output."
        )
    atomic_files.write_json(path, settings)


def _describe(settings: dict) -> str:
    flags = ["--", *settings["flags"]] if settings["flags"] else []
    return " ".join([f"--preset {settings['preset']}", *flags])


def _check_sets(args: argparse.Namespace) -> None:
    """Opens all sets to score, so that faults appear before hours of training.

    Raises:
      ValueError: If the manifest, a list, an image or the masks are missing or invalid, or
        earlier rows are of other test images.
    """
    for _, source, options in () if args.without_real else _real_sets(args):
        subjects = examples.open_source(source)
        examples.attach_scenes(subjects, options["scenes"])
        if "masks" in options:
            examples.attach_masks(subjects, options["masks"])
    report = ttl_jax.score({}, _test_sets(args.lists), **_scenes(args))
    _check_input(args.output / "claim.csv", _by_scene(report.per_image))


def _check_input(path: pathlib.Path, found: pd.DataFrame) -> None:
    """Raises ValueError if a file has other scenes, or another PSNR of the input for one.

    The rows do not name the test images, and the rain of `additive` depends on the code.
    """
    known = _read(path)
    known = known[known["variant"] == INPUT]
    keys = ["set", "scene"]
    for _, rows in known.groupby("generator"):
        joined = rows.merge(found, how="outer", on=keys, indicator="side")
        others = joined.loc[joined["side"] != "both", keys]
        if len(others):
            names = [
                f"{scene} of {name}" for name, scene in others.itertuples(index=False)
            ]
            raise ValueError(
                f"{path} has {len(rows)} test scenes, and the lists have {len(found)}; only "
                f"in one of them: {suggestions.name_some(names)}. Name another --output."
            )
    both = known.merge(found, on=keys, suffixes=("_known", "_found"))
    changed = (both["psnr_known"] - both["psnr_found"]).abs() > _SAME_PSNR
    if changed.any():
        row = both[changed].iloc[0]
        raise ValueError(
            f"{path} has other test images: there, the input has {row['psnr_known']:.2f} dB "
            f"for scene {row['scene']} of {row['set']}, and now {row['psnr_found']:.2f} dB. "
            "Name another --output."
        )


def _check_updates(path: pathlib.Path, about: dict) -> None:
    """Stops if a file has lines of the same variant after another number of updates."""
    known = _read(path)
    keys = ["variant", "generator", "num_scenes"]
    same = known[(known[keys] == [about[key] for key in keys]).all(axis=1)]
    others = sorted(set(same["updates"]) - {about["updates"]})
    if others:
        sys.exit(
            f"{path} has {about['variant']} after {others[0]} updates, and this run has "
            f"{about['updates']}: score it with another --output."
        )


def _scenes(args: argparse.Namespace) -> dict:
    return {"scenes": args.photographs / "MANIFEST.csv"}


def _test_sets(lists: pathlib.Path) -> dict[str, str]:
    """Returns the sources of pairs to test on, by name of the set.

    Raises:
      ValueError: If there is no list of clean photographs for `additive`.
    """
    paths = sorted(lists.glob("claim_test_*.txt"))
    sets = {path.stem.removeprefix("claim_test_"): f"list:{path}" for path in paths}
    sets.pop("rainy", None)  # no pairs
    if "additive" not in sets:
        raise ValueError(
            f"{lists / 'claim_test_additive.txt'} does not exist: write the lists with "
            "launch/lists_by_scene.py, or name their folder with --lists."
        )
    return sets | {"additive": f"additive:{sets['additive']}"}


def _real_sets(args: argparse.Namespace) -> Iterator[tuple[str, str, dict]]:
    """Yields names and sources of real rainy photographs, and the options to score them."""
    options = {"niqe": True, "recog": "shipped", **_scenes(args)}
    yield "rainy", f"list:{args.lists / 'claim_test_rainy.txt'}", options
    masks = args.photographs / "real_rain_masks"
    if masks.is_dir():
        options = {"masks": masks, **_scenes(args)}
        yield "masks", f"list:{args.lists / 'rainy_test_only.txt'}", options


def _by_scene(per_image: Any) -> Any:
    """Returns the means over the images of each scene."""
    keys = ["method", "set", "scene"]
    return per_image.groupby(keys, as_index=False).mean(numeric_only=True)


def _label(per_image: Any, run: dict) -> Any:
    """Returns the scores of scenes, with their role."""
    roles = {run["generator"]: "trained", "real": "real"}
    frame = _by_scene(per_image)
    return frame.assign(role=[roles.get(name, "unseen") for name in frame["set"]])


def _read_log(run: pathlib.Path) -> dict[str, float]:
    """Returns the median of the seconds per update, and the largest memory, of a run."""
    from ttl_jax.weights import trained

    _, metadata = trained.load(run)
    columns = ["images_per_second", "peak_memory_mib"]
    log: Any = pd.read_json(run / "metrics.jsonl", lines=True).reindex(columns=columns)
    rate, memory = log[columns[0]].median(), log[columns[1]].max()
    seconds = metadata["config"]["batch_size"] / rate  # NaN for a run of a few updates
    return {"seconds_per_update": float(seconds), "peak_memory_mib": float(memory)}


def _read(path: pathlib.Path) -> Any:
    if not path.is_file():
        return pd.DataFrame(columns=COLUMNS[path.name])
    return pd.read_csv(path, dtype={"commit": str}, keep_default_na=True)


def _has(path: pathlib.Path, about: dict) -> bool:
    """Returns whether a file has lines of a run, trained at any commit."""
    keys = _RUN[:-1]
    known = _read(path)[keys]
    return bool((known == [about[key] for key in keys]).all(axis=1).any())


def _append(path: pathlib.Path, about: dict, frame: pd.DataFrame) -> None:
    """Adds the lines of a run, and those of the input if the generator has none yet."""
    untrained = {"seed": 0, "num_scenes": 0, "updates": 0, "commit": ""}
    parts = [_read(path)]
    for method, lines in frame.groupby("method"):
        is_input = method != about["variant"]
        columns = {**about, "variant": method, **(untrained if is_input else {})}
        if not (is_input and _has(path, columns)):
            parts.append(lines.assign(**columns))
    joined = pd.concat([part for part in parts if not part.empty])
    joined = joined.reindex(columns=COLUMNS[path.name]).sort_values(
        COLUMNS[path.name][:-2], kind="stable"
    )
    text = joined.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    atomic_files.write_bytes(path, text.encode())


if __name__ == "__main__":
    command_line.start()
    main()
