"""Whether photographs are held out: may choose which step of a run is the best."""

from collections.abc import Sequence

from ttl_jax.data import images, sources
from ttl_jax.data.listings import Listing
from ttl_jax.data.published_sets import SETS

# Splits of published sets, by how their names begin, that scores are not reported on.
_NO_TEST = ("train", "validation")


def check(training: Sequence[Listing], evaluation: Sequence[Listing]) -> None:
    """Checks that evaluation sets share no photograph with training or a published test.

    What is known by its name alone: `ttl_jax.prepare audit` compares pixels.

    Raises:
      ValueError: If they do.
    """
    for listing in evaluation:
        for source in listing.by_source:
            for base in sources.base_sources(source):
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
    kind, _, path = source.partition(":")
    name, _, split = path.partition("/")
    return kind == "tfds" and name in SETS and not split.startswith(_NO_TEST)
