"""Metadata of a saved step, for tests that save one by hand."""


def make(**entries):
    """Returns metadata in the form that training writes, with some entries replaced."""
    return {
        "config": {"num_steps": 1},
        "modules": {},
        "origins": {},
        "ema": False,
        "evaluation": {},
        "best": None,
    } | entries
