"""Measurements of speed, side by side in one run.

Each command of `ttl_jax.benchmark` is a module with a function `run`. Its arguments are the
command's flags. It returns Markdown tables, and writes the figures as JSON to `output`. It
raises ValueError if a value is invalid, and OSError if a file cannot be written.
"""
