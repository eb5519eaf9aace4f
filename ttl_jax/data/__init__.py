"""Photographs in, batches out: NumPy, SciPy, Pillow and Grain, and no JAX."""
