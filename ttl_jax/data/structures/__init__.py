"""Draws thin structures that look like rain on photographs."""
