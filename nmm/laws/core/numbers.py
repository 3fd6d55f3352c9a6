"""Numbers as people write them in tables: 1.3B, 300M, 5e9, 1,300,000, 3,14."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([kKmMbBgGtT]?)")
GROUPED = {
    ",": re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?\s*[kKmMbBgGtT]?"),
    ".": re.compile(r"[+-]?\d{1,3}(\.\d{3}){2,}(,\d*)?\s*[kKmMbBgGtT]?"),
}


def parse(column: pd.Series, decimal_comma: bool = False) -> pd.Series:
    """A column as floats; what is no number becomes NaN.

    Args:
        column: numbers, or text with a suffix (K, M, B or G, T), thousands separators (comma, space, underscore), or a
            decimal comma.
        decimal_comma: read "1,300" as 1.3, as files that separate cells by semicolons mean it. Otherwise a comma is a
            thousands separator where all that have one have it before three digits, and a decimal comma elsewhere.
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float)
    text = column.astype("string").str.strip().str.replace(r"(?<=\d)[ _\u00a0\u202f'](?=\d{3})", "", regex=True)
    commas = text[text.str.contains(",", na=False)]
    thousands = not decimal_comma and len(commas) > 0 and commas.map(lambda cell: GROUPED[","].fullmatch(cell) is not None).all()

    def one(cell) -> float:
        if pd.isna(cell):
            return np.nan
        if "," in cell:
            cell = cell.replace(",", "") if thousands else cell.replace(".", "").replace(",", ".") if cell.count(",") == 1 else cell
        elif decimal_comma and GROUPED["."].fullmatch(cell):
            cell = cell.replace(".", "")
        if cell.lstrip("+-").lower() in ("inf", "infinity"):
            return float(cell)
        found = NUMBER.fullmatch(cell)
        return float(found[1]) * FACTORS[found[2].lower()] if found else np.nan

    return text.map(one).astype(float)
