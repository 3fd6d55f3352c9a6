"""The compression law and what it is held against: known coefficients come back, and each form is told apart from the others."""

import numpy as np
import pandas as pd
import pytest

from nmm.laws.forms.compression import compression_score, fit_slopes, fit_tokens
from nmm.laws.use import compression
from nmm.laws.use.compression import BITS, EACH, KNOWN, LITERAL, MODALITIES, SLOPES, TOTAL
from nmm.laws.use.selection import aicc

SHARES = {"alike": (0.25,) * 4, "text": (0.55, 0.15, 0.15, 0.15), "image": (0.15, 0.55, 0.15, 0.15), "audio": (0.15, 0.15, 0.55, 0.15),
          "video": (0.15, 0.15, 0.15, 0.55)}


def runs(loss, seeds=(0, 1), noise=0.0) -> pd.DataFrame:
    """A grid of runs whose every modality has bits per byte loss(N, D), with D a mapping by modality."""
    rng, rows = np.random.default_rng(0), []
    for mixture, shares in SHARES.items():
        for N in (3e4, 6e4, 1.2e5, 2.4e5):
            for budget in (4e5, 8e5, 1.6e6):
                for seed in seeds:
                    D = {name: share * budget for name, share in zip(MODALITIES, shares)}
                    bits = loss(N, D) * np.exp(noise * rng.standard_normal())
                    rows.append({"N": N, "seed": seed, "mixture": mixture, "C": 6 * N * budget, "D": budget,
                                 **{f"D_{name}": tokens for name, tokens in D.items()}, **{column: bits for column in BITS.values()}})
    return pd.DataFrame(rows)


def test_slopes_come_back():
    slopes = {"text": 0.05, "image": 0.01, "audio": 0.02, "video": -0.004}
    table = runs(lambda N, D: 2.0 - 0.03 * np.log(N) - sum(slopes[name] * np.log(D[name]) for name in D))
    fit = fit_slopes(table["N"], compression.tokens(table), MODALITIES, table["bits_per_byte"])
    assert fit.values["k[N]"] == pytest.approx(0.03, abs=1e-8)
    for name, slope in slopes.items():
        assert fit.values[f"k[{name}]"] == pytest.approx(slope, abs=1e-8), name


def test_the_tokens_of_each_come_back():
    true = {"E": 0.3, "A": 8.0, "alpha": 0.4, "beta": 0.35, "B[text]": 20.0, "B[image]": 5.0, "B[audio]": 2.0, "B[video]": 9.0}
    table = runs(lambda N, D: true["E"] + true["A"] / N**0.4 + sum(true[f"B[{name}]"] / D[name] ** 0.35 for name in D))
    fit = fit_tokens(table["N"], compression.tokens(table), MODALITIES, table["bits_per_byte"])
    for name, value in true.items():
        assert fit.values[name] == pytest.approx(value, rel=1e-3), name


def test_a_known_floor_is_not_fitted():
    true = {"A": 8.0, "alpha": 0.4, "beta": 0.35, "B[text]": 20.0, "B[image]": 5.0, "B[audio]": 2.0, "B[video]": 9.0}
    table = runs(lambda N, D: 0.3 + true["A"] / N**0.4 + sum(true[f"B[{name}]"] / D[name] ** 0.35 for name in D))
    fits = compression.fit_forms(table, compression.performance(table), floor=0.3)
    fit = fits[EACH + KNOWN]
    assert fit.values == pytest.approx(true, rel=1e-3) and "E" not in fit.values and fit.law.floor == 0.3
    total = fits[TOTAL + KNOWN]
    assert len(total.phi) == 4 and np.abs(total.residuals).max() > np.abs(fit.residuals).max()
    with pytest.raises(ValueError, match="a known floor must lie below every loss: got 9"):
        fit_tokens(table["N"], compression.tokens(table), MODALITIES, table["bits_per_byte"], floor=9.0)


def test_what_is_simpler_orders_the_runs_as_well():
    """Where all tokens count alike, their sum orders runs exactly, and the sum of their logs does not."""
    table = runs(lambda N, D: 3.0 - 0.1 * np.log(N) - 0.1 * np.log(sum(D.values())))
    found = compression.ordered_by(table, compression.performance(table))
    assert found["N and all tokens"] == pytest.approx(1.0) and 0.5 < found["sum of logs"] < 0.99
    assert set(found) == {"sum of logs", "N and all tokens", *(f"N and tokens of {name}" for name in MODALITIES)}


@pytest.mark.parametrize("kind", ["hypothesis", "Eq. 1"])
def test_the_form_that_made_the_runs_wins(kind):
    def loss(N, D):
        if kind == "hypothesis":
            return 3.0 - 0.02 * compression_score(np.array([list(D.values())]), np.ones(4), np.array([N]))[0]
        return 0.5 + 9.0 / N**0.4 + 60.0 / sum(D.values()) ** 0.4

    table = runs(loss, noise=5e-4)
    observed = compression.performance(table)
    fits = compression.fit_forms(table, observed)
    trunks = table.groupby(["N", "seed", "mixture"]).ngroups
    found = compression.compared(fits, {"sizes": table["N"], "mixtures": table["mixture"]}, trunks)
    assert list(found.index) == [LITERAL, SLOPES, TOTAL, EACH]
    best = LITERAL if kind == "hypothesis" else TOTAL
    assert found["AICc"].idxmin() == best, found
    assert found.loc[best, "sizes held out [%]"] < 0.5 and found.loc[best, "mixtures held out [%]"] < 0.5
    other = TOTAL if kind == "hypothesis" else LITERAL
    assert found.loc[other, "sizes held out [%]"] > 1.5 * found.loc[best, "sizes held out [%]"]
    held = ((table["N"] == table["N"].max()) & (table["mixture"] == "video")).to_numpy()
    out = compression.held_out({best: fits[best]}, {"the corner": held})
    assert len(out) == held.sum() and out["error"].abs().mean() < 0.5
    assert np.allclose(out["predicted"], out["observed"] * (1 + out["error"] / 100))


def test_where_a_straight_line_breaks():
    table = runs(lambda N, D: 0.5 + 9.0 / N**0.4 + 60.0 / sum(D.values()) ** 0.4)
    fits = compression.fit_forms(table, compression.performance(table))
    line, law = (compression.corners(fits[name], table["N"], table["D"]) for name in (LITERAL, TOTAL))
    assert list(line) == [f"{size} model, {much} tokens" for size in ("small", "large") for much in ("few", "many")]
    assert max(map(abs, line.values())) > 1 > 1e-6 > max(map(abs, law.values()))


def test_a_modality_without_tokens_has_no_score():
    table = runs(lambda N, D: 1.0 + N**-0.1)
    table.loc[0, "D_audio"] = 0.0
    with pytest.raises(ValueError, match="runs without tokens of audio: the sum of logs is minus infinity"):
        compression.tokens(table)
    with pytest.raises(ValueError, match="8 unknowns need as many different"):
        fit_tokens(np.ones(9), np.ones((9, 4)), MODALITIES, np.ones(9))
    with pytest.raises(ValueError, match="the tokens of m = 4 modalities"):
        fit_slopes(np.ones(9), np.ones((9, 3)), MODALITIES, np.ones(9))


def test_halving_counts_compute_on_the_frontier():
    """Each size levels off where the next takes over: pooled, the runs would tell of a slower fall than the frontier has."""
    N, D = (values.ravel() for values in np.meshgrid(np.geomspace(1e4, 1e6, 9), np.geomspace(1e4, 1e6, 9)))
    C = 6 * N * D
    bits = 0.2 + 40 / N**0.5 + 40 / D**0.5
    found = compression.halving(C, bits, 0.2, np.arange(len(C)) // 3, n=40)
    assert found.factor == pytest.approx(16, rel=0.1) and found.low <= found.factor <= found.high
    assert found.above == pytest.approx((bits.min() - 0.2) / 0.2)
    assert 2 < len(found.local) < len(C) / 3 and min(found.local) < 16 < max(found.local)
    with pytest.raises(ValueError, match="is not above its floor"):
        compression.halving(C, np.full(len(C), 0.1), 0.2, np.arange(len(C)))
    with pytest.raises(ValueError, match="the cheapest run has the lowest loss"):
        compression.halving(C, 0.2 + C / 1e12, 0.2, np.arange(len(C)))


def test_runs_of_one_trunk_count_once():
    table = runs(lambda N, D: 0.5 + 9.0 / N**0.4 + 60.0 / sum(D.values()) ** 0.4, noise=1e-3)
    fit = compression.fit_forms(table, compression.performance(table))[TOTAL]
    error = np.log(np.mean(fit.residuals**2))
    assert aicc(fit) - aicc(fit, 40) == pytest.approx((fit.n_runs - 40) * error + 84 / (fit.n_runs - 7) - 84 / 33)


@pytest.mark.parametrize("harm", [0.05, 0.0, -0.03])
def test_what_others_do_at_equal_own_tokens(harm):
    table = runs(lambda N, D: 0.2 + 3.0 / N**0.3 + 30.0 / D["text"] ** 0.5)
    alone = runs(lambda N, D: 0.2 + 3.0 / N**0.3 + 30.0 / D["text"] ** 0.5)
    alone = alone[alone["mixture"] == "alike"].assign(mixture="text alone")
    table["bits_per_byte"] = 0.1 + (table["bits_per_byte"] - 0.1) * np.exp(harm)
    found = compression.at_own_tokens(pd.concat([alone, table]), "text alone", "D_text", "bits_per_byte", 0.1)
    assert set(found["mixture"]) <= set(SHARES) and len(found) > 40
    for name, change in compression.by_mixture(found).items():
        assert change.value == pytest.approx(harm, abs=0.004), name


def test_sizes_of_one_seed_are_not_seeds():
    """Two seeds of eight sizes each resolve nothing; with four, means are over the sizes that all of them have."""
    def changes(seeds, sizes):
        return pd.DataFrame([{"mixture": "alike", "N": N, "seed": seed, "own": 1e5, "change": 0.1 + 0.001 * seed + (N == 9e4)}
                             for seed in seeds for N in sizes])

    two = compression.by_mixture(changes((0, 1), np.arange(1, 9) * 1e4))["alike"]
    assert two.seeds == 2 and not two.resolved
    more = pd.concat([changes((0, 1), (1e4, 2e4, 9e4)), changes((2, 3), (1e4, 2e4))])
    four = compression.by_mixture(more)["alike"]
    assert four.seeds == 4 and four.resolved and four.value == pytest.approx(0.1015)


def test_own_tokens_that_nearly_agree_are_compared():
    alone = pd.DataFrame({"mixture": "text alone", "N": 1e4, "seed": 0, "own": [1e5, 2e5], "bits": [0.5, 0.4]})
    other = pd.DataFrame({"mixture": "both", "N": 1e4, "seed": 0, "own": [0.99e5, 0.9e5], "bits": [0.5, 0.5]})
    found = compression.at_own_tokens(pd.concat([alone, other]), "text alone", "own", "bits", 0.1)
    assert found["own"].tolist() == [0.99e5] and abs(found["change"].iloc[0]) < 0.01


def test_isoloss_lies_on_the_law():
    table = runs(lambda N, D: 0.5 + 9.0 / N**0.4 + 60.0 / sum(D.values()) ** 0.4)
    fit = compression.fit_forms(table, compression.performance(table))[TOTAL]
    lines = compression.isoloss(fit, [0.9, 0.95], np.array([3e4, 1e5, 3e5]))
    assert len(lines) and np.allclose(fit.predict(lines["N"], lines["D"]), lines["level"])
    assert (lines.groupby("level")["D"].diff().dropna() < 0).all(), "a larger model needs fewer tokens"
