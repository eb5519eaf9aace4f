"""Writes records by TensorFlow Datasets, as ArrayRecord files and without TensorFlow."""

import contextlib
import io
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import tensorflow_datasets as tfds

from ttl_jax.data.records import VERSION


class RecordBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Builder of a set whose examples are given as they are to be written.

    Images are kept as the bytes they come as. TFDS does not look into them, so any
    format goes in, though TFDS's own decoding of what is neither 8 bits deep nor grey
    or RGB, or has an orientation, differs from ours.

    Args:
      name: Of the set: what `tfds.data_source` calls it.
      image_names: Of the features that are images.
      splits: Number of examples of each split, and a function that gives them: dicts
        of name, scene and the images' bytes.
      data_dir: Folder in which to write "<name>/<version>".
    """

    VERSION = tfds.core.Version(VERSION)
    # Where TFDS looks for checksums of downloads, of which there are none. To find the
    # place by itself it would need a package that it does not require.
    code_path = None

    def __init__(
        self,
        name: str,
        image_names: Sequence[str],
        splits: Mapping[str, tuple[int, Callable[[], Iterable[dict]]]],
        data_dir: pathlib.Path,
    ):
        self.name = name  # of the instance: the class serves all sets
        self._image_names, self._splits = image_names, splits
        super().__init__(data_dir=data_dir, file_format="array_record")

    def write(self) -> pathlib.Path:
        """Writes all splits; returns their folder."""
        tfds.disable_progress_bar()  # ours counts examples of all splits
        with contextlib.redirect_stdout(io.StringIO()):
            self.download_and_prepare()
        return pathlib.Path(self.data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {name: tfds.features.Image() for name in self._image_names}
        features |= {name: tfds.features.Text() for name in ("name", "scene")}
        # Records lie in the order in which they are given: the index counts on it.
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {
            split: self._generate_examples(count, examples)
            for split, (count, examples) in self._splits.items()
        }

    def _generate_examples(self, count: int, examples: Callable) -> Iterable:
        # Beyond 1 GB, TFDS collects records in files by their key, of 128 bits, and
        # sorts each file in memory: keys all over that range share them out evenly.
        step = 2**128 // count
        for i, example in enumerate(examples()):
            yield i * step, example
