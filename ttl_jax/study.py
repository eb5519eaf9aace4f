"""Runs a user study, in which people rank the results of several methods, and reports it.

Examples:

  python -m ttl_jax.study --results ours=restored --results other=elsewhere \\
      --input photographs --output study.db --raters 20
  python -m ttl_jax.study report study.db --output study_report

Each rater gets a link. For each photograph the rater sees the results without names, in a
random order, and ranks them. The best of n results scores n. Results are matched with the
photographs by their path within the folder, without the suffix. The same command continues
a study: links and rankings are kept; a larger --raters adds raters.

The report has total scores (Table 2 of the paper), a histogram of scores (Fig. 7), Kendall's
W with an interval, the winner of each photograph, and CSV. Other computers can reach the
server only with --host. SIGTERM or Ctrl-C ends it. Needs: pip install "ttl_jax[study]".
"""

import argparse
import functools
import sys
from collections.abc import Sequence

from ttl_jax import command_line, user_paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves a study until a signal, or reports it; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    is_report = arguments[:1] == ["report"]
    parser = _make_report_parser() if is_report else _make_parser()
    args = parser.parse_args(arguments[is_report:])
    try:
        return (_report if is_report else _serve)(parser, args)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return 130


def _serve(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    command_line.require_extra(parser, "study", ("starlette", "uvicorn"))
    # Imported after parsing, so that --help is quick.
    from ttl_jax.web import serving, study_records, studying

    results = {name: str(user_paths.expand(folder)) for name, folder in args.results}
    if len(results) < len(args.results):
        parser.error("two methods of --results have the same name")
    photographs = study_records.find_photographs(args.input, results)
    study = study_records.Study(args.output, create=True)
    study.prepare(list(results), photographs, args.raters)

    def announce(address: str) -> None:
        links = (f"{address}/r/{token}/" for token in study.tokens())
        print(*links, "Each rater gets one link; Ctrl-C ends.", sep="\n", flush=True)

    try:
        make_app = functools.partial(studying.make_app, study)
        serving.run(make_app, args.host, args.port, announce)
    finally:
        study.close()
    return 0


def _report(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    del parser
    from ttl_jax.web import study_records, study_report

    study = study_records.Study(args.study)
    try:
        print(study_report.write(study, args.output))
    finally:
        study.close()
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("ttl_jax.study", __doc__)
    add = parser.add_argument
    add(
        "--results",
        type=command_line.named("NAME=DIR"),
        action="append",
        required=True,
        metavar="NAME=DIR",
        help="name of a method and the folder of its results; repeat for each method",
    )
    text = "folder of the rainy photographs"
    add("--input", type=command_line.path, required=True, metavar="DIR", help=text)
    text = "file of the study; created if it is missing"
    add("--output", type=command_line.path, required=True, metavar="FILE", help=text)
    text = "number of raters (default: 20, or that of the existing study)"
    add("--raters", type=command_line.count(1), metavar="N", help=text)
    command_line.add_address(parser)
    return parser


def _make_report_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("ttl_jax.study report", __doc__)
    add = parser.add_argument
    add("study", type=command_line.path, metavar="FILE", help="file of the study")
    text = "folder of the report; created if it is missing"
    add("--output", type=command_line.path, required=True, metavar="DIR", help=text)
    return parser


if __name__ == "__main__":
    sys.exit(main())
