"""What is held out: not trained on, and what may not choose the best step of a run.

It is known by the names of sources and photographs alone: `ttl_jax.prepare audit`
compares pixels.
"""

from collections.abc import Iterable, Sequence

from ttl_jax.data.files import images
from ttl_jax.data.loading.listings import Listing
from ttl_jax.data.sets.published_sets import SETS
from ttl_jax.data.sources import source_names

# Splits of published sets, by how their names begin, that scores are not reported on.
_NO_TEST = ("train", "validation")
# The paper's Test-III shows how well real rain is removed by a network that has never
# seen that set, in any stage.
_NEVER_TRAINED_ON = ("spa",)


def check_trained_on(field: str, names: Iterable[str]) -> None:
    """Checks that none of the sources of a field is there to test on, in all its splits.

    Args:
      field: Of the config: "rainy", "clean" or "pairs".
      names: Of the sources.

    Raises:
      ValueError: If one is, or is made from one.
    """
    for source in names:
        for base in source_names.base_sources(source):
            if (set_name := _prepared_set(base)[0]) in _NEVER_TRAINED_ON:
                raise ValueError(
                    f"config.{field}: {source!r} holds {base}, but the set {set_name} is "
                    "for testing only. To train on it all the same, and claim no "
                    "transfer to it, prepare its folders as pairs --name of your own."
                )


def check_deciding(training: Sequence[Listing], evaluation: Sequence[Listing]) -> None:
    """Checks that evaluation sets share no photograph with training or a published test.

    Raises:
      ValueError: If they do.
    """
    for listing in evaluation:
        for source in listing.by_source:
            for base in source_names.base_sources(source):
                if _is_published_test(base):
                    raise ValueError(
                        f"config.eval_{listing.field}: {source!r} holds test images of a "
                        f"published set, {base}; a best step that they choose "
                        "(config.best_metric) is chosen on the test set. Name a part of "
                        "a training split, or photographs of your own."
                    )
    trained = [listing.file_names() for listing in training]
    for listing in evaluation:
        shared = [
            name
            for key, name in listing.file_names().items()
            if any(key in names for names in trained)
        ]
        if shared:
            raise ValueError(
                f"config.eval_{listing.field}: {len(shared)} photographs are trained on "
                "too, which a best step (config.best_metric) must not be chosen on: "
                f"{images.name_some(shared)}. Hold them out."
            )


def _is_published_test(source: str) -> bool:
    set_name, split = _prepared_set(source)
    return set_name in SETS and not split.startswith(_NO_TEST)


def _prepared_set(source: str) -> tuple[str | None, str]:
    """The name of the prepared set that a source is of, None if of none; and the split."""
    kind, _, path = source.partition(":")
    name, _, split = path.partition("/")
    return (name if kind == "tfds" else None), split
