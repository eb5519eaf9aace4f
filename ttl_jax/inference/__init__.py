"""Restoring images: the network on arrays of any size, and files in and out."""
