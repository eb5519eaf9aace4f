"""Keeps the best restoration of each rainy photograph, as a target to train on.

    python launch/best_restorations.py --rainy list:runs/lists/rainy_train.txt \\
        --checkpoint runs/x/derain --checkpoint shipped --output runs/pool
    python -m ttl_jax.main --config=configs/refine.py --workdir=runs/x

Every checkpoint restores each photograph, its mirrored copy, and the mean of both. The best
of these restorations has the lowest cost: the rain score of a recognition network, plus
--fidelity times the mean change outside the rain, in levels of 255. Rain is where most
restorations darken the photograph more than elsewhere. A photograph gives no pair if
none of its restorations costs less than the photograph itself.

The list pairs.txt then names the pairs: rainy/NAME.png and clean/NAME.png. The file report.csv
has one row for each photograph: file, photograph, checkpoint, view (plain, mirrored or
mean), cost before and after, the rain scores, and the settings of the cost. A second
run, with later checkpoints and the same settings, replaces a restoration only if it
finds a better one. It computes the cost of the earlier one anew, since the later
checkpoints may disagree on where the rain is. After an interruption, the same command
restores all photographs again, and keeps what is written unless it finds a better one.

The choice among snapshots and mirrored copies follows RGSUD (CVPR 2026).
"""

import argparse
import math
import pathlib
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.ndimage
import tqdm

import ttl_jax
from ttl_jax import command_line
from ttl_jax.data.files import encoding, images
from ttl_jax.data.sources import source_names
from ttl_jax.inference.recognizer import Recognizer
from ttl_jax.reports import report_files

REPORT, PAIRS = "report.csv", "pairs.txt"
VIEWS = ("plain", "mirrored", "mean")
_DARKER = 8  # levels: less is not taken for rain
_REACH = 2  # pixels around rain, where change is free as well

Restore = Callable[[np.ndarray], np.ndarray]


class Judge(NamedTuple):
    """What decides which restoration is the best.

    Attributes:
      score: Returns the rain score of an image.
      digest: Digest of the recognition network that scores.
      fidelity: Cost of a change of one level outside the rain.
    """

    score: Callable[[np.ndarray], float]
    digest: str
    fidelity: float


class Entry(NamedTuple):
    """The best restoration of a photograph; a row of the report.

    Attributes:
      file: Name of its files; empty if nothing is better than the photograph.
      photograph: Name of the photograph.
      checkpoint: Weights that made it.
      view: One of `VIEWS`.
      cost_before: Cost of the photograph itself.
      cost: Cost of the restoration.
      score_before: Rain score of the photograph.
      score: Rain score of the restoration.
      digest: Digest of the recognition network that scored.
      fidelity: Cost of a change of one level outside the rain.
    """

    file: str
    photograph: str
    checkpoint: str
    view: str
    cost_before: float
    cost: float
    score_before: float
    score: float
    digest: str
    fidelity: float


def restorations(
    image: np.ndarray, networks: Mapping[str, Restore]
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yields checkpoint, view and restoration, uint8 [H, W, 3], of an image."""
    for name, restore in networks.items():
        plain = restore(image)
        mirrored = restore(image[:, ::-1])[:, ::-1]
        mean = np.rint((plain.astype(np.float32) + mirrored) / 2).astype(np.uint8)
        yield from zip((name,) * 3, VIEWS, (plain, mirrored, mean))


def rain_mask(image: np.ndarray, restored: list[np.ndarray]) -> np.ndarray:
    """Returns where most restorations darken the image more than elsewhere, bool [H, W]."""
    votes = np.zeros(image.shape[:2])
    for other in restored:
        darker = image.mean(-1) - other.mean(-1)
        votes += darker - max(np.median(darker), 0) > _DARKER
    mask = votes > len(restored) / 2
    return scipy.ndimage.binary_dilation(mask, iterations=_REACH)


def change_outside(image: np.ndarray, restored: np.ndarray, mask: np.ndarray) -> float:
    """Returns the mean absolute change outside a mask [H, W], in levels."""
    change = np.abs(restored.astype(np.float32) - image).mean(-1)[~mask]
    return float(change.mean()) if change.size else 0.0


def find_best(
    photograph,
    networks: Mapping[str, Restore],
    judge: Judge,
    earlier: Iterable[tuple[str, str, np.ndarray]] = (),
) -> tuple[Entry, np.ndarray, np.ndarray]:
    """Returns the entry of the best restoration, the photograph and the restored image.

    Args:
      photograph: Rainy photograph.
      networks: Functions that restore, by checkpoint.
      judge: What decides.
      earlier: Restorations of earlier runs, as `restorations` yields them. They have no
        vote on where the rain is, so that a repeated run finds the same costs.
    """
    image = photograph.load()
    candidates = list(restorations(image, networks))
    mask = rain_mask(image, [restored for _, _, restored in candidates])
    before = judge.score(image)
    found = []
    for checkpoint, view, restored in [*earlier, *candidates]:
        after = judge.score(restored)
        cost = after + judge.fidelity * change_outside(image, restored, mask)
        entry = Entry(
            name_file(photograph.name) if cost < before else "",
            photograph.name, checkpoint, view, before, cost, before, after,
            judge.digest, judge.fidelity,
        )  # fmt: skip
        found.append((entry, image, restored))
    return min(found, key=lambda item: item[0].cost)


def name_file(photograph: str) -> str:
    """Returns the name of the files of a photograph."""
    stem = re.sub(r"\W+", "_", pathlib.PurePath(photograph).stem)[-60:]
    return f"{stem}-{zlib.crc32(photograph.encode()):08x}.png"


def read_report(folder: pathlib.Path, judge: Judge) -> dict[str, Entry]:
    """Returns the entries of a folder by photograph.

    Raises:
      ValueError: If the folder holds files of something else, or costs of other settings.
    """
    entries = _read_entries(folder)
    for entry in entries:
        is_same = math.isclose(entry.fidelity, judge.fidelity)
        if entry.digest != judge.digest or not is_same:
            raise ValueError(
                f"--output {folder} has costs of --fidelity {entry.fidelity} and the "
                f"recognition network {entry.digest}; those of --fidelity "
                f"{judge.fidelity} and {judge.digest} cannot be compared with them. Use "
                "the same settings, or name another folder."
            )
    return {entry.photograph: entry for entry in entries}


def _read_entries(folder: pathlib.Path) -> list[Entry]:
    report = folder / REPORT
    if report.is_file():
        table = pd.read_csv(report, keep_default_na=False, dtype={"digest": str})
        if list(table) == list(Entry._fields):
            return [Entry(*row) for row in table.itertuples(index=False)]
    elif not folder.exists() or not any(folder.iterdir()):
        return []
    raise ValueError(
        f"--output {folder} has files of something else and no {REPORT} of this script; "
        "name another folder."
    )


def read_earlier(folder: pathlib.Path, entry: Entry | None) -> Iterator[tuple]:
    """Yields checkpoint, view and image of the best restoration so far, if there is one."""
    if entry and entry.file:
        yield entry.checkpoint, entry.view, images.load(folder / "clean" / entry.file)


def update(folder: pathlib.Path, entries: dict[str, Entry], found: tuple) -> None:
    """Writes the best restoration of a photograph, and the tables."""
    entry, image, restored = found
    entries[entry.photograph] = entry
    if entry.file:
        sides = (("rainy", image), ("clean", restored))
        pair = {
            f"{side}/{entry.file}": encoding.encode(entry.file, pixels)
            for side, pixels in sides
        }
        report_files.write(folder, pair)
    write_tables(folder, entries)


def write_tables(folder: pathlib.Path, entries: Mapping[str, Entry]) -> None:
    """Writes the report and the list, which names pairs that are complete."""
    table = pd.DataFrame(entries.values(), columns=Entry._fields)
    files = [entry.file for entry in entries.values() if entry.file]
    contents = {
        REPORT: table.to_csv(index=False, lineterminator="\n"),
        PAIRS: "".join(f"rainy/{file}\tclean/{file}\n" for file in files),
    }
    report_files.write(folder, contents)


def parse_arguments() -> argparse.Namespace:
    """Returns the checked flags."""
    parser = command_line.make_parser("launch.best_restorations", __doc__)
    # fmt: off
    add = parser.add_argument
    add("--rainy", required=True, help="source of rainy photographs to train on")
    add("--checkpoint", action="append", required=True,
        help="run or packed file that removes rain; may be given several times")
    add("--output", type=command_line.path, required=True, help="folder to write")
    add("--recog", default="shipped",
        help="recognition network that scores, preferably one from which no checkpoint "
        "was trained; default: %(default)s")
    add("--fidelity", type=float, default=0.05,
        help="cost of a change of one level outside the rain; default: %(default)s")
    # fmt: on
    args = parser.parse_args()
    if not args.fidelity >= 0:
        parser.error(f"--fidelity is {args.fidelity}; expected 0 or more.")
    return args


def main() -> None:
    """Reads the flags, restores every photograph and keeps the best."""
    args = parse_arguments()
    folder = pathlib.Path(args.output)
    try:
        recognizer = Recognizer.from_checkpoint(args.recog)
        judge = Judge(recognizer.score, recognizer.digest, args.fidelity)
        entries = read_report(folder, judge)
        photographs = source_names.open_photographs(args.rainy, "rainy")
        networks = {path: ttl_jax.load(path).restore for path in args.checkpoint}
        write_tables(
            folder, entries
        )  # so that a killed run is known as one of this script
        for photograph in tqdm.tqdm(photographs):
            earlier = read_earlier(folder, entries.get(photograph.name))
            update(folder, entries, find_best(photograph, networks, judge, earlier))
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    written = sum(bool(entry.file) for entry in entries.values())
    print(f"{folder}: {written} pairs from {len(entries)} photographs")


if __name__ == "__main__":
    command_line.start()
    main()
