"""Which N: a counting that is proportional changes nothing, one that adds embeddings bends the exponent as it must."""

import numpy as np
import pytest

from nmm.laws.use.counting import which_n
from tests.laws.conftest import grid, loss_of, surface

VALUES = surface(1.9, 0.34, 0.36)


@pytest.fixture(scope="module")
def compared():
    N, D = grid(8, 8)
    N = N / 30
    D = D / 30
    L = loss_of(VALUES, N, D) * np.exp(np.random.default_rng(0).normal(0, 0.003, len(N)))
    width = (N / (12 * 12)) ** 0.5
    return which_n({"blocks": N, "twice": 2 * N, "with embeddings": N + 2 * 50_000 * width, "power": N**0.5 * 1e4}, D, L)


def test_a_factor_changes_nothing(compared):
    for name in ("alpha", "beta", "a", "a at one C"):
        assert compared.loc["twice", name] == pytest.approx(compared.loc["blocks", name], rel=2e-3)
    assert compared.loc["twice", "share"] == pytest.approx(2.0)


def test_the_reference_agrees_with_the_closed_form(compared):
    row = compared.loc["blocks"]
    assert row["a at one C"] == pytest.approx(row["a"], abs=0.01)
    assert row["a low"] < 0.36 / 0.70 < row["a high"]
    assert row["a at one C low"] < row["a"] < row["a at one C high"]


def test_a_power_of_n_divides_alpha_and_scales_a_at_one_compute(compared):
    """N' = N^(1/2): alpha' = 2 alpha, and at the same compute N'* ~ C^(a/2)."""
    first, power = compared.loc["blocks"], compared.loc["power"]
    assert power["alpha"] == pytest.approx(2 * first["alpha"], rel=1e-3)
    assert power["a at one C"] == pytest.approx(first["a at one C"] / 2, abs=0.01)
    assert power["a"] == pytest.approx(power["beta"] / (power["alpha"] + power["beta"]), rel=1e-6)


def test_embeddings_lower_the_exponent_at_one_compute(compared):
    assert compared.loc["with embeddings", "a at one C"] < compared.loc["blocks", "a at one C"] - 0.05
    assert compared.loc["with embeddings", "alpha"] > compared.loc["blocks", "alpha"]


def test_one_counting_is_no_comparison():
    N, D = grid()
    with pytest.raises(ValueError, match="at least two ways"):
        which_n({"all": N}, D, loss_of(VALUES, N, D))
