"""Packs the weights of a run into one file, to keep or to pass on.

Example:

  python -m ttl_jax.pack runs/mine/derain --output mine.safetensors
  python -m ttl_jax.derain photo.jpg --checkpoint mine.safetensors --output restored

The file holds the weights that the run would restore with (the moving average where it
keeps one), the config and what the weights came from, and nothing to go on training with.
It is read wherever a run's folder is. What it tells of your files is printed: the names of
the data sources and of the runs that it came from.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from ttl_jax import command_line

_SOURCES = (
    "rainy",
    "clean",
    "pairs",
    "eval_rainy",
    "eval_clean",
    "eval_pairs",
    "exclude",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Packs what the flags name.

    Args:
      arguments: The command line, by default the process's own.

    Returns:
      The exit status 0; a mistake ends the process with status 2 and one line.
    """
    parser = _make_parser()
    args = parser.parse_args(arguments)
    output = pathlib.Path(args.output)
    if output.exists() and not args.overwrite:
        parser.error(f"{output} is there already; --overwrite replaces it")
    # Imported once the flags are read: --help is quick.
    from ttl_jax.weights import trained

    try:
        metadata = trained.pack(pathlib.Path(args.run), output)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(_describe(metadata, args.run, output))
    return 0


def _describe(metadata: dict, run: str, output: pathlib.Path) -> str:
    """What was packed, and what the file tells of where it came from."""
    modules = " and ".join(metadata["modules"])
    config, step = metadata["config"], metadata["step"]
    size = output.stat().st_size
    lines = [
        f"Packed {modules} of {run}, step {step}, into {output}: {size:,} bytes.",
        "It tells:",
        f"  preset: {config.get('preset') or 'none'}",
    ]
    if step < config["num_steps"]:
        lines.append(f"  that training stopped there, before {config['num_steps']}")
    lines += [
        f"  {field}: {', '.join(config[field])}"
        for field in _SOURCES
        if config.get(field)
    ]
    lines += [
        f"  {module} started from {origin['run']}, step {origin['step']}"
        for module, origin in metadata["origins"].items()
    ]
    return "\n".join(lines)


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("pack", __doc__)
    parser.add_argument(
        "run",
        metavar="RUN",
        help="a run's folder, for its last step; RUN/best for its best one; or one "
        "step's folder inside its checkpoints",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FILE",
        help="the file to write, FILE.safetensors",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the file where it is there"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
