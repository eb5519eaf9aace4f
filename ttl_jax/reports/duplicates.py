"""What an audit found, as a page with thumbnails, as tables, and as names to exclude."""

import csv
import html
import io
import json
import os
import pathlib
from collections.abc import Iterator, Sequence

from PIL import Image

from ttl_jax import atomic_files
from ttl_jax.data.sets.audit import Audit, excluded_names
from ttl_jax.reports.rain_analysis import html_pages

PAGE, TABLE, DATA, EXCLUDED = "index.html", "matches.csv", "audit.json", "exclude.txt"

MAX_GROUPS = 500  # shown on the page
MAX_MEMBERS = 8  # of a group shown
_THUMBNAIL = 200  # pixels, the longer side

_STYLE = """
figure { margin: 0; width: 200px; overflow-wrap: anywhere; font-size: 12px }
.test { color: #a00 }
"""


def write_report(folder: str | os.PathLike[str], audit: Audit) -> str:
    """Writes `index.html`, `matches.csv`, `audit.json` and, after tests, `exclude.txt`.

    Args:
      folder: Where to; made if it is not there. Earlier reports are replaced.
      audit: What was found.

    Returns:
      The findings in a few lines.
    """
    folder = pathlib.Path(folder)
    contents = {PAGE: page(audit), TABLE: _table(audit), DATA: _data(audit)}
    if audit.test_sources:
        contents[EXCLUDED] = exclusions(audit)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        with atomic_files.atomic_file(folder / name) as stream:
            stream.write(text.encode())
    return "\n".join(_summary(audit))


def exclusions(audit: Audit) -> str:
    """The text file of names to exclude from training, one per line.

    Paths are absolute: training may start in another folder.
    """
    comments = [
        f"# Shows a picture of {', '.join(audit.test_sources)}; see {PAGE}.\n",
        "# One name of a photograph per line.\n",
    ]
    names = [
        os.path.abspath(name) if os.path.exists(name) else name
        for name in excluded_names(audit)
    ]
    return "".join(comments + [f"{name}\n" for name in names])


def page(audit: Audit) -> str:
    """The groups as an HTML page that needs no other file.

    Groups that reach into a test source come first, then the least certain ones.
    """
    largest: dict[int, int] = {}
    for match in audit.matches:
        largest[match.first] = max(largest.get(match.first, 0), match.distance)

    def order(group: Sequence[int]) -> tuple:
        is_test = any(_is_test(audit, i) for i in group)
        return not is_test, -max(largest.get(i, 0) for i in group), group

    shown = sorted(audit.groups, key=order)[:MAX_GROUPS]
    summary = [f"<p>{html.escape(line)}</p>" for line in _summary(audit)]
    if len(shown) < len(audit.groups):
        summary.append(
            f"<p>Here are {len(shown)} of the groups; all are in {DATA}.</p>"
        )
    sections = (_section(audit, group) for group in shown)
    return html_pages.document("Near-duplicates", _STYLE, [*summary, *sections])


def _summary(audit: Audit) -> Iterator[str]:
    sources = dict.fromkeys(entry.source for entry in audit.entries)
    for source in sources:
        count = sum(entry.source == source for entry in audit.entries)
        role = ", tested on" if source in audit.test_sources else ""
        yield f"{source}: {count} pictures{role}"
    yield (
        f"{len(audit.matches)} couples show the same picture, in {len(audit.groups)} "
        "groups."
    )
    if audit.test_sources:
        yield (
            f"{len(excluded_names(audit))} photographs outside of the test sources show "
            f"one of their pictures; their names are in {EXCLUDED}."
        )


def _is_test(audit: Audit, index: int) -> bool:
    return audit.entries[index].source in audit.test_sources


def _section(audit: Audit, group: Sequence[int]) -> str:
    figures = [_figure(audit, i) for i in group[:MAX_MEMBERS]]
    members = set(group)
    matches = [match for match in audit.matches if match.first in members]
    text = (
        f"{len(group)} pictures; up to {max(m.distance for m in matches)} bits apart, "
        f"correlation from {min(m.correlation for m in matches):.3f}"
    )
    if any(match.mirrored for match in matches):
        text += ", mirrored"
    if len(group) > MAX_MEMBERS:
        text += f"; the first {MAX_MEMBERS} are shown"
    return f'<section><p>{text}</p><div class="row">{"".join(figures)}</div></section>'


def _figure(audit: Audit, index: int) -> str:
    entry = audit.entries[index]
    image = Image.fromarray(entry.photograph.load())
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=80)
    address = html_pages.embedded(stream.getvalue(), "image/jpeg")
    style = ' class="test"' if _is_test(audit, index) else ""
    name, source = html.escape(entry.photograph.name), html.escape(entry.source)
    return (
        f'<figure><img src="{address}" alt="{name}">'
        f"<figcaption>{name}<br><b{style}>{source}</b></figcaption></figure>"
    )


def _table(audit: Audit) -> str:
    """A row per match."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["source_1", "name_1", "source_2", "name_2", "distance", "correlation"]
        + ["mirrored"]
    )
    for match in audit.matches:
        sides = [audit.entries[i] for i in (match.first, match.second)]
        names = [text for side in sides for text in (side.source, side.photograph.name)]
        correlation = f"{match.correlation:.4f}"
        writer.writerow([*names, match.distance, correlation, int(match.mirrored)])
    return stream.getvalue()


def _data(audit: Audit) -> str:
    """Sources and groups; each member is its source and the names it goes by."""
    groups = [
        [
            {"source": audit.entries[i].source, "names": audit.entries[i].names}
            for i in group
        ]
        for group in audit.groups
    ]
    sources = dict.fromkeys(entry.source for entry in audit.entries)
    content = {
        "sources": list(sources),
        "test_sources": list(audit.test_sources),
        "num_matches": len(audit.matches),
        "groups": groups,
    }
    return json.dumps(content, indent=2) + "\n"
