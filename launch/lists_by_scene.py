"""Writes lists for training, validation and test from a collection, split by scene.

    python launch/lists_by_scene.py PHOTOGRAPHS --output LISTS

PHOTOGRAPHS contains a MANIFEST.csv with the columns path, dataset, role (rainy,
rainy_unpaired, clean) and scene; paths are relative to it. Rows with the role rain_mask are
ignored, and so are spaces around cells. The clean partner of FOLDER/rainy/NAME.* is
FOLDER/clean/NAME.*. Images in paired/ are in lists of pairs only. Invalid rows end the
program before any image is read. Invalid image files are left out, and their names are
printed.

All images of a scene belong to the same part, even in different collections; otherwise a
network would be tested on scenes it was trained on. A collection is a dataset, or all of
its scenes with one prefix, such as `bsd` in `bsd:100039`. In each collection an eighth of
the scenes is for validation (to choose the recipe), and a fifth is for testing (scored
once, at the end). The SHA-256 of the names orders the scenes, so the lists are the same on
every machine. Scenes may move to another part if a collection grows, or if a new collection
shares scenes with earlier ones. Lists in --output are not replaced if a scene would move.

Sets for testing only are in `pairs_test_only_SET`, `rainy_test_only` and so on. The source
for adapting trained weights is split into `rainy_adapt_1` and `rainy_adapt_2`. Each list is
a source: `list:LISTS/pairs_train.txt`.

If the manifest has a column `licence`, `clean_free_train` and so on are the photographs
whose licence allows any use: CC0, CC BY, CC BY-SA, public domain, or the same in words.

Lists named `claim_` are for `configs/claim.py`, with one image per scene. The training
backgrounds are `claim_GENERATOR_all`. For each of three seeds, 10 and 50 scenes of them are
in lists such as `claim_GENERATOR_10_seed1`, unless there are fewer scenes.
`claim_test_SET` has all images of a set whose scenes are not for training.
"""

import collections
import csv
import hashlib
import itertools
import os
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence

from ttl_jax import atomic_files, command_line, suggestions
from ttl_jax.data.files import decoding, images

# Few scenes, or published test sets to which results are compared: never trained on.
TEST_ONLY = {
    "SPA-Data", "spa_real", "Rain1200", "OutdoorRain", "DDN-samples", "GT-RAIN-crops",
}  # fmt: skip
# A source for adapting trained weights, to one half of it at a time.
ADAPTED_TO = {"spa_internet"}
# Statements that allow any use, and those that make one doubtful.
FREE = re.compile(
    r"\bCC0\b|\bCC[- ]BY\b|public domain|however you wish|unrestricted",
    re.IGNORECASE,
)
DOUBTFUL = re.compile(
    r"unsplash photos|said to be|\b(?:not|only|except|code|academic|research)\b|educat|"
    r"rights reserved|non[-_ ]?commercial|no[-_ ]?deriv|(?<![a-z])N[CD](?![a-z])",
    re.IGNORECASE,
)
COLUMNS = {"path", "dataset", "role", "scene"}
ROLES = {"rainy", "rainy_unpaired", "clean"}
IGNORED_ROLE = "rain_mask"
PARTS = ("train", "validation", "test", "test_only", "adapt_1", "adapt_2")
VALIDATION_SHARE, TEST_SHARE = 1 / 8, 1 / 5
# Tests of configs/claim.py, with their datasets; the real pairs have few scenes together.
CLAIM_TESTS = {
    "Rain100L": {"Rain100L"},
    "Rain100H": {"Rain100H"},
    "Rain200H": {"Rain200H"},
    "DDN-SIRR": {"DDN-SIRR"},
    "Rain1200": {"Rain1200"},
    "real": {"SPA-Data", "GT-RAIN-crops"},
}
NUM_SCENES, SEEDS = (10, 50), (1, 2, 3)
NUM_ADDITIVE = 20  # photographs to test on with rain added to them


def order_of(scene: str) -> tuple[int, int]:
    """Returns the sort key of a scene, random but the same on every machine.

    Scenes whose key begins with 0 were test scenes while the networks of this project
    were designed. They come first: they are for validation or training, never for
    tests.
    """
    digest = int(hashlib.sha256(scene.encode()).hexdigest(), 16)
    return digest % 4, digest


def choose_parts(rows: list[dict]) -> dict[str, str]:
    """Returns the part of each scene, one of `PARTS`.

    A scene that is in several collections is assigned with the smallest of them, which
    might otherwise lack a part.
    """
    parts = {row["scene"]: "test_only" for row in rows if row["dataset"] in TEST_ONLY}
    own = {row["scene"] for row in rows if row["dataset"] in ADAPTED_TO}
    for i, scene in enumerate(sorted(own, key=order_of)):
        parts.setdefault(scene, f"adapt_{1 + i % 2}")
    collections_ = collections.defaultdict(set)
    for row in rows:
        collection = row["dataset"], row["scene"].rpartition(":")[0]
        collections_[collection].add(row["scene"])
    by_size = sorted(collections_.items(), key=lambda item: (len(item[1]), item[0]))
    for _, scenes in by_size:
        ordered = sorted(scenes - set(parts), key=order_of)
        num_validation = round(len(ordered) * VALIDATION_SHARE)
        first_test = len(ordered) - round(len(ordered) * TEST_SHARE)
        for i, scene in enumerate(ordered):
            if i < num_validation:
                parts[scene] = "validation"
            elif i >= first_test and order_of(scene)[0] != 0:
                parts[scene] = "test"
            else:
                parts[scene] = "train"
    return parts


def is_photograph(root: pathlib.Path, row: dict) -> bool:
    """Returns whether a file is a usable image; prints the reason if it is not."""
    try:
        images.load(root / row["path"])
    except decoding.ImageError as error:
        print(f"left out: {error}")
        return False
    return True


def is_free(licence: str) -> bool:
    """Returns whether a statement of a licence clearly allows any use."""
    return bool(FREE.search(licence)) and not DOUBTFUL.search(licence)


def find_partners(rows: Sequence[dict]) -> dict[str, list[str]]:
    """Returns the possible clean paths by the path of each rainy image of a pair."""
    clean: dict[pathlib.PurePosixPath, list[str]] = {}
    rainy: dict[str, pathlib.PurePosixPath] = {}
    for row in rows:
        path = pathlib.PurePosixPath(row["path"])
        if row["role"] == "clean":
            clean.setdefault(path.parent / path.stem, []).append(row["path"])
        elif row["role"] == "rainy":
            rainy[row["path"]] = path.parent.parent / "clean" / path.stem
    return {path: clean.get(partner, []) for path, partner in rainy.items()}


def make_lists(rows: list[dict]) -> dict[str, list[tuple[str, ...]]]:
    """Returns the lines of each list, by its name, as tuples of paths.

    Rainy images without a usable clean partner are left out and printed.
    """
    partners = find_partners(rows)
    parts = choose_parts(rows)
    lists = collections.defaultdict(list)
    for row in sorted(rows, key=lambda row: row["path"]):
        path, role, part = row["path"], row["role"], parts[row["scene"]]
        if role == "rainy":
            if not partners[path]:
                folder = pathlib.PurePosixPath(path).parent.parent / "clean"
                print(f"left out: {path} has no usable clean partner in {folder}.")
                continue
            pair = path, partners[path][0]
            lists[f"pairs_{part}"].append(pair)
            if part != "train":
                lists[f"pairs_{part}_{row['dataset']}"].append(pair)
        elif role == "rainy_unpaired":
            lists[f"rainy_{part}"].append((path,))
        elif role == "clean" and not path.startswith("paired/"):
            lists[f"clean_{part}"].append((path,))
            if is_free(row.get("licence") or ""):
                lists[f"clean_free_{part}"].append((path,))
    return dict(lists)


def make_claim_lists(
    rows: list[dict], lists: dict[str, list[tuple[str, ...]]]
) -> dict[str, list[tuple[str, ...]]]:
    """Returns the lists of `configs/claim.py` from the rows and the other lists."""
    about = {row["path"]: row for row in rows}
    first_of_scene = {
        generator: {about[line[0]]["scene"]: line for line in reversed(lines)}
        for generator, lines in {
            "additive": lists.get("clean_train", []),
            "Rain100H": [
                line
                for line in lists.get("pairs_train", [])
                if about[line[0]]["dataset"] == "Rain100H"
            ],
        }.items()
    }
    claim = {}
    for generator, by_scene in first_of_scene.items():
        claim[f"claim_{generator}_all"] = sorted(by_scene.values())
        for count, seed in itertools.product(NUM_SCENES, SEEDS):
            if count < len(by_scene):
                drawn = sorted(by_scene, key=lambda scene: order_of(f"{seed} {scene}"))
                chosen = sorted(by_scene[scene] for scene in drawn[:count])
                claim[f"claim_{generator}_{count}_seed{seed}"] = chosen
    for name, datasets in CLAIM_TESTS.items():
        claim[f"claim_test_{name}"] = [
            line
            for part in ("validation", "test", "test_only")
            for line in lists.get(f"pairs_{part}", [])
            if about[line[0]]["dataset"] in datasets
        ]
    clean = lists.get("clean_test", [])
    test_scenes = {about[line[0]]["scene"]: line for line in clean}
    drawn = sorted(test_scenes, key=order_of)[:NUM_ADDITIVE]
    claim["claim_test_additive"] = sorted(test_scenes[scene] for scene in drawn)
    held_out = (lists.get(f"rainy_{part}", []) for part in ("validation", "test"))
    claim["claim_test_rainy"] = list(itertools.chain(*held_out))
    return {name: lines for name, lines in claim.items() if lines}


def read_manifest(photographs: pathlib.Path) -> list[dict]:
    """Returns the rows of the manifest whose files can be used."""
    manifest = photographs / "MANIFEST.csv"
    if not manifest.is_file():
        sys.exit(f"{manifest} does not exist; see --help for its form.")
    try:
        # utf-8-sig: spreadsheets write a byte order mark before the first column's name.
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := COLUMNS - set(reader.fieldnames or ()):
                names = ", ".join(sorted(missing))
                sys.exit(f"{manifest} lacks the columns {names}; see --help.")
            rows = [(reader.line_num, normalize(row)) for row in reader]
    except (UnicodeError, csv.Error) as error:
        sys.exit(f"{manifest} is not a CSV file in UTF-8 ({error}); save it as one.")
    check_rows(manifest, rows)
    return [
        row
        for _, row in rows
        if row["role"] != IGNORED_ROLE and is_photograph(photographs, row)
    ]


def normalize(row: dict) -> dict:
    """Returns a row without spaces around its cells, and `a.png` for `./a.png`."""
    row = {name: cell.strip() for name, cell in row.items() if isinstance(cell, str)}
    if row.get("path"):
        row["path"] = str(pathlib.PurePosixPath(row["path"]))
    return row


def check_rows(manifest: pathlib.Path, rows: Sequence[tuple[int, dict]]) -> None:
    """Ends the program at an invalid row.

    Args:
      manifest: Path of the manifest, for messages.
      rows: Numbers of the lines, and their rows.
    """
    lines: dict[str, int] = {}
    for line, row in rows:
        where = f"{manifest}, line {line}"
        if empty := sorted(name for name in COLUMNS if not row.get(name)):
            sys.exit(f"{where} lacks {', '.join(empty)}; fill in {sorted(COLUMNS)}.")
        if row["role"] not in (*ROLES, IGNORED_ROLE):
            sys.exit(
                f"{where}: unknown role {row['role']!r}; use {', '.join(sorted(ROLES))}, "
                f"or {IGNORED_ROLE} for a file to ignore."
            )
        if (first := lines.setdefault(row["path"], line)) != line:
            sys.exit(
                f"{where}: {row['path']} is in line {first} too; remove one of them."
            )
    check_pairs(manifest, rows)


def check_pairs(manifest: pathlib.Path, rows: Sequence[tuple[int, dict]]) -> None:
    """Ends the program at a pair of two scenes, or with two clean files.

    The arguments are those of `check_rows`.
    """
    numbered = {row["path"]: (line, row["scene"]) for line, row in rows}
    for rainy, partners in find_partners([row for _, row in rows]).items():
        line, scene = numbered[rainy]
        if len(partners) > 1:
            named = " and ".join(f"{p} in line {numbered[p][0]}" for p in partners)
            sys.exit(
                f"{manifest}, line {line}: {rainy} has several clean partners, {named}; "
                "keep one of them."
            )
        for clean in partners:
            other_line, other = numbered[clean]
            if other == scene:
                continue
            sys.exit(
                f"{manifest}, line {line}: {rainy} has the scene {scene!r}, but its clean "
                f"partner {clean} in line {other_line} has {other!r}. Give both one scene, "
                "or rename the one that shows another."
            )


def find_parts(lists: Mapping[str, Iterable[Sequence[str]]]) -> dict[str, str]:
    """Returns the part of each photograph, by its path in the lists."""
    names = itertools.product(("pairs", "rainy", "clean"), PARTS)
    return {
        line[0]: part
        for kind, part in names
        for line in lists.get(f"{kind}_{part}", ())
    }


def read_lists(folder: pathlib.Path) -> dict[str, list[list[str]]]:
    """Returns the lines of each list in a folder, in any encoding, as lists of paths."""
    texts = {path.stem: os.fsdecode(path.read_bytes()) for path in folder.glob("*.txt")}
    return {
        name: [line.split("\t") for line in text.split("\n") if line]
        for name, text in texts.items()
    }


def check_earlier_lists(
    folder: pathlib.Path,
    earlier: Mapping[str, list],
    lists: Mapping[str, list],
    scenes: Mapping[str, str],
) -> None:
    """Ends the program if the lists in a folder are of another split.

    Args:
      folder: Folder to write to.
      earlier: Lines of each list in the folder.
      lists: Lines of each new list.
      scenes: Scene of each photograph, by its path.
    """
    parts = find_parts(lists)
    moved = {
        f"{scenes.get(path, path)} was in {part}, now in {parts.get(path, 'none')}"
        for path, part in find_parts(earlier).items()
        if parts.get(path) != part
    }
    if differences := sorted(earlier.keys() - lists.keys()) + sorted(moved):
        sys.exit(
            f"{folder} contains lists of another split, "
            f"{suggestions.name_some(differences, '; ')}. Networks trained on these lists may "
            "know scenes of the new tests. Name another --output, or remove the lists if "
            "nothing was trained on them."
        )


def main() -> None:
    """Reads the manifest and writes the lists."""
    parser = command_line.make_parser("launch.lists_by_scene", __doc__)
    parser.add_argument("photographs", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    try:
        atomic_files.check_folder(args.output)
        earlier = read_lists(args.output)
    except (ValueError, OSError) as error:
        parser.error(f"--output {error}")
    root = args.photographs.resolve()
    rows = read_manifest(args.photographs)
    lists = make_lists(rows)
    lists |= make_claim_lists(rows, lists)
    if not lists:
        sys.exit(f"{args.photographs}/MANIFEST.csv names no usable photograph or pair.")
    lists = {
        name: [tuple(str(root / path) for path in line) for line in lines]
        for name, lines in sorted(lists.items())
    }
    scenes = {str(root / row["path"]): row["scene"] for row in rows}
    check_earlier_lists(args.output, earlier, lists, scenes)
    args.output.mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        path = args.output / f"{name}.txt"
        text = "\n".join(map("\t".join, lines)) + "\n"
        atomic_files.write_bytes(path, os.fsencode(text))
        print(f"{path}: {len(lines)}")


if __name__ == "__main__":
    main()
