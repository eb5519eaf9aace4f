"""Comparison sheets: the results of several methods side by side."""
