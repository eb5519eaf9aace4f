"""Measures of restored images."""
