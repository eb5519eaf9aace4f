"""Photographs in, batches out: NumPy, SciPy, Pillow and Grain, and no JAX."""

_PUBLIC = ("open_pairs", "open_photographs")


def __getattr__(name: str):
    """Gives the public functions of `sources.source_names`, imported when first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ttl_jax.data.sources import source_names

    return getattr(source_names, name)
