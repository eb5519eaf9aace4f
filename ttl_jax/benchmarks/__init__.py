"""Measurements of speed; variants are compared within one run.

Each command of `ttl_jax.benchmark` is a module with a function `run`. Its arguments are the
flags of the command. It returns Markdown tables, and writes the results as JSON to `output`.
It raises ValueError if a value is invalid, and OSError if a file cannot be written.
"""
