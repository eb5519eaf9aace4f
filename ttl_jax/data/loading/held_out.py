"""Checks of held-out data: sets for testing only, and sets that may choose the best step.

Sources and files are compared by name, and records by scene; `ttl_jax.prepare audit`
compares pixels.
A check that fails raises ValueError.
"""

import os
from collections.abc import Iterable, Sequence

from ttl_jax import suggestions
from ttl_jax.data.loading.listings import Listing
from ttl_jax.data.sets.published_sets import SETS
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import Photograph

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
    """Checks that evaluation sets share no scene with training or a published test."""
    trained = {_scene(photo) for listing in training for photo in listing.origins()}
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
        shared = dict.fromkeys(
            photo.name for photo in listing.origins() if _scene(photo) in trained
        )
        if shared:
            raise ValueError(
                f"{field}: {len(shared)} photographs are also used for training, or other "
                "records of their scenes are, so they must not choose the best step "
                f"(config.best_metric): {suggestions.name_some(list(shared))}. Hold their "
                "scenes out."
            )


def _scene(photograph: Photograph) -> str:
    """Returns the scene of a record, or the path of a file without links.

    The scene that a file shows is unknown here.
    """
    return photograph.scene or os.path.realpath(photograph.name)
