"""Held-out data: sets for testing only, and sets that must not choose the best step.

Sources and photographs are compared by name; `ttl_jax.prepare audit` compares pixels.
A check that fails raises a ValueError.
"""

from collections.abc import Iterable, Sequence

from ttl_jax.data.files import images
from ttl_jax.data.loading.listings import Listing
from ttl_jax.data.sets.published_sets import SETS
from ttl_jax.data.sources import source_names

# Splits of published sets, by the beginning of their names, that no scores are reported on.
_NO_TEST = ("train", "validation")
# The paper's Test-III shows how well real rain is removed by a network that has never
# seen that set, in any stage.
_NEVER_TRAINED_ON = ("spa",)


def check_trained_on(field: str, names: Iterable[str]) -> None:
    """Checks that no source of a field comes from a set that is for testing only."""
    for name in names:
        for base in source_names.parse(name).bases():
            if base.set_name in _NEVER_TRAINED_ON:
                raise ValueError(
                    f"config.{field}: {name!r} holds {base.name}, but the set "
                    f"{base.set_name} is for testing only. To train on it anyway, "
                    "and claim no transfer to it, prepare its folders as pairs with a "
                    "--name of your own."
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
                        f"{field}: {name!r} holds test images of a published set, "
                        f"{base.name}; a best step that they choose (config.best_metric) "
                        "is chosen on the test set. Name a part of a training split, or "
                        "photographs of your own."
                    )
        shared = [n for key, n in listing.file_names().items() if key in trained]
        if shared:
            raise ValueError(
                f"{field}: {len(shared)} photographs are trained on too, so they must "
                f"not choose the best step (config.best_metric): "
                f"{images.name_some(shared)}. Hold them out."
            )
