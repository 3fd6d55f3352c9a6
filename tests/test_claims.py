"""The claims and the rule that judges them."""

from math import inf, nan

import pytest

from nmm.claims import CLAIMS, CONFIRMED, REFUTED, UNRESOLVED, UNTESTED, Finding, judge, verdict


def test_claims_are_numbered_and_each_is_tested_or_waits():
    assert [claim.number for claim in CLAIMS] == list(range(1, 43))
    assert all(claim.words.endswith(".") and claim.where for claim in CLAIMS)


@pytest.mark.parametrize(("low", "high", "claimed", "said"), [
    (-2, -1, (-inf, 0), CONFIRMED), (1, 2, (-inf, 0), REFUTED), (-1, 1, (-inf, 0), UNRESOLVED),
    (0.46, 0.54, (0.45, 0.55), CONFIRMED), (0.5, 0.6, (0.45, 0.55), UNRESOLVED), (0.56, 0.9, (0.45, 0.55), REFUTED),
    (0.4, 0.6, (0.45, 0.55), UNRESOLVED),       # an interval wider than the range
    (-inf, inf, (0, inf), UNRESOLVED), (nan, nan, (0, inf), UNRESOLVED), (-inf, -1, (0, inf), REFUTED), (3, 3, (0, 5), CONFIRMED),
])
def test_the_rule(low, high, claimed, said):
    assert judge(low, high, claimed) == said
    assert judge(low, high, claimed, enough=False) == UNRESOLVED


@pytest.mark.parametrize(("low", "high", "claimed", "message"), [
    (0, 1, (-inf, inf), "must leave values out"), (0, 1, (2, 1), "must leave values out"), (1, 0, (0, inf), "must not be above"),
])
def test_what_cannot_be_judged(low, high, claimed, message):
    with pytest.raises(ValueError, match=message):
        judge(low, high, claimed)


def test_a_claim_of_parts():
    def part(low, high):
        return Finding(claim=3, quantity="q", value=low, low=low, high=high, claimed=(0, inf))

    yes, no, open_ = part(1, 2), part(-2, -1), part(-1, 1)
    assert [verdict(parts) for parts in ([], [yes, yes], [yes, open_], [yes, open_, no])] == [UNTESTED, CONFIRMED, UNRESOLVED, REFUTED]
