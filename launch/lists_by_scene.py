"""Writes lists to train on, choose by and test on from a collection, split by scene.

    python launch/lists_by_scene.py PHOTOGRAPHS --output LISTS

PHOTOGRAPHS holds a MANIFEST.csv with the columns path, dataset, role (rainy,
rainy_unpaired, clean) and scene; paths are relative to it. The clean partner of
FOLDER/rainy/NAME.* is FOLDER/clean/NAME.*, and what lies in paired/ is in lists of pairs
alone. All images of a scene fall into the same part, whatever their collection, or a
network would be tested on what it was trained on. In each collection
an eighth of the scenes is for validation (it chooses the recipe), and a fifth is for testing
(scored once, at the end). The SHA-256 of the names orders the scenes, so the lists are the
same on every machine. A collection is a dataset, or the part of it whose scenes have one
prefix, as `bsd` in `bsd:100039`. Photographs that are added later as a new collection
therefore do not move earlier scenes to another part. What is
for testing only comes as `pairs_test_only_SET`, `rainy_test_only` and so on; the two halves
of one source, which trained weights are adapted to, as `rainy_adapt_1` and
`rainy_adapt_2`. Files that are no photographs are left out, by name. Each list is a source:
`list:LISTS/pairs_train.txt`.
"""

import argparse
import collections
import csv
import hashlib
import pathlib
import sys

from ttl_jax.data.files import decoding, images

# Few scenes, or published test sets to which results are compared: never trained on.
TEST_ONLY = {
    "SPA-Data", "spa_real", "Rain1200", "OutdoorRain", "DDN-samples", "GT-RAIN-crops",
}  # fmt: skip
# A source of its own, which trained weights are adapted to: half of it at a time.
ADAPTED_TO = {"spa_internet"}
COLUMNS = {"path", "dataset", "role", "scene"}
VALIDATION_SHARE, TEST_SHARE = 1 / 8, 1 / 5


def digest_of(scene: str) -> int:
    """A large number, random but the same on every machine."""
    return int(hashlib.sha256(scene.encode()).hexdigest(), 16)


def was_looked_at(scene: str) -> bool:
    """Whether it was a test scene when the networks of this project were designed.

    Nothing may be tested on those any more.
    """
    return digest_of(scene) % 4 == 0


def order_of(scene: str) -> tuple[int, int]:
    """Where a scene stands: those that were looked at come first, where validation is."""
    digest = digest_of(scene)
    return digest % 4, digest


def collection_of(row: dict) -> tuple[str, str]:
    """The dataset of an image and the prefix of its scene, "" if that has none."""
    return row["dataset"], row["scene"].rpartition(":")[0]


def choose_parts(rows: list[dict]) -> dict[str, str]:
    """Returns the part of each scene: train, validation, test, or one of the others.

    A scene of several collections is divided with those of the smallest, of which else
    a part might get none.
    """
    parts = {row["scene"]: "test_only" for row in rows if row["dataset"] in TEST_ONLY}
    own = sorted({row["scene"] for row in rows if row["dataset"] in ADAPTED_TO})
    for i, scene in enumerate(sorted(own, key=order_of)):
        parts.setdefault(scene, f"adapt_{1 + i % 2}")
    scenes = collections.defaultdict(set)
    for row in rows:
        scenes[collection_of(row)].add(row["scene"])
    for _, of_collection in sorted(
        scenes.items(), key=lambda item: (len(item[1]), item[0])
    ):
        ordered = sorted(of_collection - set(parts), key=order_of)
        num_validation = round(len(ordered) * VALIDATION_SHARE)
        num_test = round(len(ordered) * TEST_SHARE)
        for i, scene in enumerate(ordered):
            if i < num_validation:
                parts[scene] = "validation"
            elif i >= len(ordered) - num_test and not was_looked_at(scene):
                parts[scene] = "test"
            else:
                parts[scene] = "train"
    return parts


def is_photograph(root: pathlib.Path, row: dict) -> bool:
    """Whether a file can be used; says so where it cannot."""
    try:
        images.load(root / row["path"])
    except decoding.ImageError as error:
        print(f"left out: {error}")
        return False
    return True


def find_clean_side(rainy: dict, clean_by_folder: dict) -> str | None:
    """Returns the path of a rainy image's clean partner, in the folder `clean` beside its.

    Says so where there is none, or none that can be used.
    """
    path = pathlib.PurePosixPath(rainy["path"])
    folder = path.parent.parent / "clean"
    if path.stem not in clean_by_folder[folder]:
        print(f"left out: {path} has no usable clean partner in {folder}.")
    return clean_by_folder[folder].get(path.stem)


def make_lists(rows: list[dict]) -> dict[str, list[tuple[str, ...]]]:
    """Returns the lines of each list, by its name, as tuples of paths."""
    clean_by_folder = collections.defaultdict(dict)
    for row in rows:
        path = pathlib.PurePosixPath(row["path"])
        if row["role"] == "clean":
            clean_by_folder[path.parent][path.stem] = row["path"]
    parts = choose_parts(rows)
    lists = collections.defaultdict(list)
    for row in sorted(rows, key=lambda row: row["path"]):
        part = parts[row["scene"]]
        if row["role"] == "rainy":
            clean = find_clean_side(row, clean_by_folder)
            if clean is None:
                continue
            pair = row["path"], clean
            lists[f"pairs_{part}"].append(pair)
            if part != "train":
                lists[f"pairs_{part}_{row['dataset']}"].append(pair)
        elif row["role"] == "rainy_unpaired":
            lists[f"rainy_{part}"].append((row["path"],))
        elif row["role"] == "clean" and not row["path"].startswith("paired/"):
            lists[f"clean_{part}"].append((row["path"],))
    return lists


def main() -> None:
    """Reads the manifest and writes the lists."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photographs", type=pathlib.Path)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    manifest = arguments.photographs / "MANIFEST.csv"
    if not manifest.is_file():
        sys.exit(f"{manifest} does not exist; see --help for what it must hold.")
    root = arguments.photographs.resolve()
    # utf-8-sig: spreadsheets put a mark before the first column's name.
    with manifest.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = COLUMNS - set(reader.fieldnames or ())
        if missing:
            sys.exit(
                f"{manifest} lacks the columns {', '.join(sorted(missing))}; see --help."
            )
        rows = [row for row in reader if is_photograph(root, row)]
    lists = make_lists(rows)
    arguments.output.mkdir(parents=True, exist_ok=True)
    others = {path.stem for path in arguments.output.glob("*.txt")} - set(lists)
    if others:
        sys.exit(
            f"{arguments.output} holds lists of another split, {', '.join(sorted(others))}:"
            " scenes in them may be trained on by these. Name another --output."
        )
    for name, lines in sorted(lists.items()):
        text = "".join(
            "\t".join(str(root / path) for path in line) + "\n" for line in lines
        )
        path = arguments.output / f"{name}.txt"
        path.write_text(text)
        print(f"{path}: {len(lines)}")


if __name__ == "__main__":
    main()
