"""Serves a web page that removes rain from photographs, and an HTTP interface.

Examples:

  python -m ttl_jax.serve
  python -m ttl_jax.serve --port 8080 --checkpoint runs/derain --no-ui
  curl -F image=@holiday.jpg -F strength=0.8 http://127.0.0.1:8000/api/derain -o dry.jpg

The page takes one or several photographs, shows them before and after, and saves them in
their format with their metadata. /openapi.json describes the interface. Only this computer
can reach the server, unless --host names another address; there is no log-in. SIGTERM or
Ctrl-C ends it. Needs: pip install "ttl_jax[serve]".
"""

import argparse
import sys
from collections.abc import Sequence

from ttl_jax import allocator, command_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until a signal; returns the exit status."""
    parser = _make_parser()
    args = parser.parse_args(arguments)
    command_line.require_extra(
        parser, "serve", ("starlette", "uvicorn", "python_multipart")
    )
    # Imported after parsing, so that --help is quick.
    from ttl_jax import compilation_cache
    from ttl_jax.inference import restorer
    from ttl_jax.web import restoring, serving

    limits = restoring.Limits(
        args.max_megabytes * 10**6, args.max_megapixels * 10**6, args.queue
    )

    def make_app():
        compilation_cache.enable()
        network = restorer.Restorer.from_checkpoint(args.checkpoint)
        return restoring.make_app(network, limits, with_page=args.ui)

    try:
        serving.run(make_app, args.host, args.port, _announce)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return 130
    return 0


def _announce(address: str) -> None:
    print(f"Serving at {address}/ ; Ctrl-C ends.", flush=True)


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("ttl_jax.serve", __doc__)
    add = parser.add_argument
    command_line.add_address(parser)
    text = "run folder or packed run (default: the shipped weights)"
    add("--checkpoint", type=command_line.path, metavar="DIR", help=text)
    text = "serve the interface without the page"
    add("--no-ui", dest="ui", action="store_false", help=text)
    for flag, default, text in (
        ("--max_megabytes", 64, "largest file, in megabytes"),
        ("--max_megapixels", 64, "largest photograph, in megapixels"),
        ("--queue", 8, "requests in work or waiting; others get status 503"),
    ):
        add(
            flag,
            type=command_line.count(1),
            default=default,
            metavar="N",
            help=f"{text} (default: %(default)s)",
        )
    return parser


if __name__ == "__main__":
    allocator.use_huge_pages()
    sys.exit(main())
