"""Writes trained networks as ONNX or StableHLO, for other programs.

Examples:

  python -m ttl_jax.export --output net.onnx
  python -m ttl_jax.export --checkpoint runs/derain --output net.onnx --precision fp16
  python -m ttl_jax.export --output net.stablehlo
  python -m ttl_jax.derain holiday.jpg --checkpoint net.onnx --output restored
  python -m ttl_jax.export --page site

Input and output are float32 [n, height, width, 3], RGB in [0, 1]; the output may leave that
range. ONNX takes any multiples of the grid (64) as height and width. Its metadata
describe how to restore images of any size in windows. StableHLO takes only images of
one fixed size, that of the largest window. Its metadata are in FILE.json. The file is
compared to the network before it is written, and the largest difference is printed.

--page writes a page that restores in the browser. Any web server can offer its files, such
as python -m http.server -d site; photographs do not leave the browser. The page computes by
WebGPU where that works, else by WebAssembly. onnxruntime-web is loaded from npm's registry,
unless --runtime names a folder with it.

Needs: pip install "ttl_jax[export]".
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from ttl_jax import atomic_files, command_line

_LEAST_WINDOW = 576  # pixels: three overlaps, as in `windows.plan`


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the file that the flags describe; returns the exit status."""
    parser = _make_parser()
    args = parser.parse_args(arguments)
    command_line.require_extra(parser, "export", ("onnx", "onnxruntime", "flatbuffers"))
    if (args.output is None) == (args.page is None):
        parser.error("name a file by --output FILE, or a folder by --page DIR")
    for name in _list_files(args.output):
        if os.path.exists(name) and not args.overwrite:
            parser.error(f"{name} exists already; --overwrite replaces it")
    if args.page and args.precision != "fp32":
        parser.error("--precision is for --output; the page computes in fp32")
    try:
        written = _write_page(args) if args.page else _write_file(args)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    metadata = written.metadata
    print(
        f"Wrote {metadata['name']} (digest {metadata['digest']}) to "
        f"{args.page or args.output}: {len(written.content):,} bytes. Largest difference "
        f"from the network: {written.difference:.2g} of 1."
    )
    return 0


def _list_files(output: str | None) -> list[str]:
    """Returns the names of the files that are written to a given one."""
    if output is None:
        return []
    return [output, f"{output}.json"] if output.endswith(".stablehlo") else [output]


# Imports follow parsing, so that --help is quick.


def _write_file(args: argparse.Namespace):
    from ttl_jax.inference import exporting

    path = pathlib.Path(args.output)
    atomic_files.check_folder(path.parent)
    made = exporting.make(
        args.checkpoint, path.suffix, precision=args.precision, side=args.window
    )
    exporting.write(made, path)
    return made


def _write_page(args: argparse.Namespace):
    from ttl_jax.inference import exporting
    from ttl_jax.web import site

    folder = pathlib.Path(args.page)
    site.check_is_new(folder)
    atomic_files.check_folder(folder.parent)
    runtime = site.load_runtime(args.runtime and pathlib.Path(args.runtime))
    made = exporting.make(args.checkpoint, ".onnx", side=args.window)
    site.write(folder, made.content, made.metadata, runtime)
    return made


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("ttl_jax.export", __doc__)
    add = parser.add_argument
    text = "run folder or packed run of the stage derain (default: the shipped weights)"
    add("--checkpoint", type=command_line.path, metavar="DIR", help=text)
    text = "file to write, FILE.onnx or FILE.stablehlo"
    add("--output", type=command_line.path, metavar="FILE", help=text)
    text = "folder to make, with a page that restores in the browser"
    add("--page", type=command_line.path, metavar="DIR", help=text)
    text = "folder dist of the npm package onnxruntime-web, for --page"
    add("--runtime", type=command_line.path, metavar="DIR", help=text)
    text = "type of weights and features (default: %(default)s)"
    add("--precision", choices=("fp32", "fp16"), default="fp32", help=text)
    text = "largest side of a window, in pixels, from %s (default: %%(default)s)"
    add(
        "--window",
        type=command_line.count(_LEAST_WINDOW),
        default=960,
        metavar="N",
        help=text % _LEAST_WINDOW,
    )
    add("--overwrite", action="store_true", help="replace an existing file")
    return parser


if __name__ == "__main__":
    command_line.start()
    sys.exit(main())
