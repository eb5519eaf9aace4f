"""Which evaluation sets may choose the best step."""

import pytest

from tests import pictures
from tests.data.raw_trees import write_tree
from ttl_jax.data.loading import held_out, listings
from ttl_jax.data.loading.listings import Listing
from ttl_jax.data.sets import preparation, raw_preparation, rendered_preparation
from ttl_jax.data.sets.published_sets import SETS
from ttl_jax.data.sources import records


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two folders of pairs, a and b, of which b has one clean side of a's."""
    for name in ("a/rainy/0", "a/clean/0", "a/rainy/1", "a/clean/1", "b/0", "b/1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pictures.write(tmp_path / f"{name}.png", pictures.noise(12, 14, 3))
    (tmp_path / "b.txt").write_text("b/0.png\tb/1.png\nb/1.png\ta/clean/1.png\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(*sources):
    return [Listing("pairs", dict.fromkeys(sources, ()))]


@pytest.mark.parametrize(
    "source",
    [
        "tfds:rain100l/test",
        "tfds:rain14000/test2800",
        "tfds:rain14000/whole",  # holds its test splits
        "tfds:rain800",
        "rain:tfds:spa/test",
        "streaks:tfds:rain100h/test on folder:mine",
        "streaks:folder:mine on tfds:rain100h/test",
        "identity:structures:tfds:rain100h/test",
    ],
)
def test_test_images_of_a_published_set_are_rejected(source):
    with pytest.raises(
        ValueError, match="config.eval_pairs.* must not choose the best"
    ):
        held_out.check_deciding([], named("folder:mine", source))


@pytest.mark.parametrize(
    "source",
    [
        "tfds:rain100l/train",
        "tfds:rain14000/train2800",
        "tfds:realrain1k/validation",
        "tfds:my_pairs/test",
        "sample/test",
        "folder:rain100l/test",
        "rain:tfds:rain100l/train",
    ],
)
def test_training_splits_and_own_photographs_are_accepted(source):
    held_out.check_deciding([], named(source))


@pytest.mark.parametrize("form", ["{}", "selection:{}", "rain:{}", "streaks:{} on {}"])
def test_spa_is_never_trained_on(tmp_path, form):
    source = "tfds:spa/train"
    if form == "selection:{}":
        source = tmp_path / "picked.txt"
        source.write_text("[tfds:spa/train]\na\tb\n")
    with pytest.raises(
        ValueError, match="config.pairs: .* includes tfds:spa/.*testing"
    ):
        held_out.check_trained_on("pairs", (form.format(source, source),))


@pytest.mark.parametrize("source", ["selection:{}", "additive:selection:{}"])
def test_a_selection_of_test_images_is_rejected(tmp_path, source):
    file = tmp_path / "test1.txt"
    file.write_text("[tfds:rain1200/train]\na\tb\n[tfds:rain800/test]\nc\td\n")
    with pytest.raises(ValueError, match="published set, tfds:rain800/test"):
        held_out.check_deciding([], named(source.format(file)))
    file.write_text("[tfds:rain1200/train]\na\tb\n")
    held_out.check_deciding([], named(source.format(file)))


@pytest.mark.parametrize(
    ("field", "trained", "shared"),
    [
        ("pairs", "folder:a", "a/clean/1.png"),
        ("clean", "folder:a", "a/clean/1.png"),  # the side that both have
        ("pairs", "rain:folder:{root}/a/clean", "a/clean/1.png"),
        ("pairs", "streaks:folder:a on folder:c", "a/clean/1.png"),
        ("pairs", "identity:structures:folder:{root}/a/clean", "a/clean/1.png"),
        ("clean", "structures:folder:{root}/a/clean", "a/clean/1.png"),
    ],
)
def test_a_photograph_also_used_for_training_is_rejected(root, field, trained, shared):
    (root / "c").mkdir()
    pictures.write(root / "c" / "0.png", pictures.noise(12, 14, 3))
    training = listings.open_listing(field, (trained.format(root=root),))
    evaluation = listings.open_listing("pairs", ("list:b.txt",))
    with pytest.raises(ValueError, match=f"1 photographs are also used.*{shared}"):
        held_out.check_deciding([training], [evaluation])


def test_a_linked_folder_is_the_same_folder(root):
    (root / "link").symlink_to(root / "a")
    evaluation = listings.open_listing("pairs", ("folder:link",))
    training = listings.open_listing("clean", ("folder:a",))
    with pytest.raises(ValueError, match=r"2 photographs .*link/clean/0\.png"):
        held_out.check_deciding([training], [evaluation])
    (root / "excluded.txt").write_text("link/clean/0.png\nlink/clean/1.png\n")
    excluded = listings.read_excluded((str(root / "excluded.txt"),))
    with pytest.raises(ValueError, match="leaves out everything"):
        listings.open_listing("clean", ("folder:a",), excluded=excluded)


def test_records_of_one_scene_must_not_be_on_both_sides(tmp_path, monkeypatch):
    monkeypatch.setenv("TTL_JAX_DATA_DIR", str(tmp_path))
    rows = [
        records.Row(f"{density}/{scene}", scene, 9, 9, [1, 1], f"{density}/{scene}")
        for density in ("heavy", "light")
        for scene in ("0", "1")
    ]
    splits = {"train": rows, "validation": rows[:1]}
    source = {"description": "", "digest": ""}  # without bases, as earlier versions
    index = records.Index("mine", ("rainy", "clean"), splits, {}, source, ())
    folder = records.folder_of(tmp_path, "mine")
    folder.mkdir(parents=True)
    records.write_index(folder, index)

    def select(*names, split="train"):
        lines = [f"mine/{split}/rainy/{n}\tmine/{split}/clean/{n}" for n in names]
        text = "\n".join([f"[tfds:mine/{split}]", *lines])
        file = tmp_path / f"{split}_{'_'.join(names).replace('/', '')}.txt"
        file.write_text(text)
        return listings.open_listing("pairs", (f"selection:{file}",))

    training = select("heavy/0")
    with pytest.raises(ValueError, match="2 photographs .*mine/train/clean/light/0"):
        held_out.check_deciding([training], [select("light/0")])
    held_out.check_deciding([training], [select("light/1")])
    # Splits count their scenes independently.
    held_out.check_deciding([training], [select("heavy/0", split="validation")])


def test_rain_rendered_on_a_held_out_set_is_rejected_as_the_set(tmp_path, monkeypatch):
    monkeypatch.setenv("TTL_JAX_DATA_DIR", str(tmp_path / "data"))

    def prepare(plan):
        preparation.prepare(plan, tmp_path / "data", overwrite=True)

    write_tree(tmp_path / "raw", "spa")
    prepare(raw_preparation.make_plan(SETS["spa"], tmp_path / "raw"))
    make_plan = rendered_preparation.make_plan
    prepare(make_plan("wet", "rain:tfds:spa/test", 1, 0))
    prepare(make_plan("wet", "rain:tfds:wet/train", 1, 0))  # on its own clean sides
    source = "tfds:wet/train"
    with pytest.raises(ValueError, match=f"'{source}' includes tfds:spa/test"):
        held_out.check_trained_on("pairs", (source,))
    evaluation = listings.open_listing("pairs", (source,))
    with pytest.raises(
        ValueError, match="test images .* tfds:spa/test.* must not choose"
    ):
        held_out.check_deciding([], [evaluation])


def test_distinct_photographs_are_accepted(root):
    training = listings.open_listing("rainy", ("folder:a",))
    evaluation = listings.open_listing("pairs", ("list:b.txt",))
    held_out.check_deciding([training], [evaluation])


def test_photographs_left_out_of_training_may_choose(root):
    (root / "excluded.txt").write_text(f"{root}/a/clean/1.png\n")
    excluded = listings.read_excluded((str(root / "excluded.txt"),))
    training = listings.open_listing("pairs", ("folder:a",), excluded=excluded)
    evaluation = listings.open_listing("pairs", ("list:b.txt",))
    held_out.check_deciding([training], [evaluation])
