"""The optimum: the closed form against sympy and against numeric minimisation; regression; late fusion."""

import numpy as np
import pytest
import sympy
from scipy.optimize import minimize_scalar

from nmm import paper
from nmm.laws import exponents, late_fusion_optimum, optimum, regression
from nmm.laws.forms.eq1 import Eq1
from nmm.laws.forms.optimum import budgets_within, encoder_line, grid_search, power_law
from nmm.laws.use import procedure
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
    for spacing in ("linear", "logarithmic"):
        assert abs(regression(*values, C, D=procedure.tokens(spacing, 2000)).a - fine.a) > 1e-3
    wide = regression(*values, C, D=np.geomspace(1e7, 1e15, 8000))
    for name in theory:
        assert getattr(wide, name) == pytest.approx(float(theory[name]), abs=1e-3), name


@pytest.mark.parametrize("row", PAPER_ROWS)
def test_the_search_finds_the_closed_form_where_its_grid_is_wide(row):
    values, C = surface(*PAPER_ROWS[row]), np.geomspace(1e18, 1e24, 7)
    found, best = grid_search(*values, C, np.geomspace(1e6, 1e16, 20_000)), optimum(*values, C)
    np.testing.assert_allclose(found.D, best.D, rtol=2e-3)
    np.testing.assert_allclose(found.N, best.N, rtol=2e-3)
    assert (found.L >= best.L).all()


def test_the_ceiling_bends_the_sparse_exponents():
    """Table 12's law: a = 0.344 and d = 1.91 with room, and what Table 2 prints with the ceiling of App. C.2."""
    row = paper.TABLE_12_EQ_1
    law = Eq1(**{key: getattr(row, key).value for key in ("E", "A", "B", "alpha", "beta")})
    table = procedure.ceiling_bias(law, np.geomspace(3e19, 1e22, 40), [3e11, 6e11, 1e13])
    theory = exponents(law.alpha, law.beta)
    assert table["a"].iloc[-1] == pytest.approx(float(theory["a"]), abs=3e-4)
    assert table["a"].is_monotonic_decreasing
    assert table["d"].is_monotonic_increasing
    with_ceiling = table.iloc[1]
    assert with_ceiling["at ceiling"] > 0
    assert with_ceiling["a"] == pytest.approx(0.356, abs=1e-3)
    assert with_ceiling["d"] == pytest.approx(1.79, abs=5e-3)
    tried = procedure.tried(next(law for law in paper.TABLE_2 if law.name == "sparse"))
    assert tried["a"].min() < 0.361 < tried["a"].max()
    assert tried["d"].min() < 1.797 < tried["d"].max()
    # one set of optima cannot give a d above b/a (Cauchy and Schwarz): the slope of D on N against that of D on C
    assert (tried["d"] <= tried["b"] / tried["a"] + 1e-12).all()


def test_late_fusion_as_printed_shifts_by_its_encoder():
    values, encoder, shift, C = surface(1.9, 0.29, 0.34), (0.18, -1.4e7), 0.483, np.array([1e21])
    found = grid_search(*values, C, np.geomspace(1e9, 1e13, 20_000), encoder, shift)
    assert C[0] == pytest.approx(6 * found.D[0] * (found.N[0] - shift * (0.18 * found.N[0] - 1.4e7)), rel=1e-12)
    fine = late_fusion_optimum(*values, C, encoder, 1 - shift)
    assert found.N[0] == pytest.approx(fine.N[0], rel=2e-3)
    line = regression(*values, np.geomspace(1e20, 1e22, 9), encoder=encoder, shift=shift)
    assert line.a + line.b == pytest.approx(1, abs=0.01)
    assert procedure.encoder()[0] == pytest.approx(0.184, abs=1e-3)


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
    with pytest.raises(ValueError, match="at every budget"):
        regression(*values, np.array([1e15, 1e16]), D=procedure.tokens("linear", 60))
    with pytest.raises(ValueError, match="spacing"):
        procedure.tokens("even", 60)
    with pytest.raises(ValueError, match="vision_share"):
        late_fusion_optimum(*values, 1e20, (0, 0), 1.5)
    with pytest.raises(ValueError, match="N_counts"):
        late_fusion_optimum(*values, 1e20, (0, 0), 0.5, "both")


def test_late_fusion_keeps_an_encoder_and_a_decoder_or_says_why_not():
    """This line once gave a decoder of -3.5e7 parameters, in silence."""
    values = (1.9, 0.5e9**0.3, 0.5 * 5e10**0.335, 0.3, 0.335)
    for C in (1e18, 1e20, 1e22):
        try:
            best = late_fusion_optimum(*values, C, (0.2, 1e8), 0.3)
        except ValueError as error:
            assert "no decoder or no encoder" in str(error) and "N_v = 0.2 N + 1e+08" in str(error)
            continue
        N_v = 0.2 * best.N + 1e8
        assert np.all(N_v > 0) and np.all(best.N - N_v > 0), (C, best)
    with pytest.raises(ValueError, match="no decoder or no encoder"):
        late_fusion_optimum(*values, 1e15, (0.2, 1e8), 0.3)


def test_budgets_within_the_runs_have_their_optimum_among_them():
    law = {"E": 0.5, "A": 30.0, "B": 200.0, "alpha": 0.4, "beta": 0.45}
    N, D = np.array([2e4, 2e5]), np.array([2e5, 2e6])
    low, high = budgets_within(**law, N=N, D=D)
    assert low < high
    for C, inside in ((low * 1.001, True), (high * 0.999, True), (low * 0.999, False), (high * 1.001, False)):
        best = optimum(**law, C=C)
        assert (N[0] <= best.N <= N[1] and D[0] <= best.D <= D[1]) == inside
    low, high = budgets_within(**law, N=N, D=D * 1e6)
    assert low > high, "the path misses these runs"
