"""Repeated data: the law's derivatives, its limits, and the R* that made-up runs were given."""

import numpy as np
import pytest

from nmm.laws.forms.repetition import LIMITS, PUBLISHED_R, RepetitionLaw, effective_tokens, fit_repetition

VALUES = np.array([2.0, 40.0, 300.0, 0.35, 0.4, 9.0])  # E, A, B, alpha, beta, R


@pytest.fixture
def runs() -> dict[str, np.ndarray]:
    """A grid at laptop sizes, on all of 50,000 tokens, half and a quarter of them."""
    grid = np.meshgrid(np.geomspace(4e4, 3e5, 4), np.geomspace(3e4, 1e6, 5), 5e4 * np.array([1.0, 0.5, 0.25]), indexing="ij")
    return dict(zip("NDU", (axis.ravel() for axis in grid)))


def test_effective_tokens_have_the_limits_of_the_source():
    U = 1e6
    assert effective_tokens(5e5, U, 15.0) == 5e5, "nothing is repeated"
    assert effective_tokens(U, U, 15.0) == U
    assert effective_tokens(4 * U, U, 1e9) == pytest.approx(4 * U), "without decay a repeated token is a new one"
    assert effective_tokens(1e12, U, 15.0) == pytest.approx(16 * U), "(1 + R*) U is all there is to get"
    # Muennighoff et al. 2023 (abstract): four epochs are worth nearly as much as new data
    assert 0.9 < effective_tokens(4 * U, U, PUBLISHED_R) / (4 * U) < 1


@pytest.mark.parametrize("R", [0.3, 9.0, 2000.0])
def test_derivatives_agree_with_differences(runs, R):
    law = RepetitionLaw()
    bound = law.bind(runs)
    phi = np.linalg.solve(bound.transform, law.internal([*VALUES[:5], R]).T).T
    weights, steps = np.random.default_rng(1).normal(size=(1, bound.n)), np.eye(6) * 1e-6
    _, jacobian, parts = bound.evaluate(phi)
    change = [(bound.evaluate(phi + s)[0] - bound.evaluate(phi - s)[0])[0] / 2e-6 for s in steps]
    np.testing.assert_allclose(jacobian[0], change, atol=1e-7 * np.abs(jacobian).max())
    bend = [((bound.evaluate(phi + s)[1] - bound.evaluate(phi - s)[1])[0] * weights).sum(axis=1) / 2e-6 for s in steps]
    curvature = bound.curvature(parts, weights)[0]
    np.testing.assert_allclose(curvature, bend, atol=1e-6 * np.abs(curvature).max())


def test_it_is_eq_1_of_the_effective_tokens(runs):
    E, A, B, alpha, beta, R = VALUES
    L = E + A / runs["N"] ** alpha + B / effective_tokens(runs["D"], runs["U"], R) ** beta
    np.testing.assert_allclose(RepetitionLaw().predict(VALUES, runs), L, rtol=1e-12)


def test_recovers_what_made_the_runs(runs):
    fit = fit_repetition(**runs, L=RepetitionLaw().predict(VALUES, runs))
    np.testing.assert_allclose(list(fit.values.values()), VALUES, rtol=1e-6)
    assert fit.status == "ok"


def test_the_interval_holds_the_truth_and_excludes_no_decay(runs):
    noise = np.random.default_rng(0).normal(0, 0.005, len(runs["N"]))
    fit = fit_repetition(**runs, L=RepetitionLaw().predict(VALUES, runs) * np.exp(noise))
    low, high = fit.bootstrap(n=20).interval("R")
    assert low < 9.0 < high < 100.0, (low, high)


def test_what_the_runs_cannot_tell_is_said(runs):
    E, A, B, alpha, beta, _ = VALUES
    plain = E + A / runs["N"] ** alpha + B / runs["D"] ** beta
    fit = fit_repetition(**runs, L=plain)
    assert fit.values["R"] == pytest.approx(LIMITS[1])
    assert "repeated tokens count like new ones" in fit.warnings[-1]
    never = fit_repetition(runs["N"], runs["D"], np.full_like(runs["D"], 1e9), plain)
    assert never.unidentified == ("R",)
    assert "no run reads its data twice" in never.warnings[0]


def test_bad_input(runs):
    L = RepetitionLaw().predict(VALUES, runs)
    with pytest.raises(ValueError, match="U must be positive"):
        fit_repetition(runs["N"], runs["D"], 0 * runs["U"], L)
    with pytest.raises(ValueError, match="at least six distinct"):
        fit_repetition(*(runs[name][:5] for name in "NDU"), L[:5])
