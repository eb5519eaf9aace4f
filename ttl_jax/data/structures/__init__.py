"""Thin structures that look like rain, drawn on photographs."""
