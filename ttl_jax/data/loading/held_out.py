"""Checks of held-out data: sets for testing only, and sets that may choose the best step.

Sources and photographs are compared by name; `ttl_jax.prepare audit` compares pixels.
A check that fails raises ValueError.
"""

from collections.abc import Iterable, Sequence

from ttl_jax.data.files import images
from ttl_jax.data.loading.listings import Listing
from ttl_jax.data.sets.published_sets import SETS
from ttl_jax.data.sources import source_names

# First parts of the names of splits that are not for tests.
_NO_TEST = ("train", "validation")
# Test-III of the paper measures the removal of real rain by networks that were not trained
# on this set in any stage.
_NEVER_TRAINED_ON = ("spa",)


def check_trained_on(field: str, names: Iterable[str]) -> None:
    """Checks that no source of a field comes from a set that is for testing only."""
    for name in names:
        for base in source_names.parse(name).bases():
            if base.set_name in _NEVER_TRAINED_ON:
                raise ValueError(
                    f"config.{field}: {name!r} includes {base.name}, but the set "
                    f"{base.set_name} is for testing only. To train on it anyway, without "
                    "claiming transfer to it, prepare its folders as pairs with your own "
                    "--name."
                )


def check_deciding(training: Sequence[Listing], evaluation: Sequence[Listing]) -> None:
    """Checks that evaluation sets share no photograph with training or a published test."""
    trained = {key for listing in training for key in listing.file_names()}
    for listing in evaluation:
        field = f"config.eval_{listing.field}"
        for name in listing.by_source:
            for base in source_names.parse(name).bases():
                if base.set_name in SETS and not base.split.startswith(_NO_TEST):
                    raise ValueError(
                        f"{field}: {name!r} includes test images of a published set, "
                        f"{base.name}. They must not choose the best step "
                        "(config.best_metric). Name a part of a training split, or your "
                        "own photographs."
                    )
        shared = [n for key, n in listing.file_names().items() if key in trained]
        if shared:
            raise ValueError(
                f"{field}: {len(shared)} photographs are also used for training, so they "
                f"must not choose the best step (config.best_metric): "
                f"{images.name_some(shared)}. Hold them out."
            )
