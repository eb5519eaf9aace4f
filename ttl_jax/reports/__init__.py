"""Scores, tables and picture sheets of what was restored."""
