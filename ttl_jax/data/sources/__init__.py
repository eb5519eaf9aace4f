"""Photographs and pairs by the name of their source."""
