"""Batches of crops for training and evaluation, read ahead by threads or processes."""

import contextlib
import math
import os
import re
import signal
from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple

import grain
import numpy as np
from absl import flags, logging

from ttl_jax import suggestions
from ttl_jax.data.files.decoding import ImageError
from ttl_jax.data.loading import crop_sizes, datasets, transforms
from ttl_jax.data.loading.image_cache import ImageCache
from ttl_jax.data.loading.listings import Listing

_MAX_ATTEMPTS = 10  # to find a photograph that can be read
_AUGMENTATIONS = (
    "mirror", "quarter_turns", "color_jitter", "resave_pairs", "whole_share"
)  # fmt: skip


class Share(NamedTuple):
    """The part of each batch that one process gets."""

    batch_elements: int
    process_index: int
    process_count: int

    def take(self, elements: grain.MapDataset) -> grain.MapDataset:
        """Returns this process's rows of each batch; item i is from batch i."""
        return elements.batch(
            self.batch_elements // self.process_count,
            drop_remainder=True,  # no remainder exists: Grain rounds endless lengths
            batch_fn=datasets.concatenate_rows,
        )[self.process_index :: self.process_count]


class TrainingData:
    """An infinite sequence of shuffled, augmented batches.

    In addition to the fields that `datasets` lists, batches have "replaced", float32 [B]: 1
    for the rows of an element that replaces an unreadable one. So a missing file does
    not end a run. The replacement, too, is a pure function of (seed, index).

    Attributes:
      epoch_steps: Updates of an epoch, at least 1. An epoch draws as many elements as
        there are photographs (in the longer of two lists). With weights, it draws some
        photographs several times and others not at all.
      counts: Number of photographs or pairs, by field of the config.
      listing: Lines that identify the training data; the line of a file is "<field>
        <name> <bytes, or embedded, or rendered>".
      faults: Messages about files that could not be read since the start. Faults in
        worker processes are only in the log.
    """

    def __init__(
        self,
        config,
        kind: datasets.Kind,
        listings: Mapping[str, Listing],
        sizes: crop_sizes.CropSizes,
        share: Share,
    ):
        self._kind, self._crop_sizes, self._share = kind, sizes, share
        # Reading the fields of a config for each element would take too long.
        self._seed = config.seed
        self._augmentation = {name: config[name] for name in _AUGMENTATIONS}
        self._ahead = config.num_workers, config.num_threads, config.prefetch
        self.counts = {field: len(listing) for field, listing in listings.items()}
        longest = max(self.counts.values())
        self.epoch_steps = math.ceil(longest / share.batch_elements)
        self.listing = [
            line for listing in listings.values() for line in listing.describe()
        ]
        self.faults: dict[str, object] = {}
        # Evaluation needs no cache: it is rare and reads few images.
        cache = ImageCache(int(config.cache_gib * 2**30))
        cached = {
            field: listing.adapt(lambda items: [cache.attach(item) for item in items])
            for field, listing in listings.items()
        }
        self._order = datasets.draw_order(cached, config.seed)

    def batches(self, start_step: int) -> Generator[datasets.Rows]:
        """Yields this process's rows of global batch start_step and of all later ones."""
        # Here the index still counts the elements of all processes.
        elements = self._order.map_with_index(lambda *indexed: indexed).random_map(
            self._make_rows, seed=datasets.fold(self._seed, "views")
        )
        return _read(self._share.take(elements)[start_step:], *self._ahead)

    def names(self, step: int) -> list[str]:
        """Returns the names of the images of a global batch, of all processes.

        Nothing is read. Replacements have the name of the unreadable image.
        """
        first = step * self._share.batch_elements
        return [
            name
            for index in range(first, first + self._share.batch_elements)
            for name in self._kind.names_of(self._order[index])
        ]

    def _make_rows(self, indexed, rng: np.random.Generator) -> datasets.Rows:
        index, element = indexed
        step = index // self._share.batch_elements
        size = self._crop_sizes.at(step, self._seed)
        view = transforms.draw_view(rng, **self._augmentation)
        faults = []
        for attempt in range(_MAX_ATTEMPTS):
            if attempt > 0:
                seed = datasets.fold(self._seed, "replacements")
                other = np.random.default_rng((seed, index, attempt)).integers(2**40)
                element = self._order[int(other)]
            try:
                rows = self._kind.make_rows(element, size, view)
            except ImageError as error:
                faults.append(str(error))
                mark = object()  # only the first thread logs a fault
                if self.faults.setdefault(faults[-1], mark) is mark:
                    logging.warning("Replaced by another photograph: %s", error)
                continue
            replaced = np.full(self._kind.rows_per_element, attempt > 0, np.float32)
            return {**rows, "replaced": replaced}
        raise ValueError(
            f"{_MAX_ATTEMPTS} photographs in succession can no longer be read: "
            f"{' '.join(dict.fromkeys(faults))} Restore the files and start again."
        )


class EvaluationData:
    """Centre crops of a fixed set of elements; `len` is their number.

    In addition to the fields that `datasets` lists, batches have "mask", float32 [B]: 1 for
    rows of the set, 0 for rows that fill the last batch or replace an unreadable image.
    """

    def __init__(self, config, kind: datasets.Kind, elements: Sequence, share: Share):
        self._kind, self._elements, self._share = kind, elements, share
        self._size = config.crop_size + 2 * config.get("crop_margin", 0)
        self._ahead = config.num_threads, config.prefetch

    def __len__(self) -> int:
        return len(self._elements)

    def batches(self) -> Generator[datasets.Rows]:
        """Yields this process's rows of each batch, the same at every call."""
        size = self._share.batch_elements
        padded = math.ceil(len(self) / size) * size
        rows = self._share.take(grain.MapDataset.range(padded).map(self._make_rows))
        # Starting workers would take longer than reading the few batches.
        return _read(rows, 0, *self._ahead)

    def _make_rows(self, index: int) -> datasets.Rows:
        faults = []
        for place in range(index, index + len(self)):
            element = self._elements[place % len(self)]
            try:
                rows = self._kind.make_rows(element, self._size, transforms.CENTRE)
            except ImageError as error:
                logging.warning("Left out of the evaluation: %s", error)
                faults.append(str(error))
                continue
            is_of_set = place == index < len(self)
            mask = np.full(self._kind.rows_per_element, is_of_set, np.float32)
            return {**rows, "mask": mask}
        raise ValueError(
            f"None of the {len(self)} images or pairs of the evaluation can be read any "
            f"longer: {suggestions.name_some(faults, ' ')} Restore the files and start again."
        )


def _read(
    batches: grain.MapDataset, num_workers: int, num_threads: int, prefetch: int
) -> Generator[datasets.Rows]:
    """Yields the batches in their order, which does not depend on the numbers below.

    Args:
      num_workers: Number of processes; 0 reads in this one.
      num_threads: Largest number of threads of each process.
      prefetch: Batches that all processes together keep ready.

    Raises:
      ChildProcessError: If a process was killed.
    """
    if num_workers:
        _prepare_workers()
    prefetch = math.ceil(prefetch / max(num_workers, 1))
    # Each thread makes one batch at a time; more threads than batches would be idle.
    options = grain.ReadOptions(
        num_threads=min(num_threads, prefetch), prefetch_buffer_size=prefetch
    )
    dataset = batches.to_iter_dataset(options).mp_prefetch(
        grain.MultiprocessingOptions(num_workers),  # with 0 it does nothing
        _start_worker,
    )
    with contextlib.closing(iter(dataset)) as iterator:  # ends the workers
        try:
            yield from iterator
        except RuntimeError as error:
            message = r"process was terminated unexpectedly with exit code (-?\d+)"
            found = re.search(message, str(error))
            if not found:
                raise
            raise ChildProcessError(
                f"A worker process that decodes images ended with exit code {found[1]}; "
                "-9 often means that the memory was full. If so, lower "
                "--config.num_workers or --config.cache_gib. The same command resumes "
                "from the last checkpoint."
            ) from error


def _prepare_workers() -> None:
    """Lets Grain read its own flags for workers, and hides a warning that it causes."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    # Grain leaves blocks of shared memory to Python's resource tracker, which frees them
    # and warns. The tracker is a process of its own.
    ignore = "ignore:resource_tracker:UserWarning"
    others = os.environ.get("PYTHONWARNINGS", "")
    if ignore not in others:
        os.environ["PYTHONWARNINGS"] = f"{others},{ignore}".lstrip(",")


def _start_worker(worker_index: int, num_workers: int) -> None:
    """Makes a worker ignore the first SIGINT and the first SIGTERM.

    The main process gets the same signal. The worker goes on reading while it saves.
    """
    del worker_index, num_workers
    # Warnings look like those of the main process.
    flags.FLAGS.mark_as_parsed()
    logging.use_absl_handler()
    logging.get_absl_handler().setFormatter(logging.PythonFormatter())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signal.signal(number, signal.SIG_DFL))
