"""The optimum: the closed form against sympy and against numeric minimisation; regression; late fusion."""

import numpy as np
import pytest
import sympy
from scipy.optimize import minimize_scalar

from nmm.laws import exponents, late_fusion_optimum, optimum, regression
from nmm.laws.use.optimum import encoder_line, power_law
from tests.laws.conftest import PAPER_ROWS, loss_of, surface


def test_closed_form_is_what_sympy_derives():
    E, A, B, alpha, beta, C, N = sympy.symbols("E A B alpha beta C N", positive=True)
    D = C / (6 * N)
    slope = sympy.expand_power_base(sympy.diff(E + A * N**-alpha + B * D**-beta, N), force=True)
    # dL/dN = 0 reads alpha A N^-alpha = beta B D^-beta, whose logs are linear in ln N.
    log_N = sympy.Symbol("x", real=True)
    balance = sympy.log(alpha * A) - alpha * log_N - sympy.log(beta * B) + beta * (sympy.log(C / 6) - log_N)
    solution = sympy.exp(sympy.solve(balance, log_N)[0])
    assert sympy.simplify(sympy.expand_log(sympy.log(solution), force=True).diff(C) * C - beta / (alpha + beta)) == 0
    formula, derivative = (
        sympy.lambdify((A, B, alpha, beta, C), solution),
        sympy.lambdify((A, B, alpha, beta, C, N), slope),
    )
    for row in PAPER_ROWS.values():
        values = surface(*row)
        best = optimum(*values, 1e22)
        assert best.N == pytest.approx(formula(*values[1:], 1e22), rel=1e-12)
        scale = values[3] * values[1] * best.N ** (-values[3] - 1)
        assert abs(derivative(*values[1:], 1e22, best.N)) < 1e-9 * scale


@pytest.mark.parametrize("row", PAPER_ROWS)
def test_closed_form_is_the_numeric_minimum(row):
    values = surface(*PAPER_ROWS[row])
    for C in (1e18, 1e21, 1e25):
        best = optimum(*values, C)
        found = minimize_scalar(
            lambda x, C=C: loss_of(values, np.exp(x), C / 6 / np.exp(x)), bracket=(15, 25), tol=1e-12
        )
        assert best.L == pytest.approx(found.fun, rel=1e-12)
        assert np.log(best.N) == pytest.approx(found.x, abs=1e-5)
        assert 6 * best.N * best.D == pytest.approx(C, rel=1e-12)


def test_arrays_of_budgets_and_exponents_along_them():
    values = surface(1.9, 0.301, 0.335)
    C = np.geomspace(1e19, 1e23, 9)
    best, theory = optimum(*values, C), exponents(0.301, 0.335)
    for name, (x, y) in {"a": (C, best.N), "b": (C, best.D), "d": (best.N, best.D), "n": (best.D, best.N)}.items():
        assert power_law(x, y)[0] == pytest.approx(float(theory[name]), rel=1e-10)
    assert power_law(C, best.D / best.N)[0] == pytest.approx(float(theory["dn"]), rel=1e-8)


def test_regression_agrees_with_the_closed_form_unless_its_grid_ends():
    values, C = surface(1.9, 0.301, 0.335), np.geomspace(1e18, 1e23, 20)
    fine, theory = regression(*values, C), exponents(0.301, 0.335)
    for name in theory:
        assert getattr(fine, name) == pytest.approx(float(theory[name]), abs=1e-5), name
    paper = regression(*values, C, D=np.linspace(10e9, 600e9, 2000))
    assert abs(paper.a - fine.a) > 1e-3


def test_late_fusion_without_an_encoder_is_early_fusion():
    values, C = surface(1.9, 0.3, 0.34), np.array([1e19, 1e21])
    late = late_fusion_optimum(*values, C, encoder=(0.0, 0.0), vision_share=0.5)
    np.testing.assert_allclose(late.N, optimum(*values, C).N, rtol=1e-4)


@pytest.mark.parametrize("counts", ["total", "decoder"])
def test_late_fusion_spends_the_budget_and_is_the_minimum(counts):
    values, share, (slope, intercept) = surface(1.9, 0.3, 0.34), 0.544, (0.15, 2e7)
    best = late_fusion_optimum(*values, np.array([1e21]), (slope, intercept), share, counts)
    encoder = slope * best.N + intercept
    decoder = best.N - encoder if counts == "total" else best.N
    assert 6 * best.D * (share * encoder + decoder) == pytest.approx(1e21, rel=1e-10)

    def loss(x):
        D = np.exp(x)
        constant, per_N = (
            (-intercept * (1 - share), 1 - slope * (1 - share))
            if counts == "total"
            else (intercept * share, 1 + slope * share)
        )
        return loss_of(values, (1e21 / 6 / D - constant) / per_N, D)

    found = minimize_scalar(loss, bounds=(20, 28), method="bounded", options={"xatol": 1e-10})
    assert float(best.L[0]) == pytest.approx(found.fun, rel=1e-10)
    assert np.log(best.D[0]) == pytest.approx(found.x, abs=1e-4)


def test_encoder_line_and_bad_input():
    assert encoder_line([1e9, 2e9, 3e9], [1e8, 3e8, 5e8]) == pytest.approx((0.2, -1e8))
    values = surface(1.9, 0.3, 0.34)
    with pytest.raises(ValueError, match="C, the compute budget"):
        optimum(*values, 0)
    with pytest.raises(ValueError, match="alpha must be positive"):
        optimum(1.9, 1.0, 1.0, -0.1, 0.3, 1e20)
    with pytest.raises(ValueError, match="two different budgets"):
        regression(*values, np.array([1e20]))
    with pytest.raises(ValueError, match="vision_share"):
        late_fusion_optimum(*values, 1e20, (0, 0), 1.5)
    with pytest.raises(ValueError, match="N_counts"):
        late_fusion_optimum(*values, 1e20, (0, 0), 0.5, "both")
