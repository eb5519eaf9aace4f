"""Opens the data of training and evaluation, from a config.

Global batch i is a pure function of (seed, i, the listing), for any number of processes:
process p of P (`process_index`, `process_count`) gets its rows [p * B / P, (p + 1) * B /
P). A run therefore resumes at any step, on any number of hosts, without iterator state.

Training and evaluation read `dataset`, `crop_size`, `crop_sizes`, `crop_mix`, `crop_margin`
(if there is one), `num_threads` and `prefetch` from the config. Training also reads `seed`,
`batch_size`, `mirror`, `quarter_turns`, `color_jitter`, `resave_pairs`, `whole_share`,
`exclude`, `cache_gib`, `num_workers` and, as needed by the kind of dataset, `rainy`, `clean`
or `pairs`, their weights such as `rainy_weights`, and `num_pairs`. Evaluation also reads
`eval_batch_size`, `num_eval` and `eval_rainy`, `eval_clean` or `eval_pairs`; its crops have
`crop_size` pixels.

Functions raise ValueError if the config is invalid, before any image is read, or as
`source_names` does. Only `exclude` and `num_pairs` are compared with the photographs
after these are opened.
"""

from collections.abc import Sequence
from typing import Any

from ttl_jax import suggestions
from ttl_jax.data.loading import datasets, held_out
from ttl_jax.data.loading.batches import EvaluationData, Share, TrainingData
from ttl_jax.data.loading.crop_sizes import find_crop_sizes
from ttl_jax.data.loading.listings import (
    Listing,
    check_limit,
    normalize_weights,
    open_listing,
    read_excluded,
)  # fmt: skip
from ttl_jax.data.sources import source_names


def open_training_data(
    config, process_index: int = 0, process_count: int = 1
) -> TrainingData:
    """Opens and checks all training images of a config."""
    kind = _find_kind(config)
    crop_sizes = find_crop_sizes(config)
    share = _find_share(config, "batch_size", kind, process_index, process_count)
    weights = {}
    for field in kind.fields:
        if not config[field]:
            raise ValueError(
                f"A dataset of {config.dataset} needs config.{field}, which is empty; "
                f"set it to some of {source_names.KNOWN}."
            )
        held_out.check_trained_on(field, config[field])
        weights[field] = normalize_weights(
            field, config[field], config[f"{field}_weights"]
        )
    if "pairs" in kind.fields:
        check_limit("pairs", config.pairs, config.num_pairs)
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
) -> dict[str, EvaluationData]:
    """Opens and checks the evaluation sets of a config: "photographs" and "pairs".

    The kinds clean, rainy and unpaired have the set "photographs", and the kind pairs has
    the set "pairs". The kind couples has both: couples of any scenes, and couples of the
    two sides of each pair. A set without sources is missing.
    """
    kind = _find_kind(config)
    find_crop_sizes(config)
    share = _find_share(config, "eval_batch_size", kind, process_index, process_count)
    listings = _open_evaluation_listings(config, kind)
    opened: dict[str, list[Any]] = {field: list(of) for field, of in listings.items()}
    sets: dict[str, list] = {}
    if len(kind.fields) == 1:
        for field, items in opened.items():
            sets["pairs" if field == "pairs" else "photographs"] = items
    else:
        if "rainy" in opened and "clean" in opened:
            couples = datasets.match_couples(opened["rainy"], opened["clean"])
            sets["photographs"] = couples
        if "pairs" in opened:
            sets["pairs"] = [datasets.Couple(*pair.sides) for pair in opened["pairs"]]
    return {
        name: EvaluationData(config, kind, _pick(elements, config.num_eval), share)
        for name, elements in sets.items()
    }


def check_held_out(config) -> None:
    """Checks that the evaluation sets may choose which step of a run is the best."""
    kind = _find_kind(config)
    excluded = read_excluded(config.exclude)
    training = [
        open_listing(field, config[field], excluded=excluded) for field in kind.fields
    ]
    evaluation = _open_evaluation_listings(config, kind)
    held_out.check_deciding(training, list(evaluation.values()))


def _find_kind(config) -> datasets.Kind:
    if config.dataset not in datasets.KINDS:
        known = suggestions.known_and_hint(config.dataset, datasets.KINDS)
        raise ValueError(f"config.dataset={config.dataset!r}; choose from {known}")
    return datasets.KINDS[config.dataset]


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
    fields = (*kind.fields, *(["pairs"] if config.dataset == "couples" else []))
    return {
        field: open_listing(field, config[f"eval_{field}"])
        for field in fields
        if config[f"eval_{field}"]
    }


def _pick(elements: Sequence, num_eval: int) -> Sequence:
    """Returns at most `num_eval` elements, evenly spaced; all of them for 0."""
    count = min(num_eval or len(elements), len(elements))
    return [elements[i * len(elements) // count] for i in range(count)]
