"""The known name that was probably meant, for messages about an unknown one."""

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Returns the known name most like `name`, or None if none is like it."""
    return next(iter(difflib.get_close_matches(str(name), list(known), n=1)), None)


def hint(name: object, known: Iterable[str]) -> str:
    """Returns the end of a sentence: "; did you mean 'x'?", or "." if nothing is near."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else "."


def known_and_hint(name: object, known: Iterable[str]) -> str:
    """Returns all known names, separated by commas, and then `hint`."""
    known = list(known)
    return f"{', '.join(known)}{hint(name, known)}"
