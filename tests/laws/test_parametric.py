"""Eq. 1: exact recovery, the known best minimum, agreement with scipy, bad input, and honest statuses."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import huber

from nmm.laws import fit_parametric
from nmm.laws.forms.parametric import ParametricLaw
from nmm.laws.use.synthetic import EARLY, study
from tests.laws.conftest import PAPER_ROWS, grid, loss_of, surface

NAMES = ("E", "A", "B", "alpha", "beta")
SURFACES = [surface(*row) for row in PAPER_ROWS.values()] + [
    surface(E, alpha, beta, share)
    for E, alpha, beta, share in itertools.product((0.5, 2.0), (0.1, 0.3, 0.5, 0.9), (0.1, 0.3, 0.6, 1.0), (0.2, 1.0))
]


def test_recovers_sixty_surfaces_to_eight_digits():
    assert len(SURFACES) >= 60
    N, D = grid()
    worst = max(
        float(
            np.max(np.abs(np.array([getattr(fit_parametric(N, D, loss_of(v, N, D)), name) for name in NAMES]) / v - 1))
        )
        for v in SURFACES
    )
    assert worst < 1e-8, f"largest relative error over {len(SURFACES)} surfaces is {worst:.2g}"


def test_reaches_the_best_known_minimum_on_chinchilla(chinchilla):
    fit = fit_parametric(*chinchilla)
    assert fit.objective == pytest.approx(1.0182740178006e-3, rel=1e-9)
    assert fit.starts.agree == fit.starts.count
    assert list(fit.outliers) == [0]  # one digitised run lies 5 % above the law, ten times the usual distance
    assert (fit.status, len(fit.warnings)) == ("weak", 1)
    paper = fit_parametric(*chinchilla, starts="paper")
    assert paper.starts.count == 1764
    assert paper.objective == pytest.approx(fit.objective, rel=1e-12)


@pytest.mark.parametrize("loss", ["log-huber", "huber", "mse", "log-mse"])
def test_scipy_finds_nothing_lower(noisy, loss):
    _, N, D, L = noisy
    fit = fit_parametric(N, D, L, loss=loss)

    def objective(theta):
        prediction = (
            np.exp(theta[0]) + np.exp(theta[1] - theta[3] * np.log(N)) + np.exp(theta[2] - theta[4] * np.log(D))
        )
        residual = np.log(prediction) - np.log(L) if loss.startswith("log") else prediction - L
        return np.sum(huber(1e-3, residual)) if loss.endswith("huber") else np.mean(residual**2)

    assert objective(fit.theta) == pytest.approx(fit.objective, rel=1e-9)
    rng = np.random.default_rng(0)
    for _ in range(5):
        found = minimize(objective, fit.theta + rng.normal(0, 0.02, 5), method="Nelder-Mead", options={"maxiter": 4000})
        assert found.fun >= fit.objective * (1 - 1e-9)


def test_gradient_agrees_with_differences():
    N, D = grid(3, 3)
    law, values = ParametricLaw(), np.array(surface(1.9, 0.3, 0.34))
    gradient = law.gradient(values, {"N": N, "D": D})
    for j, step in enumerate(1e-6 * values):
        shift = np.eye(5)[j] * step
        numeric = (law.predict(values + shift, {"N": N, "D": D}) - law.predict(values - shift, {"N": N, "D": D})) / (
            2 * step
        )
        np.testing.assert_allclose(gradient[:, j], numeric, rtol=1e-6)


@pytest.mark.parametrize("seed", [1, 3])
def test_few_noisy_runs_reach_the_minimum_of_the_full_grid(seed):
    runs = study(EARLY, 4, 6, 0.03, seed, "t4")
    fit, full = fit_parametric(*runs), fit_parametric(*runs, starts="paper")
    assert fit.objective <= full.objective * (1 + 1e-9)


def test_order_and_units_of_the_runs_do_not_matter(noisy):
    _, N, D, L = noisy
    fit, order = fit_parametric(N, D, L), np.random.default_rng(0).permutation(len(N))
    shuffled, millions = fit_parametric(N[order], D[order], L[order]), fit_parametric(N / 1e6, D / 1e6, L)
    assert shuffled.alpha == pytest.approx(fit.alpha, rel=1e-8)
    assert millions.A * 1e6**millions.alpha == pytest.approx(fit.A, rel=1e-6)


def test_a_million_runs():
    rng = np.random.default_rng(0)
    N, D = np.exp(rng.uniform(np.log([[1e8], [1e9]]), np.log([[1e10], [1e12]]), (2, 200_000)))
    values = surface(1.9, 0.3, 0.34)
    fit = fit_parametric(N, D, loss_of(values, N, D) * np.exp(rng.normal(0, 0.01, len(N))))
    assert fit.alpha == pytest.approx(0.3, abs=0.01)
    assert fit.status == "ok"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda N, D, L: (N, D, np.where(np.arange(len(L)) == 3, np.nan, L)), "L must be positive and finite: 1 of 48"),
        (lambda N, D, L: (N, D, np.where(np.arange(len(L)) == 3, np.inf, L)), "position 3"),
        (lambda N, D, L: (N * 0, D, L), "N must be positive"),
        (lambda N, D, L: (N, -D, L), "D must be positive"),
        (lambda N, D, L: (N[:5], D, L), "equally long"),
        (lambda N, D, L: (N[:4], D[:4], L[:4]), "five distinct"),
        (lambda N, D, L: ([N[0]] * 48, [D[0]] * 48, L), "five distinct"),
        (lambda N, D, L: (N[None], D, L), "one-dimensional"),
        (lambda N, D, L: (["a"] * 48, D, L), "array of numbers"),
    ],
)
def test_bad_arrays_are_one_clear_error(noisy, change, message):
    with pytest.raises(ValueError, match=message):
        fit_parametric(*change(*noisy[1:]))


@pytest.mark.parametrize("option", [{"loss": "l2"}, {"delta": 0}, {"starts": "all"}, {"starts": [[1, 2, 3]]}])
def test_bad_options_are_one_clear_error(noisy, option):
    with pytest.raises(ValueError, match=next(iter(option))):
        fit_parametric(*noisy[1:], **option)


@pytest.mark.parametrize(
    ("runs", "named", "words"),
    [
        (lambda N, D: (np.full_like(N, 1e9), D), "alpha", "N is constant"),
        (lambda N, D: (N, np.full_like(D, 1e10)), "beta", "D is constant"),
        (lambda N, D: (N, 20 * N), "alpha", "D/N is constant"),
        (lambda N, D: (N, 1e20 / 6 / N), "alpha", "one isoFLOP budget"),
    ],
)
def test_designs_that_determine_too_little_say_so(runs, named, words):
    N, D = runs(np.geomspace(1e8, 1e10, 20), np.geomspace(1e9, 1e11, 20))
    rng = np.random.default_rng(0)
    fit = fit_parametric(N, D, loss_of(surface(1.9, 0.3, 0.34), N, D) * np.exp(rng.normal(0, 0.005, 20)))
    assert fit.status == "unidentified"
    assert named in fit.unidentified
    assert any(words in warning for warning in fit.warnings), fit.warnings


def test_a_floor_of_zero_is_named():
    N, D = grid()
    values = (1e-9, *surface(1.0, 0.1, 0.1)[1:])
    named = []
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(0, 0.01, len(N))
        fit = fit_parametric(N, D, loss_of(values, N, D) * np.exp(noise))
        named.append(fit.status != "ok" and any("E" in warning for warning in fit.warnings))
    # The check is one of three standard errors, so now and then noise passes for a floor.
    assert sum(named) >= 9, f"E = 0 was named in {sum(named)} of {len(named)} studies"


def test_small_ranges_units_and_duplicates_warn(noisy):
    _, N, D, L = noisy
    narrow = N < 1e9
    assert any("N spans" in w for w in fit_parametric(N[narrow], D[narrow], L[narrow]).warnings)
    assert any("natural units" in w for w in fit_parametric(N / 1e9, D / 1e9, L).warnings)
    doubled = fit_parametric(np.r_[N, N[:3]], np.r_[D, D[:3]], np.r_[L, L[:3]])
    assert any("3 rows repeat" in w for w in doubled.warnings)
