"""Names in error messages: "did you mean ...?", and long lists cut short."""

import difflib
from collections.abc import Iterable, Sequence


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Returns the known name most like `name`, or None if no name is like it.

    Initials count as alike: lr means learning_rate.
    """
    known, name = list(known), str(name)
    near = difflib.get_close_matches(name, known, n=1)
    near += [whole for whole in known if "_" in whole and _initials(whole) == name]
    return near[0] if near else None


def _initials(name: str) -> str:
    return "".join(word[:1] for word in name.split("_"))


def hint(name: object, known: Iterable[str]) -> str:
    """Returns the end of a sentence: "; did you mean 'x'?", or "." if none is similar."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else "."


def known_and_hint(name: object, known: Iterable[str]) -> str:
    """Returns all known names, separated by commas, and then `hint`."""
    known = list(known)
    return f"{', '.join(known)}{hint(name, known)}"


def name_some(names: Sequence[str], separator: str = ", ", *, most: int = 10) -> str:
    """Returns the first `most` names, and the number of the others, as text."""
    named = separator.join(names[:most])
    beyond = len(names) - most
    return named if beyond <= 0 else f"{named}{separator}and {beyond} more"
