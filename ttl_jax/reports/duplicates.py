"""Writes the report of `prepare audit`: near-duplicates as pictures, tables and names."""

import collections
import io
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pandas as pd
from PIL import Image

from ttl_jax.data.sets.audit import Audit, excluded_names
from ttl_jax.reports import report_files

REPORT, TABLE, DATA = "duplicates.md", "matches.csv", "audit.json"
EXCLUDED, PICTURES = "exclude.txt", "pictures"

MAX_GROUPS = 500  # in the Markdown report
MAX_MEMBERS = 8  # of a group in a picture
_THUMBNAIL = 200  # pixels, the longer side


def write_report(folder: str | os.PathLike[str], audit: Audit) -> str:
    """Writes `duplicates.md`, `pictures/`, `matches.csv` and `audit.json`.

    Also writes `exclude.txt` if there are test sources.

    Args:
      folder: Folder of the report; created if missing. Earlier reports are replaced.

    Returns:
      A summary of a few lines.

    Raises:
      OSError: If a file cannot be written.
    """
    shown = _order_groups(audit)[:MAX_GROUPS]
    contents = {
        f"{PICTURES}/{i}.png": _draw_group(audit, group)
        for i, group in enumerate(shown, start=1)
    }
    contents |= {
        REPORT: make_report(audit, shown),
        TABLE: _list_matches(audit).to_csv(index=False, lineterminator="\n"),
        DATA: _make_data(audit),
    }
    if audit.test_sources:
        contents[EXCLUDED] = list_exclusions(audit)
    report_files.write(folder, contents)
    _remove_earlier(pathlib.Path(folder), contents)
    return "\n".join(_summary_lines(audit))


def _remove_earlier(folder: pathlib.Path, contents: Iterable[str]) -> None:
    """Removes pictures and exclusions of an earlier report that are not in this one."""
    kept = {folder / path for path in contents}
    pictures = (p for p in folder.glob(f"{PICTURES}/*.png") if p.stem.isdecimal())
    for path in {folder / EXCLUDED, *pictures} - kept:
        path.unlink(missing_ok=True)


def list_exclusions(audit: Audit) -> str:
    """Returns the text file of names to exclude from training, one per line.

    Paths are absolute, because training may start in another folder.
    """
    names = [
        os.path.abspath(name) if os.path.exists(name) else name
        for name in excluded_names(audit)
    ]
    tests = ", ".join(audit.test_sources)
    head = f"# Photographs that show a picture of {tests}; see {REPORT}."
    return "\n".join([head, "# One name per line.", *names, ""])


def make_report(audit: Audit, groups: Sequence[Sequence[int]]) -> str:
    """Returns the Markdown report of some groups, with a picture of each."""
    parts = ["# Near-duplicates", *_summary_lines(audit)]
    if len(groups) < len(audit.groups):
        parts.append(f"Only {len(groups)} groups are shown; {DATA} lists all.")
    for i, group in enumerate(groups, start=1):
        parts += [f"## Group {i}", _describe_group(audit, group)]
        parts.append(f"![Group {i}]({PICTURES}/{i}.png)")
    return "\n\n".join(parts) + "\n"


def _order_groups(audit: Audit) -> list[Sequence[int]]:
    """Returns the groups, those with pictures of a test source first.

    The groups of each kind begin with the least certain, which have the most distant
    pictures.
    """
    largest: dict[int, int] = {}
    for match in audit.matches:
        largest[match.first] = max(largest.get(match.first, 0), match.distance)

    def order(group: Sequence[int]) -> tuple:
        is_test = any(audit.entries[i].source in audit.test_sources for i in group)
        return not is_test, -max(largest.get(i, 0) for i in group), group

    return sorted(audit.groups, key=order)


def _summary_lines(audit: Audit) -> Iterator[str]:
    for source, count in _count_sources(audit).items():
        role = ", used for tests" if source in audit.test_sources else ""
        yield f"{source}: {count} pictures{role}"
    yield (
        f"{len(audit.matches)} pairs show the same picture, in {len(audit.groups)} groups."
    )
    if audit.test_sources:
        yield (
            f"{len(excluded_names(audit))} photographs outside the test sources show one "
            f"of their pictures; {EXCLUDED} lists their names."
        )


def _count_sources(audit: Audit) -> Mapping[str, int]:
    return collections.Counter(entry.source for entry in audit.entries)


def _describe_group(audit: Audit, group: Sequence[int]) -> str:
    """Returns how similar the pictures of a group are, and their names in order."""
    matches = [match for match in audit.matches if match.first in group]
    text = (
        f"{len(group)} pictures; up to {max(m.distance for m in matches)} bits apart, "
        f"correlation from {min(m.correlation for m in matches):.3f}"
    )
    if any(match.mirrored for match in matches):
        text += ", mirrored"
    if len(group) > MAX_MEMBERS:
        text += f"; the first {MAX_MEMBERS} are shown"
    members = [audit.entries[i] for i in group[:MAX_MEMBERS]]
    lines = [f"- `{member.photograph.name}` ({member.source})" for member in members]
    return "\n".join([text, "", *lines])


def _draw_group(audit: Audit, group: Sequence[int]) -> bytes:
    """Returns the thumbnails of a group side by side, as PNG."""
    members = group[:MAX_MEMBERS]
    sheet = Image.new("RGB", (_THUMBNAIL * len(members), _THUMBNAIL), "white")
    for column, i in enumerate(members):
        image = Image.fromarray(audit.entries[i].photograph.load())
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        sheet.paste(image, (column * _THUMBNAIL, 0))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _list_matches(audit: Audit) -> pd.DataFrame:
    """Returns a table with one row per match."""
    columns = {}
    for number, side in enumerate(("first", "second"), 1):
        sides = [audit.entries[getattr(match, side)] for match in audit.matches]
        columns[f"source_{number}"] = [side.source for side in sides]
        columns[f"name_{number}"] = [side.photograph.name for side in sides]
    columns["distance"] = [match.distance for match in audit.matches]
    columns["correlation"] = [f"{match.correlation:.4f}" for match in audit.matches]
    columns["mirrored"] = [int(match.mirrored) for match in audit.matches]
    return pd.DataFrame(columns)


def _make_data(audit: Audit) -> Mapping:
    """Returns sources and groups for JSON; a member has its source and all its names."""
    groups = [[audit.entries[i] for i in group] for group in audit.groups]
    return {
        "sources": list(_count_sources(audit)),
        "test_sources": list(audit.test_sources),
        "num_matches": len(audit.matches),
        "groups": [
            [{"source": member.source, "names": member.names} for member in group]
            for group in groups
        ],
    }
