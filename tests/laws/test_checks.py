"""Tables of runs: dropped rows are listed with their reason; the laws import neither torch nor Composer."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from nmm.laws import usable_rows


def test_dropped_rows_keep_their_reason():
    table = pd.DataFrame({"N": [1e8, "x", 1e9, np.inf, 1e9], "L": [3.0, 2.0, -1.0, 2.0, None], "name": list("abcde")})
    usable, dropped = usable_rows(table, ("N", "L"))
    assert list(usable["name"]) == ["a"]
    assert usable["N"].dtype == float
    assert dict(zip(dropped["name"], dropped["reason"])) == {
        "b": "N is missing or not a number",
        "c": "L is zero or negative",
        "d": "N is infinite",
        "e": "L is missing or not a number",
    }


def test_missing_columns_and_empty_tables():
    table = pd.DataFrame({"N": [1.0], "loss": [0.0]})
    with pytest.raises(ValueError, match="no column L: the table has N, loss"):
        usable_rows(table, ("N", "L"))
    with pytest.raises(ValueError, match="no row has usable"):
        usable_rows(table, ("N", "loss"))


def test_import_brings_no_torch():
    code = "import sys, nmm.laws; print([m for m in ('torch', 'composer', 'pandas') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
