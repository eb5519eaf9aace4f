"""Draws the paper's sets from prepared data, and finds photographs that come twice.

Examples:

  python -m ttl_jax.prepare --protocol test1 --print
  python -m ttl_jax.prepare --protocol pairs6000 --output lists/pairs6000.txt
  python -m ttl_jax.prepare audit folder:photos folder:more --against folder:test

A protocol's list is trained and tested on as the source selection:FILE.
"""

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the flags name.

    Args:
      arguments: The command line, by default the process's own.

    Returns:
      The exit status 0. A mistake in the command, and sources that cannot be used, end
      the process with status 2 and one line.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["audit"]:
        return audit(arguments[1:])
    parser = _make_parser(__doc__)
    add_protocol_arguments(parser)
    args = parser.parse_args(arguments)
    if not args.protocol:
        parser.error("name a --protocol, or audit and sources")
    return draw(parser, args)


def add_protocol_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `draw` reads."""
    group = parser.add_argument_group("protocols")
    group.add_argument(
        "--protocol",
        metavar="NAME",
        help="draw test1 (test1_mspfn, test1_orig), test2, test3, realclear, pairs6000, "
        "realrain_train or realrain_test",
    )
    group.add_argument("--print", action="store_true", help="print the list")
    group.add_argument("--output", metavar="FILE", help="write the list to a file")
    group.add_argument(
        "--seed", type=int, default=0, help="of what is random (default: %(default)s)"
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        type=_named_source,
        metavar="SET=SOURCE",
        help="take a set from another source, such as rain1200/test=folder:PATH; repeat "
        "for more",
    )


def draw(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Draws a protocol; prints and writes its list as the flags say."""
    # Imported once the flags are read: --help is quick.
    from ttl_jax.data import atomic_files, protocols, selections

    given: dict[str, list[str]] = {}
    for key, source in args.set:
        given.setdefault(key, []).append(source)
    try:
        comments, sections = protocols.select(args.protocol, args.seed, given)
        text = selections.to_text(comments, sections)
        if args.output:
            with atomic_files.atomic_file(args.output) as stream:
                stream.write(text.encode())
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(text if args.print else "\n".join(comments))
    if args.output:
        print(f"Written to {args.output}; use it as selection:{args.output}")
    return 0


def audit(arguments: Sequence[str]) -> int:
    """Compares sources and writes the report."""
    parser = _make_parser(
        "Finds photographs that show the same picture, within and between sources."
    )
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="photographs, or pairs"
    )
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="SOURCE",
        help="sources that are tested on; what shows one of their pictures is listed "
        "in exclude.txt",
    )
    parser.add_argument(
        "--output",
        default="audit",
        metavar="DIR",
        help="folder for the report (default: %(default)s)",
    )
    args = parser.parse_args(arguments)
    from ttl_jax.data import audit as audit_lib
    from ttl_jax.reports import duplicates

    try:
        found = audit_lib.run(args.sources, args.against)
        print(duplicates.write_report(args.output, found))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"See {args.output}/{duplicates.PAGE}.")
    return 0


def _named_source(text: str) -> tuple[str, str]:
    name, _, source = text.partition("=")
    if not (name and source):
        raise argparse.ArgumentTypeError(f"expected SET=SOURCE, not {text!r}")
    return name, source


def _make_parser(description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="python -m ttl_jax.prepare",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


if __name__ == "__main__":
    sys.exit(main())
