"""Converts data sets to records, renders rain, draws the paper's sets, finds duplicates.

Published sets as they are distributed, and folders of your own:

  python -m ttl_jax.prepare --list
  python -m ttl_jax.prepare rain1200 --source downloads/DID-MDN-datasets
  python -m ttl_jax.prepare pairs --name my_pairs --source rain_and_clean
  python -m ttl_jax.prepare photos --name my_photos --source album

Every image is decoded once. Unusable ones are left out and named in report.md, beside the
records. The source tfds:NAME/SPLIT trains on a prepared set. An interrupted command leaves
nothing incomplete; run it again to finish.

Rain rendered ahead of time, on the photographs of a source of live rain:

  python -m ttl_jax.prepare rendered --name wet --source rain:folder:album --variants 4

Selections of prepared sets as in the paper, which are sources as selection:FILE:

  python -m ttl_jax.prepare --protocol test1 --print
  python -m ttl_jax.prepare --protocol pairs6000 --output lists/pairs6000.txt

Photographs that show the same picture, within and between sources:

  python -m ttl_jax.prepare audit folder:photos folder:more --against folder:test
"""

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

from ttl_jax import atomic_files, command_line, user_paths
from ttl_jax.data import sources

# Arguments of each mode; all others must have their defaults.
_ARGUMENTS = {
    "--protocol": ("protocol", "print", "output", "seed", "set"),
    "--list": ("list", "markdown"),
    "rendered": ("what", "source", "name", "variants", "seed", "data_dir", "overwrite"),
    "files": ("what", "source", "name", "rainy_half", "trust_sides", "data_dir",
              "overwrite"),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command that the flags describe; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    is_audit = arguments[:1] == ["audit"]
    parser = _make_audit_parser() if is_audit else _make_parser()
    args = parser.parse_args(arguments[is_audit:])
    try:
        if is_audit:
            _audit(args)
        else:
            _run(args, parser)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted; nothing incomplete is left.\n")
    return 0


def _run(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Runs one of the modes in `_ARGUMENTS`."""
    if args.protocol:
        _require_defaults(args, parser, "--protocol", "--protocol")
        _draw(args)
    elif args.list:
        from ttl_jax.data.sets import published_sets as sets

        _require_defaults(args, parser, "--list", "--list")
        _print(sets.tabulate() if args.markdown else sets.describe())
    elif not args.what or not args.source:
        raise ValueError("name a set and its --source, a --protocol, audit, or --list")
    else:
        mode = args.what if args.what in _ARGUMENTS else "files"
        _require_defaults(args, parser, mode, args.what)
        _prepare(args)


def _require_defaults(
    args: argparse.Namespace, parser: argparse.ArgumentParser, mode: str, what: str
) -> None:
    """Raises ValueError if an argument is given that a mode ignores.

    Args:
      mode: Key of `_ARGUMENTS`.
      what: The mode for the message.
    """
    flags = {name: "SET" if name == "what" else f"--{name}" for name in vars(args)}
    ignored = [
        flags[name]
        for name, value in vars(args).items()
        if name not in _ARGUMENTS[mode] and value != parser.get_default(name)
    ]
    if ignored:
        used = ", ".join(flags[name] for name in _ARGUMENTS[mode][1:])
        raise ValueError(f"{what} does not use {', '.join(ignored)}; it uses {used}")


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("ttl_jax.prepare", __doc__)
    # fmt: off
    add = parser.add_argument_group("what to prepare").add_argument
    add("what", nargs="?", metavar="SET",
        help="a published set (see --list); pairs or photos for folders of your own; "
        "or rendered for rain on photographs of your own")
    add("--source", type=command_line.path, metavar="DIR",
        help="folder of the set as it is distributed, unpacked; for rendered a source "
        f"of live rain: {sources.LIVE_RAIN}")
    add("--name", help="name of a set of your own, such as my_rain")
    add("--variants", type=int, metavar="N",
        help="for rendered: number of renderings of each photograph (default: 1)")
    add("--list", action="store_true",
        help="print the paper, size, terms, origin and folders of each published set")
    add("--markdown", action="store_true", help="with --list: as a table in Markdown")
    add = parser.add_argument_group("how").add_argument
    add("--rainy_half", choices=["left", "right"],
        help="half of side-by-side files that is rainy, if not the published one")
    add("--trust_sides", action="store_true",
        help="accept pairs whose pixels contradict which side is rainy")
    add = parser.add_argument_group("where to").add_argument
    add("--data_dir", type=pathlib.Path, metavar="DIR",
        help="folder of all prepared sets (default: $TTL_JAX_DATA_DIR, or "
        "~/.cache/ttl_jax/data)")
    add("--overwrite", action="store_true", help="replace an existing set")
    add = parser.add_argument_group("protocols").add_argument
    add("--protocol", metavar="NAME",
        help="draw test1 (test1_mspfn, test1_orig), test2, test3, realclear, pairs6000, "
        "realrain_train or realrain_test")
    add("--print", action="store_true", help="print the list")
    add("--output", type=command_line.path, metavar="FILE", help="write the list to a file")
    add("--seed", type=int, default=0,
        help="seed of a protocol, or of rendered rain (default: %(default)s)")
    add("--set", action="append", default=[], metavar="SET=SOURCE",
        type=command_line.named("SET=SOURCE"),
        help="take a set from another source, such as rain1200/test=folder:PATH; may be "
        "repeated")
    # fmt: on
    return parser


def _prepare(args: argparse.Namespace) -> None:
    """Converts a set to records."""
    # Imported after parsing, so that --help is quick.
    from ttl_jax.data.sets import preparation, raw_preparation, rendered_preparation
    from ttl_jax.data.sources import records

    data_dir = args.data_dir or records.default_data_dir()
    atomic_files.check_folder(user_paths.expand(data_dir))
    if args.what == preparation.RENDERED:
        num_variants = 1 if args.variants is None else args.variants
        plan = rendered_preparation.make_plan(
            args.name, args.source, num_variants, args.seed
        )
    else:
        raw_set = raw_preparation.find_set(args.what, args.name, args.rainy_half)
        root = user_paths.expand(args.source)
        plan = raw_preparation.make_plan(raw_set, root, trust_sides=args.trust_sides)
    prepared = preparation.prepare(
        plan, user_paths.expand(data_dir), overwrite=args.overwrite
    )
    if prepared.is_new:
        print(prepared.summary)
        print(f"Prepared {plan.name} in {prepared.folder}; see report.md there.")
    else:
        print(f"{plan.name} is already prepared in {prepared.folder}.")
    print(f"Its sources: {', '.join(prepared.sources)}")
    if data_dir != records.default_data_dir():
        absolute = user_paths.expand(data_dir).absolute()
        print(f"They are found with TTL_JAX_DATA_DIR={absolute}")


def _draw(args: argparse.Namespace) -> None:
    """Draws a protocol; prints and writes its list as the flags request."""
    from ttl_jax.data.sets import protocols
    from ttl_jax.data.sources import selections

    given: dict[str, list[str]] = {}
    for key, source in args.set:
        given.setdefault(key, []).append(source)
    output = pathlib.Path(args.output) if args.output else None
    if output:  # before drawing, which may take long
        if output.is_dir():
            raise ValueError(f"--output {output} is a folder; name a text file.")
        atomic_files.check_folder(output.parent)
    comments, sections = protocols.select(args.protocol, args.seed, given)
    text = selections.to_text(comments, sections)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write_bytes(output, text.encode())
    _print(text if args.print else "\n".join(comments))
    if output:
        print(f"Written to {output}; use it as selection:{output}")


def _make_audit_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser(
        "ttl_jax.prepare",
        "Finds photographs that show the same picture, within and between sources.",
    )
    # fmt: off
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="photographs, or pairs")
    add("--against", nargs="+", default=[], metavar="SOURCE",
        help="test sources; photographs that show one of their pictures are listed in "
        "exclude.txt")
    add("--output", default="audit", type=command_line.path, metavar="DIR",
        help="folder for the report (default: %(default)s)")
    # fmt: on
    return parser


def _audit(args: argparse.Namespace) -> None:
    """Compares sources and writes the report."""
    from ttl_jax.data.sets import audit
    from ttl_jax.reports import duplicates

    atomic_files.check_folder(args.output)  # before reading, which may take long
    print(duplicates.write_report(args.output, audit.run(args.sources, args.against)))
    print(f"See {args.output}/{duplicates.REPORT}.")


def _print(text: str) -> None:
    """Prints to a reader that may close the pipe early, such as `head`."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The interpreter flushes standard output again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    command_line.print_plain_warnings()
    sys.exit(main())
