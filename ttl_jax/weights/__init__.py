"""Weights on disk: checkpoints, packed files, what ships, networks rebuilt from them."""
