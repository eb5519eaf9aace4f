"""Writes records by TensorFlow Datasets, as ArrayRecord files and without TensorFlow."""

import contextlib
import io
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import tensorflow_datasets as tfds

from ttl_jax.data.sources.records import VERSION

# A generator of one file's examples: pairs of any key, and the dict to write.
Shard = Callable[[], Iterator[tuple[int, dict]]]


class RecordBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Builder of a set whose examples are given as they are to be written, in order.

    Images are kept as the bytes they come as. TFDS does not look into them, so any
    format goes in, though TFDS's own decoding of what is neither 8 bits deep nor grey
    or RGB, or has an orientation, differs from ours.

    Note: `tfds.core.GeneratorBasedBuilder` needs TensorFlow for splits over 1 GB. This
    kind holds one file's examples in memory, and writes them in the order given.

    Args:
      name: Of the set: what `tfds.data_source` calls it.
      image_names: Of the features that are images.
      splits: The files of each split.
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
        splits: Mapping[str, Sequence[Shard]],
        data_dir: pathlib.Path,
    ):
        self.name = name  # of the instance: the class serves all sets
        self._image_names, self._splits = image_names, splits
        super().__init__(data_dir=data_dir, file_format="array_record")

    def write(self) -> pathlib.Path:
        """Writes all splits; returns their folder.

        Raises:
          OSError: If they cannot be written, as when the disk is full.
        """
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # it tells unknown sizes
                self.download_and_prepare()
        except RuntimeError as error:  # ArrayRecord's kind of OSError
            raise OSError(f"Records cannot be written: {error}") from error
        return pathlib.Path(self.data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {name: tfds.features.Image() for name in self._image_names}
        features |= {name: tfds.features.Text() for name in ("name", "scene")}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Sequence[Shard]]:
        return self._splits
