import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory, monkeypatch):
    """The user's cache, in which checked files are recorded."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Five rainy photographs, three clean ones and four pairs."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    names = [f"rainy/{i}.png" for i in range(5)] + [f"clean/{i}.png" for i in range(3)]
    names += [f"pairs/{side}/{i}.png" for side in ("input", "target") for i in range(4)]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shape = (20, 30, 3) if "pairs" in name else (*rng.integers(10, 40, 2), 3)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(root / name)
    return root


@pytest.fixture
def fragile(tmp_path):
    """A folder of five photographs that a test may break."""
    for i in range(5):
        Image.new("RGB", (20, 20), (50 * i, 0, 0)).save(tmp_path / f"{i}.png")
    return tmp_path


@pytest.fixture
def make_config(root):
    def make(dataset, **changes):
        config = ConfigDict(
            {
                "dataset": dataset,
                **{
                    name: (f"folder:{root}/{name}",)
                    for name in ("rainy", "clean", "pairs")
                },
                **{
                    f"eval_{name}": (f"folder:{root}/{name}",)
                    for name in ("rainy", "clean", "pairs")
                },
                "seed": 3,
                "batch_size": 8,
                "crop_size": 16,
                "crop_sizes": (),
                "crop_mix": (),
                "crop_margin": 0,
                "mirror": True,
                "quarter_turns": True,
                "color_jitter": True,
                "resave_pairs": False,
                "whole_share": 0.0,
                "num_threads": 2,
                "prefetch": 3,
                **{f"{name}_weights": () for name in ("rainy", "clean", "pairs")},
                "exclude": (),
                "num_pairs": 0,
                "cache_gib": 0.0,
                "num_workers": 0,
                "eval_batch_size": 4,
                "num_eval": 0,
            }
        )
        config.update(changes)
        return config

    return make
