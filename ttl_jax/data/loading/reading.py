"""Batches of elements, read ahead by threads or worker processes."""

import contextlib
import dataclasses
import math
import signal
from collections.abc import Generator

import grain
from absl import flags

from ttl_jax.data.loading import datasets


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of each batch that a process gets.

    Attributes:
      batch_elements: Elements of a global batch.
      process_index: Index of the part.
      process_count: Number of parts.
    """

    batch_elements: int
    process_index: int
    process_count: int

    def take(self, elements: grain.MapDataset) -> grain.MapDataset:
        """This process's rows of each batch of elements; element i is batch i."""
        return elements.batch(
            self.batch_elements // self.process_count,
            drop_remainder=True,  # no remainder exists: Grain rounds endless lengths
            batch_fn=datasets.concatenate_rows,
        )[self.process_index :: self.process_count]


@dataclasses.dataclass(frozen=True)
class Reading:
    """Threads and processes that read batches ahead.

    Attributes:
      num_workers: Number of processes; 0 reads in this one.
      num_threads: Threads of each process.
      prefetch: Batches that each process keeps ready.
    """

    num_workers: int
    num_threads: int
    prefetch: int

    @classmethod
    def of(cls, config, num_workers: int) -> "Reading":
        prefetch = math.ceil(config.prefetch / max(num_workers, 1))
        # A thread makes a batch: more threads than batches would be idle.
        return cls(num_workers, min(config.num_threads, prefetch), prefetch)

    def read(self, batches: grain.MapDataset) -> Generator[datasets.Rows]:
        """The batches in their order, which no number here changes."""
        if self.num_workers and not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain has flags of its own for its workers
        options = grain.ReadOptions(
            num_threads=self.num_threads, prefetch_buffer_size=self.prefetch
        )
        dataset = batches.to_iter_dataset(options).mp_prefetch(
            grain.MultiprocessingOptions(self.num_workers),  # with 0 it does nothing
            _survive_first_signals,
        )
        with contextlib.closing(iter(dataset)) as iterator:  # ends the workers
            yield from iterator


def _survive_first_signals(worker_index: int, num_workers: int) -> None:
    """Keeps a worker reading while the main process, signalled with it, saves."""
    del worker_index, num_workers
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signal.signal(number, signal.SIG_DFL))
