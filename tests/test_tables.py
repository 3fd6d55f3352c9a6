"""Numbers as chapters show them."""

import numpy as np
import pandas as pd
import pytest

from nmm.charts.tables import intervals, listed, short, span, with_interval


@pytest.mark.parametrize(
    ("value", "text"),
    [(26_368, "26.4k"), (1_000_000, "1M"), (999_950, "1M"), (999_000, "999k"), (2.28e9, "2.28B"), (1.5e12, "1.5T"), (7, "7"),
     (np.nan, "—")],
)
def test_short(value, text):
    assert short(value) == text


def test_an_unlimited_side_is_infinity_and_a_missing_value_a_dash():
    assert with_interval(0.3124, 0.2901, 0.335) == "0.312 [0.290,\u00a00.335]"
    assert with_interval(0.5, -np.inf, np.inf, digits=1) == "0.5 [\u2212∞,\u00a0∞]"
    assert with_interval(np.nan, np.nan, 1.0, digits=1) == "— [—,\u00a01.0]"
    assert with_interval(26_368, 25_000, np.inf, write=short) == "26.4k [25k,\u00a0∞]"


def test_ends_that_meet_are_no_interval():
    """A floor on its border, as on text that is too little (the chapter on real data)."""
    assert with_interval(2.6e-16, 0.0, 2.2e-9) == with_interval(0.5, 0.5, 0.5) == "not identified"
    assert with_interval(0.0, 0.0, 0.067) == "0.000 [0.000,\u00a00.067]"


def test_intervals_have_a_row_a_fit_and_a_column_a_quantity():
    table = pd.DataFrame({"value": [1.0, 2.0], "low": [0.5, 1.5], "high": [1.5, 2.5]}, index=["E", "alpha"])
    shown = intervals({"mean": table}, ("alpha", "E"), digits=1)
    assert shown.to_dict() == {"alpha": {"mean": "2.0 [1.5,\u00a02.5]"}, "E": {"mean": "1.0 [0.5,\u00a01.5]"}}


def test_names_and_numbers_are_listed_as_a_person_does():
    assert [listed(names) for names in ([], ["a"], ["a", "b"], iter("abc"))] == ["none", "a", "a and b", "a, b and c"]
    assert span([2.04, 0.96]) == "1.0 to 2.0" and span([1.01, 0.99]) == "1.0" and span(iter([3, 4]), "{:d}") == "3 to 4"
