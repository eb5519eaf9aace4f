"""Weights on disk: checkpoints, packed files, shipped weights, networks rebuilt from them."""
