"""Makes records out of data sets as they are distributed, or of one's own folders.

Examples:

  python -m ttl_jax.prepare --list
  python -m ttl_jax.prepare rain1200 --source downloads/DID-MDN-datasets
  python -m ttl_jax.prepare pairs --name my_rain --source my_pairs
  python -m ttl_jax.prepare photos --name my_photos --source album

Every image is decoded once; what cannot be used is left out and named in report.md
beside the records. What is prepared is trained on as the source tfds:NAME/SPLIT. The
same command goes on where it was interrupted.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepares what the flags name.

    Args:
      arguments: The command line, by default the process's own.

    Returns:
      The exit status 0. Whatever keeps a set from being prepared ends the process with
      status 2 and says what to do.
    """
    parser = _make_parser()
    args = parser.parse_args(arguments)
    # Imported once the flags are read: --help is quick.
    from ttl_jax.data import preparation, published_sets, records

    if args.list:
        print(published_sets.tabulate() if args.markdown else published_sets.describe())
        return 0
    if not args.what or not args.source:
        parser.error("name a set and its --source, or ask for --list")
    data_dir = args.data_dir or records.default_data_dir()
    try:
        raw_set = preparation.find_set(args.what, args.name, args.rainy_half)
        prepared = preparation.prepare(
            raw_set,
            args.source.expanduser(),
            data_dir.expanduser(),
            trust_sides=args.trust_sides,
            overwrite=args.overwrite,
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted; nothing is left half-made.\n")
    if prepared.is_new:
        print(prepared.summary)
        print(f"Prepared {raw_set.name} in {prepared.folder}; see report.md there.")
    else:
        print(f"{raw_set.name} is already prepared in {prepared.folder}.")
    print(f"Its sources: {', '.join(prepared.sources)}")
    if data_dir != records.default_data_dir():
        print(f"They are found with TTL_JAX_DATA_DIR={data_dir}")
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ttl_jax.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to prepare")
    what.add_argument(
        "what",
        nargs="?",
        metavar="SET",
        help="a published set (see --list), or pairs or photos for folders of your own",
    )
    what.add_argument(
        "--source",
        type=pathlib.Path,
        metavar="DIR",
        help="folder of the set as it is distributed, unpacked",
    )
    what.add_argument("--name", help="name of a set of your own, such as my_rain")
    what.add_argument(
        "--list",
        action="store_true",
        help="tell each published set's paper, size, terms, origin and folders",
    )
    what.add_argument(
        "--markdown", action="store_true", help="with --list: as a table in Markdown"
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--rainy_half",
        choices=["left", "right"],
        help="where the rain is in side-by-side files, if not where it was published",
    )
    how.add_argument(
        "--trust_sides",
        action="store_true",
        help="take pairs as they are where the pixels seem to say the opposite",
    )
    where = parser.add_argument_group("where to")
    where.add_argument(
        "--data_dir",
        type=pathlib.Path,
        metavar="DIR",
        help="folder of all prepared sets (default: $TTL_JAX_DATA_DIR, or "
        "~/.cache/ttl_jax/data)",
    )
    where.add_argument(
        "--overwrite", action="store_true", help="prepare again what is there already"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
