"""Takes streaks of real rain off photographs, to be laid on other photographs.

    python launch/find_streaks.py --rainy folder:RAINY --output STREAKS
    python -m ttl_jax.main --config=configs/derain.py --config.start_from=shipped \\
        --config.pairs="('folder:PAIRS', 'streaks:folder:STREAKS on folder:CLEAN')"

STREAKS gets squares of the rainy photographs, as `rainy/`, and the same without the
streaks that weights find in them at full and at half size, as `clean/`; those with hardly
any are left out. They are no pairs to train on as they stand, for what the weights do not
see stays on both sides: it is the difference, laid on photographs without rain, that makes
pairs. Half the size shows the weights wide streaks that they leave at full size.
"""

import argparse
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from ttl_jax import models, weights
from ttl_jax.data import sources
from ttl_jax.inference import images, networks
from ttl_jax.stages import adapt

SIZE = 256  # pixels: one size, so that one program is compiled
MOST = 3  # squares along a side: large photographs are not to outweigh others
LEAST = 0.02  # mean opacity of streaks worth keeping
DARKEST = 0.9  # opacity behind which nothing of the scene is told

Square = np.ndarray  # uint8 [SIZE, SIZE, 3]


def make_remover(checkpoint: str) -> Callable[[Square], tuple[float, Square]]:
    """What finds the mean opacity of a square's streaks, and the square without them."""
    modules, _ = networks.load(
        weights.find_derain(checkpoint),
        ("encoder", "decoder"),
        factory=models.make_image_decoder.__name__,
        purpose="to find streaks takes a run that removes rain",
    )

    def restore(image):
        return jnp.clip(modules["decoder"](modules["encoder"](image), image), 0, 1)

    @jax.jit
    def take_off(rainy):
        opacity = adapt.find_streaks(rainy, restore)
        hidden = jnp.minimum(opacity, DARKEST)
        return opacity.mean(), (rainy - hidden) / (1 - hidden)

    def remove(square):
        opacity, clean = take_off(jnp.asarray(square[None], jnp.float32) / 255)
        return float(opacity), np.rint(np.clip(clean[0], 0, 1) * 255).astype(np.uint8)

    return remove


def cut(image: np.ndarray) -> Iterator[Square]:
    """The squares around the middle of an image, none if it is too small."""
    rows, columns = (min(MOST, side // SIZE) for side in image.shape[:2])
    top = (image.shape[0] - rows * SIZE) // 2
    left = (image.shape[1] - columns * SIZE) // 2
    for row in range(rows):
        for column in range(columns):
            y, x = top + row * SIZE, left + column * SIZE
            yield image[y : y + SIZE, x : x + SIZE]


def write_squares(arguments: argparse.Namespace, folder: pathlib.Path) -> int:
    """Writes both sides of all squares that have streaks and returns their number."""
    photographs = sources.open_photographs(arguments.rainy, "rainy")
    remove = make_remover(arguments.checkpoint)
    count = 0
    for number, photograph in enumerate(photographs):
        for rainy in cut(photograph.load()):
            opacity, clean = remove(rainy)
            if opacity < LEAST:
                continue
            stem = pathlib.PurePath(photograph.name).stem
            for side, square in (("rainy", rainy), ("clean", clean)):
                path = folder / side / f"{number:05d}_{stem}_{count:06d}.png"
                images.write_image(path, square)
            count += 1
        print(f"{photograph.name}: {count} squares so far", flush=True)
    return count


def main() -> None:
    """Reads the flags and writes the folder, completely or not at all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rainy", nargs="+", required=True, help="sources")
    parser.add_argument(
        "--checkpoint",
        default="shipped",
        help="a run that removes rain, or a packed one (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=pathlib.Path, required=True, help="a folder that is not there"
    )
    arguments = parser.parse_args()
    if arguments.output.exists():
        sys.exit(f"{arguments.output} is already there; name another or remove it.")
    partial = arguments.output.with_name(f".{arguments.output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    try:
        for side in ("rainy", "clean"):
            (partial / side).mkdir(parents=True)
        count = write_squares(arguments, partial)
    except (ValueError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        sys.exit(str(error))
    if not count:
        shutil.rmtree(partial)
        sys.exit(
            f"The weights find no streaks in {' '.join(arguments.rainy)}: the photographs "
            f"are without rain, or smaller than {SIZE} pixels."
        )
    partial.rename(arguments.output)


if __name__ == "__main__":
    main()
