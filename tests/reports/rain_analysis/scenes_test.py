import pytest

from tests import pictures
from ttl_jax.data.files import images
from ttl_jax.data.sources import source_names
from ttl_jax.reports import scene_names
from ttl_jax.reports.rain_analysis import rain_sets
from ttl_jax.reports.scene_names import SceneNames


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Pairs in the current folder; 0 and 2 share their background but for its JPEG."""
    monkeypatch.chdir(tmp_path)
    for i, background in enumerate((0, 1, 0, 2, 3)):
        clean = pictures.texture(background, 200, 220)
        if i == 2:
            clean = images.jpeg(clean, 80)
        for side, image in (
            ("clean", clean),
            ("rainy", pictures.add_noise(clean, 40)),
        ):
            (tmp_path / "pairs" / side).mkdir(parents=True, exist_ok=True)
            pictures.write(tmp_path / "pairs" / side / f"{i}.png", image)
    return tmp_path


def find_scenes(source, named=scene_names.NONE):
    (image_set,) = rain_sets.open_sets([source], [], num_images=9, seed=0)
    measured = rain_sets.measure_all([image_set], side=192, quality=75, embed=None)
    return rain_sets.find_scenes(image_set, measured, named).tolist()


def test_pairs_of_one_background_are_one_scene(here):
    assert find_scenes("pairs") == [0, 1, 0, 3, 4]


def test_a_file_joins_scenes_by_either_side_and_to_near_duplicates(here):
    (here / "scenes.csv").write_text(
        "scene,path,width\n"
        "a,pairs/rainy/1.png,220\n"
        "a,pairs/clean/3.png,220\n"
        "b,pairs/rainy/2.png,220\n"
        "b,pairs/rainy/4.png,220\n"
        ",pairs/rainy/0.png,220\n"
        "b,elsewhere.png,220\n"
    )
    named = scene_names.read("scenes.csv")
    assert find_scenes("pairs", named) == [0, 1, 0, 1, 0]
    assert find_scenes("folder:pairs/rainy", named)[1:4:2] == [1, 3]


def test_names_reach_the_photographs_that_rain_is_rendered_on(here):
    clean = source_names.open_photographs("folder:pairs/clean", "clean")
    named = SceneNames({photograph.name: "one" for photograph in clean})
    assert find_scenes("rain:folder:pairs/clean", named) == [0] * 5
