"""The fields that the configs of all runs have.

For each field, the table has the default, the check, whether a pipeline shares it, and
whether it may change on resume. `configs.common` builds configs from this table, pipelines
share its fields between their stages, and `ttl_jax.training.config_check` checks values
against it. A field of a single stage has its default in the config of the stage, and its
check in the stage's file in `ttl_jax.stages`.

This module imports no JAX, so that configs start quickly.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

SCHEDULES = ("plateau", "cosine", "constant")

# Whether a field may change when a run resumes. SAFE fields do not change how an update is
# computed from its batch; num_steps is SAFE because more steps may follow.
FIXED, SAFE = "fixed", "safe"
EVALUATION = "evaluation"  # safe, unless it decides which step is the best


class Rule(NamedTuple):
    """A check of a value.

    Attributes:
      holds: Whether a value is valid.
      message: End of the error message, after "config.FIELD=VALUE".
    """

    holds: Callable[[Any], bool]
    message: str


def _is_names(value) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def _one_of(*choices: str) -> Rule:
    return Rule(lambda value: value in choices, f"; choose one of {choices}.")


POSITIVE = Rule(
    lambda value: 0 < value < math.inf, " must be greater than zero, and finite."
)
NOT_NEGATIVE = Rule(
    lambda value: 0 <= value < math.inf, " must be at least 0, and finite."
)
SHARE = Rule(lambda value: 0 <= value <= 1, " is out of range; use 0 to 1.")
# JAX takes larger seeds modulo 2**32.
SEED = Rule(lambda value: 0 <= value < 2**31, " is out of range; use 0 to 2147483647.")
FOLDER = Rule(
    lambda value: value not in (".", "..") and not set(value) & set("/\0"),
    " must be the name of one folder in --workdir, without a slash.",
)
# Above, the number of bytes would not be finite.
GIB = Rule(lambda value: 0 <= value <= 2**20, " is out of range; use 0 to 1048576.")
SOURCES = Rule(
    _is_names,
    " must be names of sources, for example folder:PATH or \"('folder:A','folder:B')\".",
)
FILES = Rule(_is_names, " must be paths of text files, for example duplicates.txt.")


class Field(NamedTuple):
    """A field of a config.

    Attributes:
      default: Value in every preset that does not change it.
      rule: Check of its value, or None.
      resume: FIXED, SAFE or EVALUATION.
      shared: Whether a pipeline's field holds for all of its stages.
    """

    default: Any
    rule: Rule | None = None
    resume: str = FIXED
    shared: bool = True


FIELDS = {
    "preset": Field("", shared=False),
    "stage": Field("", shared=False),  # file of ttl_jax/stages, or a module of your own
    # Folder in --workdir; empty: named by the stage.
    "run": Field("", FOLDER, shared=False),
    "seed": Field(0, SEED),
    # Data. ttl_jax/data/README.md lists the sources.
    "dataset": Field("", shared=False),  # couples, clean, rainy, pairs or unpaired
    "rainy": Field(("sample/train",), SOURCES),  # real rainy photographs
    "clean": Field(("sample/train",), SOURCES),  # rain-free photographs
    "pairs": Field(("sample/train",), SOURCES),  # synthetic rainy/clean pairs
    "rainy_weights": Field(()),  # shares of the sources; empty: by their size
    "clean_weights": Field(()),
    "pairs_weights": Field(()),
    "exclude": Field((), FILES),  # text files of photographs not to train on
    "num_pairs": Field(0, NOT_NEGATIVE),  # pairs to train on, drawn by the seed; 0: all
    "eval_rainy": Field(("sample/test",), SOURCES, EVALUATION),
    "eval_clean": Field(("sample/test",), SOURCES, EVALUATION),
    "eval_pairs": Field(("sample/test",), SOURCES, EVALUATION),
    "num_eval": Field(64, NOT_NEGATIVE, EVALUATION),  # elements of each set; 0: all
    "batch_size": Field(8, POSITIVE),  # images of a global batch, over all devices
    "eval_batch_size": Field(8, POSITIVE, EVALUATION),
    "crop_size": Field(64, POSITIVE),  # pixels
    "crop_sizes": Field(()),  # progressive: ((first_step, pixels), ...)
    # Size drawn for each step: ((pixels, share of the steps), ...); crop_size then holds
    # for evaluation only.
    "crop_mix": Field(()),
    "whole_share": Field(0.0, SHARE),  # share of pairs reduced whole to the crop size
    "mirror": Field(True),  # left to right
    "quarter_turns": Field(False),  # unrealistic: rain falls downwards
    "color_jitter": Field(False),  # channel order and gamma; for few photographs
    "resave_pairs": Field(False),  # half of the pairs scaled by 0.5 to 2 and compressed
    "num_threads": Field(4, NOT_NEGATIVE, SAFE),  # decoding threads of each worker
    "num_workers": Field(0, NOT_NEGATIVE, SAFE),  # decoding processes; 0: main process
    "prefetch": Field(16, NOT_NEGATIVE, SAFE),  # batches
    "cache_gib": Field(2.0, GIB, SAFE),  # decoded images, per worker
    "max_replaced": Field(0.01, NOT_NEGATIVE, SAFE),  # share of unreadable images
    # Networks: keyword arguments of ttl_jax.models, filled in from ttl_jax.presets.
    "encoder": Field({}),
    "decoder": Field({}),  # D_dr; the classifier uses its pools too
    "recon_decoder": Field({}),  # D_recon
    # Optimizer.
    "num_steps": Field(1000, POSITIVE, SAFE, shared=False),
    "learning_rate": Field(1e-3, POSITIVE, shared=False),
    "schedule": Field("cosine", _one_of(*SCHEDULES)),
    "warmup_steps": Field(50, NOT_NEGATIVE, shared=False),  # cosine
    "final_fraction": Field(
        0.01, SHARE, shared=False
    ),  # last rate / largest rate (cosine)
    "patience": Field(5, POSITIVE, shared=False),  # windows (plateau)
    # Smallest window in updates; a window is an epoch if that is longer (plateau).
    "min_window": Field(1000, POSITIVE, shared=False),
    "min_learning_rate": Field(1e-6, NOT_NEGATIVE, shared=False),  # plateau
    "clip_norm": Field(1.0, NOT_NEGATIVE),  # largest gradient norm; 0.0: no clipping
    "num_micro_batches": Field(1, POSITIVE),  # sequential parts of a batch: less memory
    "ema_decay": Field(0.999, SHARE),  # moving average of weights; 0.0: none
    # Share of the initial weights in the final ones, for a run that fine-tunes.
    "start_share": Field(0.0, SHARE, shared=False),
    "compute_dtype": Field("float32", _one_of("float32", "bfloat16")),
    # Batches with a non-finite loss or gradient that a run may skip; 0: it stops.
    "skip_bad_batches": Field(0, NOT_NEGATIVE, SAFE),
    "fsdp": Field(False, resume=SAFE),  # spread weights and optimizer over devices
    # Loop.
    "log_every": Field(50, POSITIVE, SAFE),  # steps
    "eval_every": Field(500, POSITIVE, SAFE),
    "checkpoint_every": Field(250, POSITIVE, SAFE),
    "keep_checkpoints": Field(2, POSITIVE, SAFE),
    # Metric such as pairs/psnr, or -photographs/loss if less is better: its best step is
    # kept beside the last ones. Empty: off. Fixed, since a run that resumes without it
    # would remove the best step.
    "best_metric": Field("", shared=False),
    "num_samples": Field(4, NOT_NEGATIVE, SAFE),  # images of an evaluation to show
}
