"""Markdown tables, the same in every report."""

import pandas as pd


def table(frame: pd.DataFrame) -> str:
    """Returns a Markdown table without the index; only the first column is left-aligned.

    Args:
      frame: At least one row of texts.
    """
    escaped = frame.astype(str).replace(r"\|", r"\\|", regex=True)
    escaped.columns = [str(name).replace("|", r"\|") for name in frame.columns]
    alignment = ["left", *["right"] * (frame.shape[1] - 1)]
    return escaped.to_markdown(index=False, disable_numparse=True, colalign=alignment)
