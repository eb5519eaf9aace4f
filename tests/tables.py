"""Markdown tables that tests read."""


def cells(text):
    """The cells of the lines of tables, heads included; a bar in a cell becomes /."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    split = [line.replace(r"\|", "/").split("|")[1:-1] for line in lines]
    return [[cell.strip() for cell in line] for line in split]


def row(text, name):
    """The cells of the first line that begins with a name."""
    return next(line for line in cells(text) if line[0] == name)
