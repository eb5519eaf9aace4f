"""launch/lists_by_scene.py: lists of training, validation and test scenes."""

import csv
import hashlib
import os
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from launch import lists_by_scene
from tests import commands
from ttl_jax.data.sources import source_names


@pytest.fixture
def collection(tmp_path):
    """40 scenes, each as a pair, a clean photograph and a rainy one; one bad file."""
    root, rows = tmp_path / "photographs", []
    for i in range(40):
        for path, role in (
            (f"paired/Rain/rainy/{i}.png", "rainy"),
            (f"paired/Rain/clean/{i}.png", "clean"),
            (f"clean/bsds/{i}.png", "clean"),
            (f"real/{i}.png", "rainy_unpaired"),
        ):
            dataset = "SPA-Data" if i == 0 else "Snow" if i % 5 == 1 else "Rain"
            dataset = "spa_internet" if i in (10, 20) else dataset
            rows.append({"path": path, "dataset": dataset, "role": role})
            rows[-1]["scene"] = f"scene {i}"
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((9, 9, 3), i, np.uint8)).save(file)
    (root / "real/7.png").write_bytes(b"no image")
    with (root / "MANIFEST.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(reversed(rows))
    return root


def make_lists(collection, output):
    printed = commands.call(lists_by_scene, collection, "--output", output)
    lists = {
        path.stem: [line.split("\t") for line in path.read_text().splitlines()]
        for path in output.iterdir()
    }
    return lists, printed


def test_no_scene_is_in_two_parts_and_none_is_lost(collection, tmp_path):
    lists, printed = make_lists(collection, tmp_path / "lists")
    scenes = {
        part: {
            pathlib.Path(path).stem
            for name, lines in lists.items()
            if re.fullmatch(
                rf"(pairs|rainy|clean)_{part}(_(Rain|Snow|SPA-Data|spa_internet))?",
                name,
            )
            for line in lines
            for path in line
        }
        for part in ("train", "validation", "test", "test_only", "adapt_1", "adapt_2")
    }
    assert sum(map(len, scenes.values())) == 40
    assert set.union(*scenes.values()) == {str(i) for i in range(40)}
    assert scenes["test_only"] == {"0"}
    assert {*scenes["adapt_1"], *scenes["adapt_2"]} == {"10", "20"}
    assert len(scenes["adapt_1"]) == 1
    snow = {str(i) for i in range(1, 40, 5)}  # 8 scenes: an eighth, a fifth
    assert len(scenes["validation"] & snow) == 1 and len(scenes["test"] & snow) == 2
    # 29 others; of multiples of 4 none is tested on.
    assert len(scenes["validation"] - snow) == 4 and len(scenes["test"] - snow) <= 6
    for scene in scenes["test"]:
        digest = hashlib.sha256(f"scene {scene}".encode()).hexdigest()
        assert int(digest, 16) % 4 != 0
    assert "left out" in printed and "real/7.png" in printed


def test_scenes_keep_their_part_when_a_collection_grows():
    def rows(dataset, prefix, count):
        return [{"dataset": dataset, "scene": f"{prefix}:{i}"} for i in range(count)]

    before = rows("misc", "real", 9) + rows("Rain", "bsd", 30)
    parts = lists_by_scene.choose_parts(before)
    assert set(parts.values()) == {"train", "validation", "test"}
    added = rows("misc", "stock", 20) + rows("New", "new", 3)
    grown = lists_by_scene.choose_parts(before + added)
    assert {scene: grown[scene] for scene in parts} == parts
    assert len(grown) == len(parts) + 23


def test_real_pairs_of_few_scenes_are_for_testing_only():
    rows = [{"dataset": "GT-RAIN-crops", "scene": f"gt:{i}"} for i in range(9)]
    assert set(lists_by_scene.choose_parts(rows).values()) == {"test_only"}


def test_what_is_for_testing_only_is_in_no_other_list(collection, tmp_path):
    lists, _ = make_lists(collection, tmp_path / "lists")
    with_scene_0 = {
        name
        for name, lines in lists.items()
        if any(pathlib.Path(path).stem == "0" for line in lines for path in line)
    }
    assert with_scene_0 == {
        "claim_test_real",
        "clean_test_only",
        "pairs_test_only",
        "pairs_test_only_SPA-Data",
        "rainy_test_only",
    }


@pytest.mark.parametrize(
    ("licence", "is_free"),
    [
        ("CC0-1.0", True),
        ("CC BY-SA 4.0 (N. N.)", True),
        ("CC-BY-4.0", True),
        ('README: "All assets are public domain"', True),
        ("CC0 (Unsplash before 8 June 2017)", True),
        ("CC BY-NC 4.0", False),
        ("CC-BY-NC-SA-3.0", False),
        ("CC BY-ND 4.0", False),
        ("CC-BY-ND-NC 3.0", False),
        ("CC BY 3.0 (NoDerivatives), N. D. Name", False),
        ("CC BY 2.0, by N. D. Name", True),
        ("said to be CC BY 4.0, not verified", False),
        ('"Unsplash photos are public domain"', False),
        ("non-commercial research", False),
        ("GPL-2+", False),
        ("none stated", False),
        ("", False),
        ("not in the public domain", False),
        ("not CC BY; all rights reserved", False),
        ("CC BY; some rights reserved", False),
        ("unrestricted for research use only", False),
        ("CC BY 4.0, academic use", False),
        ("public domain (for education)", False),
        ("cc-by-nc4.0", False),
        ("CC BY-NC_SA", False),
        ("CC BY, non_commercial", False),
        ("CC0 (code); photographs by N. N.", False),
    ],
)
def test_only_a_clear_statement_makes_a_photograph_free(licence, is_free):
    assert lists_by_scene.is_free(licence) == is_free


def test_free_photographs_are_a_part_of_the_clean_ones():
    rows = [
        {"path": f"clean/{i}.png", "dataset": "D", "role": "clean", "scene": f"s:{i}"}
        | {"licence": ("CC0", "none stated")[i % 2]}
        for i in range(40)
    ]
    lists = lists_by_scene.make_lists(rows)
    for part in ("train", "validation", "test"):
        even = [
            line
            for line in lists[f"clean_{part}"]
            if int(pathlib.Path(line[0]).stem) % 2 == 0
        ]
        assert lists[f"clean_free_{part}"] == even


def scenes_of(lists, manifest, pattern):
    with manifest.open(newline="") as file:
        scenes = {row["path"]: row["scene"] for row in csv.DictReader(file)}
    root = manifest.parent.resolve()
    return {
        scenes[str(pathlib.Path(path).relative_to(root))]
        for name, lines in lists.items()
        if re.fullmatch(pattern, name)
        for line in lines
        for path in line
    }


@pytest.fixture(params=["small", "real"])
def claim_lists(request, tmp_path, collection, monkeypatch):
    """All lists of a collection, and its manifest."""
    if request.param == "real":
        if "TTL_DATA" not in os.environ:
            pytest.skip("TTL_DATA is not set.")
        collection = pathlib.Path(os.environ["TTL_DATA"])
        # Decoding takes longest.
        monkeypatch.setattr(lists_by_scene, "is_photograph", lambda *_: True)
    else:
        manifest = collection / "MANIFEST.csv"
        manifest.write_text(manifest.read_text().replace(",Rain,", ",Rain100H,"))
    return make_lists(collection, tmp_path / "lists")[0], collection / "MANIFEST.csv"


def test_no_scene_of_the_claim_is_trained_on_and_tested_on(claim_lists):
    lists, manifest = claim_lists
    backgrounds = scenes_of(lists, manifest, r"claim_(additive|Rain100H)_.*")
    photographs = scenes_of(lists, manifest, "(clean|rainy|pairs)_train")
    tests = scenes_of(lists, manifest, "claim_test_.*")
    assert backgrounds and photographs and tests
    assert not tests & (backgrounds | photographs)
    assert tests >= scenes_of(lists, manifest, "pairs_(validation|test)_Rain100H")


def test_backgrounds_of_the_claim_are_nested_in_all_and_one_per_scene(claim_lists):
    lists, manifest = claim_lists
    for generator in ("additive", "Rain100H"):
        everything = lists[f"claim_{generator}_all"]
        for seed in (1, 2, 3):
            drawn = lists[f"claim_{generator}_10_seed{seed}"]
            assert len(drawn) == 10 and all(line in everything for line in drawn)
            name = f"claim_{generator}_10_seed{seed}"
            assert len(scenes_of(lists, manifest, name)) == 10
        assert (
            len({str(lists[f"claim_{generator}_10_seed{s}"]) for s in (1, 2, 3)}) == 3
        )


def test_a_manifest_may_come_from_a_spreadsheet(collection, tmp_path):
    lists, _ = make_lists(collection, tmp_path / "lists")
    manifest = collection / "MANIFEST.csv"
    manifest.write_text(manifest.read_text(), encoding="utf-8-sig")
    assert make_lists(collection, tmp_path / "again")[0] == lists


def test_spaces_around_cells_and_the_spelling_of_a_path_change_nothing(
    collection, tmp_path
):
    before, _ = make_lists(collection, tmp_path / "lists")
    manifest = collection / "MANIFEST.csv"
    header, *rows = manifest.read_text().splitlines()
    rows[::2] = [
        f" ./{row.replace(',', ' ,').replace('/', '//')} " for row in rows[::2]
    ]
    manifest.write_text("\n".join([header, *rows]))
    assert make_lists(collection, tmp_path / "again")[0] == before


def test_a_manifest_without_a_column_is_rejected(collection, tmp_path):
    manifest = collection / "MANIFEST.csv"
    manifest.write_text(manifest.read_text().replace("scene", "place", 1))
    with pytest.raises(SystemExit, match="MANIFEST.csv lacks the columns scene"):
        make_lists(collection, tmp_path / "lists")


MANIFEST_FAULTS = {
    "unknown role": (
        "real/1.png,Snow,rainy_unpaired,scene 1",
        "real/1.png,Snow,rainy unpaired,scene 1",
        "unknown role 'rainy unpaired'; use clean, rainy, rainy_unpaired, or rain_mask",
    ),
    "role in capitals": (
        "clean/bsds/1.png,Snow,clean,", "clean/bsds/1.png,Snow,Clean,", "role 'Clean'"
    ),
    "short row": (
        "real/1.png,Snow,rainy_unpaired,scene 1", "real/1.png,Snow", "lacks role, scene"
    ),
    "empty scene": (
        "real/1.png,Snow,rainy_unpaired,scene 1", "real/1.png,Snow,clean,", "lacks scene"
    ),
    "path named twice": (
        "real/1.png,Snow", "./real/2.png,Snow", r"real/2\.png is in line \d+ too"
    ),
    "two clean files": (
        "clean/bsds/1.png,Snow,", "paired/Rain/clean/1.jpg,Snow,",
        r"rainy/1\.png has .*clean/1\.jpg in line \d+ and .*clean/1\.png in line \d+;",
    ),
    "pair of two scenes": (
        "paired/Rain/clean/1.png,Snow,clean,scene 1",
        "paired/Rain/clean/1.png,Snow,clean,scene 2",
        r"has the scene 'scene 1', but .* paired/Rain/clean/1\.png in line \d+ has 'scene 2'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MANIFEST_FAULTS)
def test_an_invalid_row_is_an_error_before_anything_is_read(
    collection, tmp_path, name, monkeypatch
):
    row, invalid, message = MANIFEST_FAULTS[name]
    monkeypatch.setattr(lists_by_scene, "is_photograph", None)
    manifest = collection / "MANIFEST.csv"
    text = manifest.read_text()
    assert text.count(row) == 1
    manifest.write_text(text.replace(row, invalid))
    with pytest.raises(
        SystemExit, match=rf"MANIFEST.csv, line \d+:? .*{message}"
    ) as caught:
        make_lists(collection, tmp_path / "lists")
    number = int(re.search(r"line (\d+)", str(caught.value))[1])
    lines = manifest.read_text().splitlines()
    assert lines[number - 1].split(",")[0].removeprefix("./") in (
        "paired/Rain/rainy/1.png",  # of the pair
        "real/2.png",  # whose second row is found
        invalid.split(",")[0],
    )


def test_a_manifest_in_another_encoding_is_an_error_of_one_line(collection, tmp_path):
    manifest = collection / "MANIFEST.csv"
    manifest.write_bytes(
        manifest.read_bytes() + "caf\xe9.png,Rain,clean,a\n".encode("latin1")
    )
    with pytest.raises(
        SystemExit, match="MANIFEST.csv is not a CSV file in UTF-8 .*save"
    ):
        make_lists(collection, tmp_path / "lists")


def test_an_output_that_is_a_file_is_found_before_anything_is_read(
    collection, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(lists_by_scene, "read_manifest", None)
    (tmp_path / "lists").touch()
    with pytest.raises(SystemExit, match="2"):
        commands.call(lists_by_scene, collection, "--output", tmp_path / "lists")
    assert "lists cannot hold the output" in capsys.readouterr().err


def test_masks_are_in_no_list(collection, tmp_path):
    before, _ = make_lists(collection, tmp_path / "lists")
    with (collection / "MANIFEST.csv").open("a") as file:
        file.write("masks/1.png,Rain,rain_mask,scene 1\n")
    after, printed = make_lists(collection, tmp_path / "again")
    assert after == before and "masks/1.png" not in printed


def test_no_list_is_empty(collection, tmp_path):
    manifest = collection / "MANIFEST.csv"
    header, *rows = manifest.read_text().splitlines()
    one = next(row for row in rows if row.startswith("clean/bsds/3.png"))
    manifest.write_text(f"{header}\n{one}\n")
    lists, _ = make_lists(collection, tmp_path / "lists")
    assert lists.keys() == {"clean_train", "claim_additive_all"}
    assert all(
        lines == [[f"{collection}/clean/bsds/3.png"]] for lines in lists.values()
    )


def test_a_manifest_without_a_usable_photograph_is_an_error(collection, tmp_path):
    manifest = collection / "MANIFEST.csv"
    header, *rows = manifest.read_text().splitlines()
    for kept in ([], [row for row in rows if row.startswith("real/7.png")]):
        manifest.write_text("\n".join([header, *kept]) + "\n")
        with pytest.raises(SystemExit, match="MANIFEST.csv names no usable photograph"):
            make_lists(collection, tmp_path / "lists")
        assert not (tmp_path / "lists").exists()


def test_lists_of_another_split_are_not_mixed_with_these(collection, tmp_path):
    output = tmp_path / "lists"
    output.mkdir()
    (output / "pairs_test_Hail.txt").write_text("a\tb\n")
    with pytest.raises(SystemExit, match="another split, pairs_test_Hail"):
        make_lists(collection, output)
    assert [path.name for path in output.iterdir()] == ["pairs_test_Hail.txt"]


def test_a_text_file_in_any_encoding_is_found_before_anything_is_read(
    collection, tmp_path, monkeypatch, capsys
):
    output = tmp_path / "lists"
    output.mkdir()
    (output / "notes.txt").write_bytes("caf\xe9\n".encode("latin1"))
    with pytest.raises(SystemExit, match="another split, notes"):
        make_lists(collection, output)
    monkeypatch.setattr(lists_by_scene, "read_manifest", None)
    (output / "folder.txt").mkdir()
    with pytest.raises(SystemExit, match="2"):
        make_lists(collection, output)
    assert "folder.txt" in capsys.readouterr().err


def test_a_path_that_is_no_utf_8_is_that_of_the_earlier_list(collection, tmp_path):
    root = collection.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    output = tmp_path / "lists"
    written = []
    for _ in range(2):
        commands.call(lists_by_scene, root, "--output", output)
        written.append({path.name: path.read_bytes() for path in output.iterdir()})
    assert b"caf\xe9" in written[0]["clean_train.txt"]
    assert written[1] == written[0]


def add_collection(collection, scenes):
    """Adds a dataset with a clean photograph of each scene to the manifest."""
    with (collection / "MANIFEST.csv").open("a", newline="") as file:
        for scene in scenes:
            path = f"clean/new/{scene}.png"
            (collection / path).parent.mkdir(exist_ok=True)
            Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(collection / path)
            csv.writer(file).writerow([path, "New", "clean", f"scene {scene}"])


def test_new_scenes_are_added_to_the_lists(collection, tmp_path):
    before, _ = make_lists(collection, tmp_path / "lists")
    add_collection(collection, range(100, 120))
    after, _ = make_lists(collection, tmp_path / "lists")
    for name in before.keys() - {name for name in before if "claim" in name}:
        earlier = [line for line in after[name] if "clean/new" not in line[0]]
        assert earlier == before[name], name
    assert len(after["clean_train"]) > len(before["clean_train"])


def test_lists_are_kept_if_a_scene_of_training_would_be_tested(collection, tmp_path):
    before, _ = make_lists(collection, tmp_path / "lists")
    trained = [pathlib.Path(line[0]).stem for line in before["clean_train"]]
    add_collection(collection, trained)
    after, _ = make_lists(collection, tmp_path / "others")
    tested = {pathlib.Path(line[0]).stem for line in after["clean_test"]}
    assert (moved := tested & set(trained))
    with pytest.raises(SystemExit, match="lists of another split") as caught:
        make_lists(collection, tmp_path / "lists")
    named = re.findall(r"scene (\d+) was in train, now in test;", str(caught.value))
    assert set(named) <= moved and named
    for name, lines in before.items():
        kept = (tmp_path / "lists" / f"{name}.txt").read_text()
        assert [line.split("\t") for line in kept.splitlines()] == lines


def test_lists_of_photographs_that_are_gone_are_kept(collection, tmp_path):
    before, _ = make_lists(collection, tmp_path / "lists")
    gone = before["clean_train"][0][0]
    pathlib.Path(gone).write_bytes(b"no image")
    with pytest.raises(SystemExit, match=f"{gone} was in train, now in none"):
        make_lists(collection, tmp_path / "lists")


def test_lists_are_sources(collection, tmp_path):
    lists, _ = make_lists(collection, tmp_path / "lists")
    pairs = source_names.open_pairs(f"list:{tmp_path}/lists/pairs_train.txt")
    assert len(pairs) == len(lists["pairs_train"])
    for pair in pairs:
        rainy, clean = pair.load()
        np.testing.assert_array_equal(rainy, clean)  # the same scene's number
