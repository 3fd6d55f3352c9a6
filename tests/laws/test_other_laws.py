"""The other laws: each recovers the surface it was given, and says what its runs cannot tell."""

import numpy as np
import pytest

from nmm.laws.forms.compression import compression_score, fit_compression
from nmm.laws.forms.mixed_modal import FractionLaw, PairLaw, fit_fraction, fit_pair, optimal_fraction
from nmm.laws.forms.mixture_law import MixtureLaw, power_mean
from nmm.laws.forms.mixtures import fit_mixture, leave_one_mixture_out, optimal_mixture
from nmm.laws.forms.power import PowerLaw, compare_positions, fit_power
from nmm.laws.forms.sparse import SparseLaw, fit_sparse
from tests.laws.conftest import grid, loss_of, surface

SPARSE = {
    "E": 1.2,
    "A": 255.0,
    "B": 1900.0,
    "C": 0.7,
    "d": 500.0,
    "alpha": 0.3,
    "beta": 0.335,
    "gamma": 0.4,
    "lambda": 0.5,
    "delta": 0.3,
}


def sparse_runs(levels):
    N, D = grid(5, 6)
    S = np.repeat(levels, len(N))
    N, D = np.tile(N, len(levels)), np.tile(D, len(levels))
    return N, D, S, SparseLaw().predict(np.array(list(SPARSE.values())), {"N": N, "D": D, "S": S})


def mixture_runs(kind, seed=0):
    rng = np.random.default_rng(seed)
    N, D = grid(3, 3)
    h = np.repeat(rng.dirichlet([3, 3, 3], 8), len(N), axis=0)
    N, D = np.tile(N, 8), np.tile(D, 8)
    law = MixtureLaw(kind, ("1", "2", "3"))
    _, A, B, alpha, beta = surface(1, 0.3, 0.34)
    head = [1.0, 1.5, 1.2, 0.8, 0.3, -0.2, 0.15, alpha, beta]
    tail = (
        [A, B]
        if kind == "additive"
        else [0.7, 0.5, *(A ** (1 / 0.7) * np.array([1.2, 0.9, 1.1])), *(B**2 * np.array([0.8, 1.3, 1.1]))]
    )
    return law, np.array(head + tail), N, D, h


@pytest.mark.parametrize("kind", ["additive", "joint"])
def test_derivatives_of_the_mixture_laws(kind):
    law, values, N, D, h = mixture_runs(kind)
    bound = law.bind({"N": N, "D": D, "h": h})
    phi = np.linalg.solve(bound.transform, law.internal(values).T).T
    weights, steps = np.random.default_rng(1).normal(size=(1, len(N))), np.eye(len(values)) * 1e-6
    _, jacobian, parts = bound.evaluate(phi)
    change = [(bound.evaluate(phi + s)[0] - bound.evaluate(phi - s)[0])[0] / 2e-6 for s in steps]
    np.testing.assert_allclose(jacobian[0], change, atol=1e-6 * np.abs(jacobian).max())
    bend = [((bound.evaluate(phi + s)[1] - bound.evaluate(phi - s)[1])[0] * weights).sum(axis=1) / 2e-6 for s in steps]
    curvature = bound.curvature(parts, weights)[0]
    np.testing.assert_allclose(curvature, bend, atol=1e-6 * np.abs(curvature).max())


@pytest.mark.parametrize(
    ("law", "values", "columns"),
    [
        (SparseLaw(), list(SPARSE.values()), {"S": np.array([0.0, 0.5, 0.9])}),
        (PowerLaw(), [30.0, -0.05], {"C": np.array([1e19, 1e20, 1e21])}),
        (PairLaw(), [0.1, 60.0, 300.0, 0.3, 0.34], {"alone": np.array([2.5, 2.6, 2.7])}),
        (
            MixtureLaw("joint", ("1", "2")),
            [1.0, 1.5, 1.2, 0.3, -0.2, 0.3, 0.34, 0.7, -0.5, 5e3, 4e3, 1e-8, 2e-8],
            {"h": np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])},
        ),
        (FractionLaw(), [0.2, -0.3, 0.5, 2.5, -0.6, 1.5, 0.09, 0.02], {"rho": np.array([0.0, 0.3, 0.8])}),
    ],
)
def test_gradients_agree_with_differences(law, values, columns):
    columns = {"N": np.array([1e8, 1e9, 3e9]), "D": np.array([1e10, 3e10, 1e11]), **columns}
    values = np.array(values)
    for j, step in enumerate(1e-6 * np.abs(values)):
        shift = np.eye(len(values))[j] * step
        numeric = (law.predict(values + shift, columns) - law.predict(values - shift, columns)) / (2 * step)
        np.testing.assert_allclose(law.gradient(values, columns)[:, j], numeric, rtol=1e-5, atol=1e-12)


def test_sparse_recovers_and_names_what_one_sparsity_hides():
    N, D, S, L = sparse_runs([0.0, 0.5, 0.75, 0.875, 0.94])
    fit = fit_sparse(N, D, S, L)
    np.testing.assert_allclose(list(fit.values.values()), list(SPARSE.values()), rtol=1e-6)
    single = S == 0.875
    fit = fit_sparse(
        N[single], D[single], S[single], L[single] * np.exp(np.random.default_rng(0).normal(0, 0.005, single.sum()))
    )
    assert fit.status == "unidentified"
    assert {"lambda", "delta", "C", "E"} <= set(fit.unidentified)
    two = (S == 0.875) | (S == 0.5)
    assert "lambda" in fit_sparse(N[two], D[two], S[two], L[two]).unidentified
    with pytest.raises(ValueError, match="S, the sparsity"):
        fit_sparse(N, D, S + 0.5, L)
    with pytest.raises(ValueError, match="ten distinct"):
        fit_sparse(N[:8], D[:8], S[:8], L[:8])


def test_mixture_laws_recover_predict_and_choose():
    law, values, N, D, h = mixture_runs("additive")
    L = law.predict(values, {"N": N, "D": D, "h": h})
    fit = fit_mixture(N, D, h, L, domains=("caption", "interleaved", "text"))
    np.testing.assert_allclose(list(fit.values.values()), values, rtol=1e-6)
    assert leave_one_mixture_out(fit)["error [%]"].max() < 1e-4
    inside = optimal_mixture([fit], [1.0], 1e9, 1e11, n=2)
    assert np.all((inside.h >= h.min(axis=0) - 1e-6) & (inside.h <= h.max(axis=0) + 1e-6)), "within the weights that were tried"
    assert inside.loss <= fit.predict(1e9, 1e11, h).min() + 1e-6
    best = optimal_mixture([fit], [1.0], 1e9, 1e11, anywhere=True, n=2)
    trial = np.random.default_rng(0).dirichlet([1, 1, 1], 2000)
    assert best.h.sum() == pytest.approx(1)
    assert best.loss <= fit.predict(1e9, 1e11, np.clip(trial, 1e-6, None)).min() + 1e-6
    outside = np.flatnonzero((best.h < h.min(axis=0) - 1e-3) | (best.h > h.max(axis=0) + 1e-3))
    assert [sum(domain in words and "never tried" in words for words in best.warnings) for domain in fit.law.domains] == [
        int(i in outside) for i in range(3)
    ], (best, h.min(axis=0), h.max(axis=0))
    assert any(words.startswith("N = 1e+12") for words in optimal_mixture([fit], [1.0], 1e12, 1e11, n=2).warnings)
    joint_law, joint_values, *_ = mixture_runs("joint")
    L = joint_law.predict(joint_values, {"N": N, "D": D, "h": h})
    fit = fit_mixture(N, D, h, L, kind="joint")
    assert np.max(np.abs(fit.residuals)) < 1e-4, "the joint law must describe runs made with it"
    assert np.max(np.abs(fit_mixture(N, D, h, L).residuals)) > 1e-3, "the additive law must not"


@pytest.mark.parametrize("seed", [0, 3, 4])
def test_the_joint_law_comes_back(seed):
    """Sets without noise, of exponents of either sign and size, on which gamma and C_i as coordinates stopped at residuals of 1e-5."""
    rng, (N, D) = np.random.default_rng(seed), grid(3, 3)
    h = np.repeat(rng.dirichlet([2, 2, 2], 12), len(N), axis=0)
    N, D = np.tile(N, 12), np.tile(D, 12)
    alpha, beta = rng.uniform(0.2, 0.45, 2)
    power = rng.choice([-1, 1], 2) * rng.uniform(0.3, 1.5, 2)
    levels = [(0.5 * size**slope) ** (1 / gamma) * rng.uniform(0.6, 1.6, 3)
              for size, slope, gamma in zip((1e9, 5e10), (alpha, beta), power)]
    values = [rng.uniform(0.8, 1.6), *rng.uniform(0.5, 2, 3), *rng.uniform(-0.4, 0.6, 3), alpha, beta, *power, *levels[0], *levels[1]]
    L = MixtureLaw("joint", ("1", "2", "3")).predict(np.array(values), {"N": N, "D": D, "h": h})
    fit = fit_mixture(N, D, h, L, kind="joint")
    np.testing.assert_allclose(list(fit.values.values()), values, rtol=1e-6)


def test_a_power_mean_is_smooth_through_zero():
    """Its derivatives by q on both sides of where the series takes over, and at q = 0, the geometric mean."""
    u, log_h = np.log([[0.7, 1.4, 2.0]]), np.log([[0.2, 0.5], [0.5, 0.25], [0.3, 0.25]])
    at = lambda q: power_mean(np.array([q]), u, log_h)  # noqa: E731
    np.testing.assert_allclose(at(0.0).value, u @ np.exp(log_h), rtol=1e-14)
    for q in (0.0, 0.9e-3, 1.1e-3, -0.9e-3, 0.3, -2.0):
        steps = [at(q + step) for step in (1e-4, -1e-4)]
        np.testing.assert_allclose(at(q).by_q, (steps[0].value - steps[1].value) / 2e-4, rtol=1e-6)
        np.testing.assert_allclose(at(q).by_q_twice, (steps[0].by_q - steps[1].by_q) / 2e-4, rtol=1e-3)
        np.testing.assert_allclose(at(q).by_q_and_levels, (steps[0].shares - steps[1].shares) / 2e-4, rtol=1e-6)


def test_a_best_mixture_has_an_interval():
    law, values, N, D, h = mixture_runs("additive")
    truth = law.predict(values, {"N": N, "D": D, "h": h})
    exact = optimal_mixture([fit_mixture(N, D, h, truth)], [1.0], 1e9, 1e11, anywhere=True, n=2)
    fit = fit_mixture(N, D, h, truth * np.exp(np.random.default_rng(3).normal(0, 1e-3, len(N))))
    found = optimal_mixture([fit], [1.0], 1e9, 1e11, anywhere=True, n=30)
    assert np.all((found.low <= found.h + 1e-9) & (found.h <= found.high + 1e-9)), found
    assert np.sum((found.low - 0.02 <= exact.h) & (exact.h <= found.high + 0.02)) == 3, (found, exact.h)


def test_nearly_constant_tokens_do_not_hold_their_exponent():
    """As in tables of routed models that were all trained on about as many tokens."""
    N, D, S, _ = sparse_runs([0.0, 0.5, 0.75, 0.875])
    D = 1.3e11 * np.exp(np.random.default_rng(0).uniform(-0.004, 0.004, len(N)))
    L = SparseLaw().predict(np.array(list(SPARSE.values())), {"N": N, "D": D, "S": S})
    N = N * np.exp(np.random.default_rng(1).uniform(-0.3, 0.3, len(N)))
    fit = fit_sparse(N, D, S, L * np.exp(np.random.default_rng(2).normal(0, 0.003, len(N))))
    assert fit.status == "unidentified" and {"B", "beta", "E"} <= set(fit.unidentified), fit.warnings


def test_mixtures_bad_input():
    law, values, N, D, h = mixture_runs("additive")
    L = law.predict(values, {"N": N, "D": D, "h": h})
    few = np.isin(np.arange(len(N)) // 9, [0, 1, 2])
    assert fit_mixture(N[few], D[few], h[few], L[few]).status == "unidentified"
    for change, message in (
        ({"h": h * 2}, "sum to 1"),
        ({"h": h[:, :1]}, "k >= 2"),
        ({"kind": "both"}, "kind"),
        ({"h": h[:1].repeat(len(h), 0)}, "one mixture"),
        ({"domains": ("a",)}, "domains"),
        ({"N": np.full(len(N), 1e9), "D": np.full(len(N), 1e10)}, "a mixture law is over N, D and the weights"),
    ):
        with pytest.raises(ValueError, match=message):
            fit_mixture(**({"N": N, "D": D, "h": h, "L": L} | change))
    fit = fit_mixture(N, D, h, L)
    with pytest.raises(ValueError, match="targets"):
        optimal_mixture([fit], [0.0], 1e9, 1e11)


def test_pairs_interact_and_have_a_barrier():
    N, D = grid()
    alone = loss_of(surface(2.0, 0.3, 0.3), N, D / 2), loss_of(surface(1.5, 0.35, 0.3), N, D / 2)
    together = np.mean(alone, axis=0) - 0.15 + 60 / N**0.3 + 300 / D**0.34
    fit = fit_pair(N, D / 2, D / 2, together, *alone)
    np.testing.assert_allclose(list(fit.values.values()), [0.15, 60, 300, 0.3, 0.34], rtol=1e-6)
    assert fit.interaction(1e9, fit.barrier(1e9)) == pytest.approx(0, abs=1e-9)
    assert fit.barrier(1e8) == np.inf
    with pytest.raises(ValueError, match="five distinct"):
        fit_pair(N[:3], D[:3], D[:3], together[:3], *(a[:3] for a in alone))


def test_fraction_law_and_best_share():
    N, rho = (v.ravel() for v in np.meshgrid([125e6, 350e6, 760e6, 1.3e9, 6.7e9], [0, 0.1, 0.2, 0.3, 0.5, 0.8]))
    values = np.array([0.2, -0.3, 0.5, 2.5, -0.6, 1.5, 0.09, 0.02])
    fit = fit_fraction(N, rho, FractionLaw().predict(values, {"N": N, "rho": rho}))
    np.testing.assert_allclose(list(fit.values.values()), values, rtol=1e-6)
    assert fit.exponent_at(0.5) == pytest.approx(0.1)
    best = optimal_fraction(lambda N, r: 2 - r + r**2 + 0 * N, lambda N, r: 2 - r + r**2 + 0 * N, [1e9])
    assert best == pytest.approx([0.5])
    with pytest.raises(ValueError, match="three shares"):
        fit_fraction(N[rho < 0.2], rho[rho < 0.2], np.ones((rho < 0.2).sum()))
    with pytest.raises(ValueError, match="rho"):
        fit_fraction(N, rho + 1, N)


def test_compression_recovers():
    rng = np.random.default_rng(0)
    T, P = np.exp(rng.uniform(20, 26, (40, 2))), np.exp(rng.uniform(18, 22, 40))
    score = compression_score(T, [4.0, 600.0], P)
    fit = fit_compression(T, [4.0, 600.0], P, 2.5 - 0.03 * score)
    assert fit.values == pytest.approx({"k0": 2.5, "k1": 0.03})
    with pytest.raises(ValueError, match="absent modality"):
        compression_score(T * [1, 0], [4.0, 600.0], P)
    with pytest.raises(ValueError, match="must be"):
        compression_score(T, [4.0], P)


@pytest.mark.parametrize("budgets", [4, 5, 12])
def test_positions_cover_with_few_budgets(budgets):
    C, held = np.geomspace(1e19, 1e22, budgets), []
    for seed in range(100):
        noise = np.random.default_rng(seed).normal(0, 0.005, (2, budgets))
        row = compare_positions(C, {"late": 30 * C**-0.05 * np.exp(noise[0])}, {"late": 30 * C**-0.052 * np.exp(noise[1])}).loc["late"]
        held.append(row["c_low"] <= -0.002 <= row["c_high"])
    assert 0.88 <= np.mean(held) <= 0.99, f"{budgets} budgets: {np.mean(held):.2f} of 100 intervals of 95 % hold the truth"


def test_positions_share_their_noise():
    C, rng = np.geomspace(1e19, 1e22, 12), np.random.default_rng(0)
    noise = np.exp(rng.normal(0, 0.01, 12))
    table = compare_positions(C, {"0-2k": 30 * C**-0.05 * noise}, {"0-2k": 31 * C**-0.0495 * noise})
    row = table.loc["0-2k"]
    assert row["c_difference"] == pytest.approx(0.0005, abs=1e-9)
    assert row["c_low"] == pytest.approx(row["c_high"], abs=1e-9)
    assert row["ratio"] == pytest.approx(31 / 30 * 1e22**0.0005)
    assert fit_power(C, 30 * C**-0.05).values == pytest.approx({"K": 30, "c": -0.05})
    with pytest.raises(ValueError, match="same position ranges"):
        compare_positions(C, {"a": C}, {"b": C})
    with pytest.raises(ValueError, match="two different budgets"):
        fit_power([1e19, 1e19], [2.0, 2.1])
