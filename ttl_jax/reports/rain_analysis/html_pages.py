"""What written HTML pages share: each is one file that needs no other."""

import base64
import html
from collections.abc import Iterable, Sequence


def document(title: str, style: str, body: Iterable[str]) -> str:
    """A whole page under its title.

    Args:
      title: Plain text.
      style: CSS, after what all pages share.
      body: HTML, which is joined.
    """
    text = html.escape(title)
    return "".join(
        [
            '<!DOCTYPE html><html lang="en"><meta charset="utf-8">',
            f"<title>{text}</title><style>{_STYLE}{style}</style><h1>{text}</h1>",
            *body,
            "</html>\n",
        ]
    )


def embedded(data: bytes, media_type: str) -> str:
    """A file's bytes as an address that a page can show, of type such as image/png."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts; the first cell of a row is its heading."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    body = "".join(
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_STYLE = """
body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em }
section { border-top: 1px solid #ccc; padding: .8em 0 }
.row { display: flex; flex-wrap: wrap; gap: 1em }
"""
