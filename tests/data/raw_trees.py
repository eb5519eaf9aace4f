"""Small folders in the layout of each set, with known rain."""

import numpy as np
from PIL import Image

# By set: the split, name and files of each example: rainy and clean, or both in one.
_TABLE = """\
rain1200
  train heavy/0 | DID-MDN-training/Rain_Heavy/train2018new/0.jpg
  train heavy/12 | DID-MDN-training/Rain_Heavy/train2018new/12.jpg
  train light/0 | DID-MDN-training/Rain_Light/train2018new/0.jpg
  train medium/0 | DID-MDN-training/Rain_Medium/train2018new/0.jpg
  test 1 | DID-MDN-test/1.jpg
rain14000
  whole 1/1 | rainy image/1_1.jpg | ground truth/1.jpg
  whole 1/14 | rainy image/1_14.jpg | ground truth/1.jpg
  whole 801/3 | rainy image/801_3.jpg | ground truth/801.jpg
  whole 901/2 | rainy image/901_2.jpg | ground truth/901.jpg
rain800
  train 1 | training/1.jpg
  train 700 | training/700.jpg
  test 1 | test_syn/1.jpg
mpid_rain_streak
  test 1 | rain/1.png | norain/1.png
  test 2 | rain/2.png | norain/2.png
spa
  train 000/000-1/000-1_0_256 | real_world/000/000-1/000-1_0_256.png | real_world_gt/000/000-1/000-1_0_256.png
  test 000 | real_test_1000/rain/000.png | real_test_1000/gt/000gt.png
outdoor_rain
  train 0001/s80_a04 | train/in/im_0001_s80_a04.png | train/gt/im_0001.png
  train 0001/s85_a06 | train/in/im_0001_s85_a06.png | train/gt/im_0001.png
  test 0601/s100_a05 | test_with_train_param_v5/in/im_0601_s100_a05.png | test_with_train_param_v5/gt/im_0601.png
# The old distribution of Rain100, as PReNet hands it on.
rain100l
  train 1 | RainTrainL/rain-1.png | RainTrainL/norain-1.png
  test 7 | Rain100L/rainy/rain-007.png | Rain100L/norain-007.png
rain100h
  train 2 | RainTrainH/rainy/rain-002.png | RainTrainH/norain-002.png
  test 7 | Rain100H/rainy/rain-007.png | Rain100H/norain/norain-007.png
# The new one, as the site has it.
rain200l
  train 1 | rain_data_train_Light/rain/norain-1x2.png | rain_data_train_Light/norain/norain-1.png
  test 1 | rain_data_test_Light/rain/X2/norain-1x2.png | rain_data_test_Light/norain/norain-1.png
rain200h
  train 9 | train/input/9.png | train/target/9.png
  test 1 | rain_data_test_Heavy/rain/norain-1.png | rain_data_test_Heavy/norain/norain-1.png
realrain1k
  train h/1 | RealRain-1k-H/train/input/1.png | RealRain-1k-H/train/target/1.png
  train l/1 | RealRain-1k-L/train/input/1.png | RealRain-1k-L/train/target/1.png
  validation l/4 | RealRain-1k-L/val/input/4.png | RealRain-1k-L/val/target/4.png
  test h/5 | RealRain-1k-H/test/input/5.png | RealRain-1k-H/test/target/5.png
"""


def _parse(table):
    trees = {}
    for line in table.splitlines():
        if not line.startswith((" ", "#")):
            trees[line] = tree = {}
        elif not line.startswith("#"):
            key, *files = line.strip().split(" | ")
            tree[tuple(key.split(" "))] = tuple(files)
    return trees


TREES = _parse(_TABLE)
RAINY_HALF = {"rain1200": "left", "rain800": "right"}


def make_pair(seed=0, height=32, width=40):
    """A smooth scene, and the same under bright streaks that run downwards."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 160, (4, 5, 3), dtype=np.uint8)
    clean = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    rainy = np.array(clean)
    for x in rng.integers(0, width, 8):
        top = rng.integers(0, height // 2)
        rainy[top : top + height // 2, x] = 230
    return rainy, np.array(clean)


def save(path, image, **options):
    """Writes an image, in folders made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def write_tree(root, name):
    """Writes the images of a set in its layout."""
    for i, files in enumerate(TREES[name].values()):
        # Pairs that share their clean file must have the same scene in it.
        seed = i if len(files) == 1 else sum(files[1].encode())
        rainy, clean = make_pair(seed)
        if len(files) == 1:
            halves = [rainy, clean] if RAINY_HALF[name] == "left" else [clean, rainy]
            save(root / files[0], np.concatenate(halves, axis=1), quality=95)
            continue
        rainy = np.roll(rainy, i, axis=1) if i else rainy
        save(root / files[0], np.maximum(rainy, clean))
        save(root / files[1], clean)
