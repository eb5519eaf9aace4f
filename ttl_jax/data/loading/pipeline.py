"""Batches for training and evaluation, from a config.

Global batch i is a pure function of (seed, i, the listing), whatever the number of
processes: process p of P gets the rows [p * B / P, (p + 1) * B / P) of it. So a run
goes on by starting at its step, on any number of hosts, without any iterator's state.

Both ways in read `dataset`, `crop_size`, `crop_sizes`, `crop_mix`, `crop_margin` where
there is one, `num_threads` and `prefetch` of the config; training `seed`, `batch_size`,
`mirror`, `quarter_turns`, `color_jitter`, `resave_pairs`, `whole_share`, `exclude`,
`cache_gib`, `num_workers`
and, as the kind of dataset needs, `rainy`, `clean` or `pairs` and their `rainy_weights`
and so on, and `num_pairs`; evaluation `eval_batch_size`, `num_eval` and `eval_rainy`,
`eval_clean` or `eval_pairs`. An evaluation crop has `crop_size` pixels.
"""

import contextlib
import dataclasses
import math
import signal
from collections.abc import Iterator, Mapping, Sequence

import grain
import numpy as np
from absl import flags, logging

from ttl_jax import suggestions
from ttl_jax.data.files.decoding import ImageError
from ttl_jax.data.files.images import MIN_SIDE
from ttl_jax.data.loading import datasets, held_out, transforms
from ttl_jax.data.loading.image_cache import ImageCache
from ttl_jax.data.loading.listings import (
    Listing,
    normalize_weights,
    open_listing,
    read_excluded,
)
from ttl_jax.data.sources import source_names

_MAX_ATTEMPTS = 10  # to find a photograph that can be read


def open_training_data(
    config, process_index: int = 0, process_count: int = 1
) -> "TrainingData":
    """Opens and checks all images that a config trains on.

    Args:
      config: See the module's docstring.
      process_index: Which share of each batch this process gets.
      process_count: Number of processes that share a batch.

    Raises:
      ValueError: If the config is at fault, before any image is read; or as
        `sources.open_photographs` and `sources.open_pairs`.
    """
    kind = _find_kind(config)
    crop_sizes = _find_crop_sizes(config)
    share = _find_share(config, "batch_size", kind, process_index, process_count)
    for field in kind.fields:
        if not config[field]:
            raise ValueError(
                f"A dataset of {config.dataset} needs config.{field}, which is empty; "
                f"set it to some of {', '.join(source_names.KNOWN)}."
            )
        held_out.check_trained_on(field, config[field])
    weights = {
        field: normalize_weights(field, config[field], config[f"{field}_weights"])
        for field in kind.fields
    }
    excluded = read_excluded(config.exclude)
    opened = {
        field: open_listing(field, config[field], weights[field], excluded)
        for field in kind.fields
    }
    if "pairs" in opened and config.num_pairs:
        opened["pairs"] = opened["pairs"].draw(config.num_pairs, config.seed)
    return TrainingData(config, kind, opened, crop_sizes, share)


def open_evaluation_data(
    config, process_index: int = 0, process_count: int = 1
) -> dict[str, "EvaluationData"]:
    """Opens and checks the evaluation sets of a config: "photographs" and "pairs".

    The kinds clean, rainy and unpaired have photographs, the kind pairs has pairs, and
    couples has both: photographs of any scenes, and the two sides of each pair. A set
    without sources is absent.

    Raises:
      ValueError: As `open_training_data`.
    """
    kind = _find_kind(config)
    _find_crop_sizes(config)
    share = _find_share(config, "eval_batch_size", kind, process_index, process_count)
    return {
        name: EvaluationData(config, kind, _pick(elements, config.num_eval), share)
        for name, elements in _open_evaluation_sets(config, kind).items()
    }


def check_held_out(config) -> None:
    """Checks that the evaluation sets may choose which step of a run is the best.

    Raises:
      ValueError: If they share photographs with training, or with the test split of a
        published set.
    """
    kind = _find_kind(config)
    excluded = read_excluded(config.exclude)
    training = [
        open_listing(field, config[field], excluded=excluded) for field in kind.fields
    ]
    held_out.check_deciding(
        training, list(_open_evaluation_listings(config, kind).values())
    )


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of each batch a process gets.

    Attributes:
      batch_elements: Elements of a global batch.
      process_index: The part.
      process_count: Number of parts.
    """

    batch_elements: int
    process_index: int
    process_count: int

    def take(self, elements: grain.MapDataset) -> grain.MapDataset:
        """This process's rows of each batch of elements; element i is batch i."""
        return elements.batch(
            self.batch_elements // self.process_count,
            drop_remainder=True,  # there is none: and Grain rounds endless lengths
            batch_fn=datasets.concatenate_rows,
        )[self.process_index :: self.process_count]


@dataclasses.dataclass(frozen=True)
class _Reading:
    """How batches are read ahead of time.

    Attributes:
      num_workers: Processes; 0: this one alone.
      num_threads: Of each of them, or of this one.
      prefetch: Batches that each of them keeps ready.
    """

    num_workers: int
    num_threads: int
    prefetch: int

    @classmethod
    def of(cls, config, num_workers: int) -> "_Reading":
        prefetch = math.ceil(config.prefetch / max(num_workers, 1))
        # A thread makes a batch: more than there are ahead would have nothing to do.
        return cls(num_workers, min(config.num_threads, prefetch), prefetch)

    def read(self, batches: grain.MapDataset) -> Iterator[datasets.Rows]:
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


class TrainingData:
    """Shuffled, augmented batches without end.

    Besides what `datasets` says they hold "replaced", float32 [B]: 1 for the rows of an
    element that stands in for one that could not be read any more, which is another
    pure function of (seed, its index). So a file that vanishes does not end a run.

    Attributes:
      epoch_steps: Updates in which as many elements are drawn as there are photographs
        (where there are two lists of them, as in the longer), at least 1. Without
        weights that is a pass over all of them; with weights some are drawn several
        times in it and others not at all.
      listing: What decides the batches, as lines; one per file is "<field> <name>
        <bytes, or embedded, or rendered>". What a run is trained on.
      faults: What could not be read since the start, one sentence each that names the
        file; what worker processes met is in the log alone.
    """

    def __init__(
        self,
        config,
        kind: datasets.Kind,
        listings: Mapping[str, Listing],
        crop_sizes: "_CropSizes",
        share: Share,
    ):
        self._kind, self._crop_sizes, self._share = kind, crop_sizes, share
        # Fields of a config take long to read, too long for each element.
        self._seed = config.seed
        self._augmentation = {
            name: config[name]
            for name in (
                "mirror",
                "quarter_turns",
                "color_jitter",
                "resave_pairs",
                "whole_share",
            )
        }
        self._reading = _Reading.of(config, config.num_workers)
        longest = max(len(listing) for listing in listings.values())
        self.epoch_steps = math.ceil(longest / share.batch_elements)
        self.listing = [
            line for listing in listings.values() for line in listing.describe()
        ]
        self.faults: dict[str, object] = {}
        # Evaluation, of a few images and rarely, has none.
        cache = ImageCache(int(config.cache_gib * 2**30))
        cached = {
            field: listing.adapt(lambda items: [cache.attach(item) for item in items])
            for field, listing in listings.items()
        }
        self._order = datasets.draw_order(cached, config.seed)

    def batches(self, start_step: int) -> Iterator[datasets.Rows]:
        """This process's rows of global batch start_step and all that follow."""
        # Before each process takes its batches, the index counts elements of all.
        elements = self._order.map_with_index(lambda *indexed: indexed).random_map(
            self._make_rows, seed=datasets.fold(self._seed, "views")
        )
        return self._reading.read(self._share.take(elements)[start_step:])

    def names(self, step: int) -> list[str]:
        """Names of the images of a global batch, of all processes, without reading.

        Those that had to be replaced are named, not what stood in for them.
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
                element = self._order[self._draw_other(index, attempt)]
            try:
                rows = self._kind.make_rows(element, size, view)
            except ImageError as error:
                faults.append(str(error))
                self._report(faults[-1])
                continue
            replaced = np.full(self._kind.rows_per_element, attempt > 0, np.float32)
            return {**rows, "replaced": replaced}
        raise ValueError(
            f"{_MAX_ATTEMPTS} photographs one after the other cannot be read any more: "
            f"{' '.join(dict.fromkeys(faults))} Restore the files and start again."
        )

    def _draw_other(self, index: int, attempt: int) -> int:
        """Which element takes the place of one that cannot be read."""
        seed = datasets.fold(self._seed, "replacements")
        return int(np.random.default_rng((seed, index, attempt)).integers(2**40))

    def _report(self, fault: str) -> None:
        """Logs each fault once."""
        mark = object()  # of the thread that comes first
        if self.faults.setdefault(fault, mark) is mark:
            logging.warning("Replaced by another photograph: %s", fault)


class EvaluationData:
    """Centre crops of a fixed set of elements; `len` is their number.

    Besides what `datasets` says its batches hold "mask", float32 [B]: 1 for rows of the
    set, 0 for rows that only fill the last batch, or the place of what could not be
    read any more.
    """

    def __init__(self, config, kind: datasets.Kind, elements: Sequence, share: Share):
        self._kind, self._elements, self._share = kind, elements, share
        self._size = config.crop_size + 2 * _find_margin(config)
        # Workers would take longer to start than the few batches take to read.
        self._reading = _Reading.of(config, num_workers=0)

    def __len__(self) -> int:
        return len(self._elements)

    def batches(self) -> Iterator[datasets.Rows]:
        """This process's rows of each batch, the same at every call."""
        size = self._share.batch_elements
        padded = math.ceil(len(self) / size) * size
        rows = grain.MapDataset.range(padded).map(self._make_rows)
        return self._reading.read(self._share.take(rows))

    def _make_rows(self, index: int) -> datasets.Rows:
        for place in range(index, index + len(self)):
            element = self._elements[place % len(self)]
            try:
                rows = self._kind.make_rows(element, self._size, transforms.CENTRE)
            except ImageError as error:
                logging.warning("Left out of the evaluation: %s", error)
                continue
            is_of_set = place == index < len(self)
            mask = np.full(self._kind.rows_per_element, is_of_set, np.float32)
            return {**rows, "mask": mask}
        raise ValueError("No image of the evaluation can be read any more.")


def _survive_first_signals(worker_index: int, num_workers: int) -> None:
    """Lets a worker read on while the main process, signalled with it, saves."""
    del worker_index, num_workers
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signal.signal(number, signal.SIG_DFL))


def _find_kind(config) -> datasets.Kind:
    if config.dataset not in datasets.KINDS:
        known = suggestions.known_and_hint(config.dataset, datasets.KINDS)
        raise ValueError(f"config.dataset={config.dataset!r}; choose from {known}")
    return datasets.KINDS[config.dataset]


@dataclasses.dataclass(frozen=True)
class _CropSizes:
    """Which crops a step trains on; their sides in pixels, with the stage's margin.

    Attributes:
      phases: Pairs of a first step and the side of the crops from then on.
      mix: Pairs of a side and the share of the steps that train on such crops; where
        there are any, `phases` does not count.
    """

    phases: tuple[tuple[int, int], ...]
    mix: tuple[tuple[int, float], ...]

    def at(self, step: int, seed: int) -> int:
        """The side of a step's crops, a pure function of the seed and the step."""
        if not self.mix:
            return [side for first_step, side in self.phases if first_step <= step][-1]
        sides, shares = zip(*self.mix)
        rng = np.random.default_rng((datasets.fold(seed, "sizes of crops"), step))
        return int(rng.choice(sides, p=np.array(shares) / sum(shares)))


def _find_crop_sizes(config) -> _CropSizes:
    phases = _find_phases(config)
    if config.crop_mix and config.crop_sizes:
        raise ValueError(
            "config.crop_mix and config.crop_sizes both give the sizes of the crops; "
            "leave one of them empty."
        )
    mix = _find_mix(config)
    sides = [side for _, side in phases] + [side for side, _ in mix]
    smallest = min(config.crop_size, *sides)
    if smallest < MIN_SIDE:
        raise ValueError(
            f"Crops of {smallest} pixels are too small; set config.crop_size, crop_sizes "
            f"and crop_mix to at least {MIN_SIDE}."
        )
    margin = 2 * _find_margin(config)
    return _CropSizes(
        tuple((first_step, side + margin) for first_step, side in phases),
        tuple((side + margin, share) for side, share in mix),
    )


def _find_mix(config) -> tuple[tuple[int, float], ...]:
    """Pairs of a size of crops and the share of the steps that train on them."""
    mix = config.crop_mix
    try:
        sides, shares = zip(*mix, strict=True) if mix else ((), ())
        are_valid = all(isinstance(side, int) for side in sides) and all(
            share > 0 for share in shares
        )
    except (TypeError, ValueError):
        are_valid = False
    if not are_valid:
        raise ValueError(
            f"config.crop_mix={mix} must be pairs of a size in pixels and a positive "
            "share of the steps, for example ((96, 0.7), (192, 0.3))."
        )
    return tuple(zip(sides, shares))


def _find_phases(config) -> tuple[tuple[int, int], ...]:
    """Pairs of the first step and the size of the crops from then on."""
    sizes = config.crop_sizes or ((0, config.crop_size),)
    try:
        first_steps, pixels = zip(*sizes, strict=True)
        if not all(isinstance(number, int) for number in first_steps + pixels):
            raise TypeError
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"config.crop_sizes={sizes} must be pairs of a first step and a size, whole "
            "numbers both, for example ((0, 64), (1000, 128))."
        ) from error
    if first_steps[0] != 0 or sorted(set(first_steps)) != list(first_steps):
        raise ValueError(
            f"config.crop_sizes={sizes} must start at step 0 and go on with later ones."
        )
    return tuple(sizes)


def _find_share(
    config, field: str, kind: datasets.Kind, process_index: int, process_count: int
) -> Share:
    if not 0 <= process_index < process_count:
        raise ValueError(
            f"process_index={process_index} is out of range for "
            f"process_count={process_count} (0-based)."
        )
    batch_size, rows = config[field], kind.rows_per_element
    if batch_size < 1 or batch_size % (rows * process_count):
        raise ValueError(
            f"config.{field}={batch_size} must be a multiple of {rows * process_count}: "
            f"{process_count} processes with {rows} rows per element of the dataset "
            f"{config.dataset!r}."
        )
    return Share(batch_size // rows, process_index, process_count)


def _open_evaluation_listings(config, kind: datasets.Kind) -> dict[str, Listing]:
    return {
        field: open_listing(field, config[f"eval_{field}"])
        for field in (*kind.fields, *(["pairs"] if config.dataset == "couples" else []))
        if config[f"eval_{field}"]
    }


def _open_evaluation_sets(config, kind: datasets.Kind) -> dict[str, Sequence]:
    opened = {
        field: list(listing)
        for field, listing in _open_evaluation_listings(config, kind).items()
    }
    if len(kind.fields) == 1:
        return {
            "pairs" if field == "pairs" else "photographs": listing
            for field, listing in opened.items()
        }
    sets = {}
    if "rainy" in opened and "clean" in opened:
        sets["photographs"] = datasets.match_couples(opened["rainy"], opened["clean"])
    if "pairs" in opened:
        pairs = opened["pairs"]
        sets["pairs"] = [datasets.Couple(pair.rainy, pair.clean) for pair in pairs]
    return sets


def _pick(elements: Sequence, num_eval: int) -> Sequence:
    """At most `num_eval` elements, evenly spaced; all of them for 0."""
    count = min(num_eval or len(elements), len(elements))
    return [elements[i * len(elements) // count] for i in range(count)]


def _find_margin(config) -> int:
    """Pixels around each crop that some stages need and cut off again."""
    return config.crop_margin if "crop_margin" in config else 0
