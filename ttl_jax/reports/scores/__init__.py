"""Scores of methods on sets of images, as tables and files."""
