"""Thin structures drawn on photographs that look like rain and are none."""
