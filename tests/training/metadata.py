"""What a saved step tells of itself, for tests that save one by hand."""


def make(**entries):
    """Metadata in the form that training writes, with these entries instead."""
    return {
        "config": {"num_steps": 1},
        "modules": {},
        "origins": {},
        "ema": False,
        "evaluation": {},
        "best": None,
    } | entries
