"""Writes the mean of two weights of one network, where one was trained on from the other.

    python launch/average_weights.py runs/shipped/hard_negatives shipped@0.1 \\
        --share 0.5 --output mine.safetensors

The mean of weights before and after further training often keeps the strengths of both
(Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022). The metadata are those
of the first weights, and record the second weights, their digests and the share. Both count
as ancestors.
"""

import argparse
import pathlib
import sys

import numpy as np

from ttl_jax.weights import fingerprints, flat_params, packed_files, trained


def average(first, second, share: float, *, source: str) -> dict:
    """Returns params by module: `share` times the first plus the rest of the second.

    Raises:
      ValueError: If their modules, names, shapes or types differ.
    """
    if first.keys() != second.keys():
        raise ValueError(f"{source} holds {sorted(second)}, not {sorted(first)}.")
    for module, params in first.items():
        flat_params.verify_params(second[module], params, source=source, module=module)
    return {
        module: {
            name: np.asarray(
                share * np.float64(value)
                + (1 - share) * np.float64(second[module][name]),
                np.asarray(value).dtype,
            )
            for name, value in params.items()
        }
        for module, params in first.items()
    }


def main() -> None:
    """Reads both weights and writes their mean."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("first", metavar="DIR", help="weights, with their metadata")
    parser.add_argument("second", metavar="DIR", help="weights they started from")
    text = "share of the first (default: %(default)s)"
    parser.add_argument("--share", type=float, default=0.5, help=text)
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="FILE")
    args = parser.parse_args()
    if not 0 <= args.share <= 1:
        parser.error(f"--share {args.share} is out of range; use 0 to 1")
    try:
        _write_average(args)
    except (ValueError, OSError) as error:
        sys.exit(f"average_weights: {error}")
    print(f"{args.output}: {args.share} of {args.first}, the rest of {args.second}")


def _write_average(args: argparse.Namespace) -> None:
    paths = [trained.locate(pathlib.Path(), text) for text in (args.first, args.second)]
    (first, metadata), (second, _) = map(trained.load, paths)
    modules = average(first, second, args.share, source=args.second)
    ancestors = [trained.find_ancestors(path) for path in paths]
    own, others = (
        {module: fingerprints.digest(params) for module, params in weights.items()}
        for weights in (first, second)
    )
    digests = {*own.values(), *others.values()}.union(*(a.digests for a in ancestors))
    metadata["averaged_with"] = {
        "name": trained.find_name(paths[1]),
        "share": 1 - args.share,
        "digests": others,
    }
    metadata["ancestors"] = {
        "digests": sorted(digests),
        "are_all": all(each.are_all for each in ancestors),
    }
    packed_files.write(args.output, modules, metadata)


if __name__ == "__main__":
    main()
