"""Markdown tables and cells for all reports."""

from collections.abc import Mapping
from typing import Any

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


def with_interval(summary: Mapping[str, Any], form: str = "+.2f") -> str:
    """Returns a mean with its interval, such as "+4.21 [+4.02, +4.40]".

    Args:
      summary: "mean", "low" and "high"; if there is no interval, both limits are None.
      form: Format of the numbers.
    """
    mean, low, high = (summary[key] for key in ("mean", "low", "high"))
    limits = "" if low is None else f" [{low:{form}}, {high:{form}}]"
    return f"{mean:{form}}{limits}"
