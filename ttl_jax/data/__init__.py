"""Photographs and batches. Uses NumPy, SciPy, Pillow and Grain, but no JAX."""

_PUBLIC = ("open_pairs", "open_photographs")


def __getattr__(name: str):
    """Returns the public functions of `sources.source_names`, imported on first use."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ttl_jax.data.sources import source_names

    return getattr(source_names, name)
