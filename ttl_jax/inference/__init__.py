"""Restoring images: arrays of any size, files and videos."""
