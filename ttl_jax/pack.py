"""Packs the weights of a run into one file, to keep or to pass on.

Example:

  python -m ttl_jax.pack runs/mine/derain --output mine.safetensors
  python -m ttl_jax.derain photo.jpg --checkpoint mine.safetensors --output restored

The file holds the weights that the run would restore with (the moving average where it
keeps one), the config and what the weights came from, and nothing to go on training with.
It is read wherever a run's folder is. The config tells the names of the data sources:
look at them before you pass the file on.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from ttl_jax import command_line


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
    from ttl_jax.training import weight_sources

    try:
        metadata = weight_sources.pack(pathlib.Path(args.run), output)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    modules = " and ".join(metadata["modules"])
    print(
        f"Packed {modules} of {args.run}, step {metadata['step']}, into {output}: "
        f"{output.stat().st_size:,} bytes."
    )
    return 0


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
