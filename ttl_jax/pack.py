"""Packs the weights of a run into one file, to keep or to share.

Example:

  python -m ttl_jax.pack runs/mine/derain --output mine.safetensors
  python -m ttl_jax.derain photo.jpg --checkpoint mine.safetensors --output restored

  python -m ttl_jax.pack deraining.pth --output restormer.safetensors

The file contains the weights that the run would restore with (the moving average, if there
is one), the config and the origins of the weights. It can be used wherever the folder of a
run can, but it cannot resume training. The command prints the names in the file that may be
private: data sources, and the runs from which the weights started.

--sums changes the size of the local sums without training: 64,2 sums over boxes of 5 cells
of 64 pixels, 320 pixels wide.

PyTorch checkpoints (.pth) published by the authors of Restormer and NAFNet are converted.
PyTorch is not needed, and no code in them is run.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from ttl_jax import command_line

_SOURCES = (
    "rainy", "clean", "pairs", "eval_rainy", "eval_clean", "eval_pairs", "exclude",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Packs the weights that the flags name; returns the exit status."""
    parser = _make_parser()
    args = parser.parse_args(arguments)
    output = pathlib.Path(args.output)
    if output.exists() and not args.overwrite:
        parser.error(f"{output} exists already; --overwrite replaces it")
    # Imported after parsing, so that --help is quick.
    from ttl_jax.weights import trained

    try:
        metadata = trained.pack(args.run, output, args.sums)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(_describe(metadata, args.run, output))
    return 0


def _describe(metadata: dict, run: str, output: pathlib.Path) -> str:
    modules = " and ".join(metadata["modules"])
    config, step = metadata["config"], metadata["step"]
    size = output.stat().st_size
    lines = [
        f"Packed {modules} of {run}, step {step}, into {output}: {size:,} bytes.",
        "The file records:",
        f"  preset: {config.get('preset') or 'none'}",
    ]
    if step < config["num_steps"]:
        lines.append(f"  training that ended before step {config['num_steps']}")
    sources = {field: config[field] for field in _SOURCES if config.get(field)}
    lines += [f"  {field}: {', '.join(names)}" for field, names in sources.items()]
    lines += [
        f"  {module} started from {origin['run']}, step {origin['step']}"
        for module, origin in metadata["origins"].items()
    ]
    return "\n".join(lines)


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("ttl_jax.pack", __doc__)
    text = (
        "a run's folder, for its last step; RUN/best for its best step; or one step's "
        "folder inside its checkpoints; or a packed file; or a PyTorch checkpoint of "
        "Restormer or NAFNet"
    )
    parser.add_argument("run", metavar="RUN", help=text)
    text = "file to write, FILE.safetensors"
    parser.add_argument(
        "--output", required=True, type=command_line.path, metavar="FILE", help=text
    )
    text = (
        "cell in pixels and radius in cells of the sums in channel attention, instead of "
        "those of the run; 0,0: sums over the whole image"
    )
    parser.add_argument(
        "--sums", type=command_line.local_sums, metavar="CELL,RADIUS", help=text
    )
    text = "replace an existing file"
    parser.add_argument("--overwrite", action="store_true", help=text)
    return parser


if __name__ == "__main__":
    sys.exit(main())
