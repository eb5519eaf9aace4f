"""Writes trained networks as ONNX or StableHLO, for other programs.

Examples:

  python -m ttl_jax.export --output net.onnx
  python -m ttl_jax.export --checkpoint runs/derain --output net.onnx --precision fp16
  python -m ttl_jax.export --output net.stablehlo
  python -m ttl_jax.derain holiday.jpg --checkpoint net.onnx --output restored

Input and output are float32 [n, height, width, 3], RGB in [0, 1]; the output may leave that
range. ONNX takes any multiples of the grid (64) as height and width, StableHLO one window.
The file is compared to the network before it is written, and the largest difference is
printed. Its metadata (of StableHLO: in FILE.json) describe how to restore larger images.
Needs: pip install "ttl_jax[export]".
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from ttl_jax import command_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the file that the flags describe.

    Args:
      arguments: Command line, by default the process's own.

    Returns:
      The exit status 0; a mistake ends the process with status 2 and one line.
    """
    parser = _make_parser()
    args = parser.parse_args(arguments)
    command_line.require_extra(parser, "export", ("onnx", "onnxruntime", "flatbuffers"))
    output = pathlib.Path(args.output)
    if output.exists() and not args.overwrite:
        parser.error(f"{output} exists already; --overwrite replaces it")
    # Imported after parsing, so that --help is quick.
    from ttl_jax.inference import exporting

    try:
        written = exporting.write(
            args.checkpoint, output, precision=args.precision, side=args.window
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(
        f"Wrote {written.metadata['name']} (digest {written.metadata['digest']}) to "
        f"{output}: {written.num_bytes:,} bytes. Largest difference from the network: "
        f"{written.difference:.2g} of 1."
    )
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("export", __doc__)
    add = parser.add_argument
    text = "run folder or packed run of the stage derain (default: the shipped weights)"
    add("--checkpoint", type=command_line.path, metavar="DIR", help=text)
    text = "file to write, FILE.onnx or FILE.stablehlo"
    add("--output", required=True, type=command_line.path, metavar="FILE", help=text)
    text = "type of weights and features (default: %(default)s)"
    add("--precision", choices=("fp32", "fp16"), default="fp32", help=text)
    text = "largest side of a window, in pixels (default: %(default)s)"
    add("--window", type=command_line.count(1), default=768, metavar="N", help=text)
    add("--overwrite", action="store_true", help="replace an existing file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
