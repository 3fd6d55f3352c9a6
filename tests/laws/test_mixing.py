"""The best share of images: what was put into made losses comes back, inside its interval."""

import numpy as np
import pandas as pd
import pytest

from nmm.laws.forms.mixed_modal import FractionLaw, fit_pair
from nmm.laws.use.mixing import (
    OWN_SHARE,
    against_none,
    asymmetry,
    barrier_interval,
    fit_shares,
    gained,
    lowest_on_grid,
)
from tests.laws.conftest import grid, loss_of, surface

# E(rho) = exp(e0 + e1 rho + e2 rho^2) has its lowest text loss inside, and alpha grows with rho, so that the best share moves with N
TEXT = np.array([0.20, -0.25, 0.60, 3.0, 0.3, 0.2, 0.20, 0.06])
IMAGE = np.array([0.55, -0.60, 0.35, 3.2, -0.4, 0.1, 0.24, 0.02])
SIZES = np.array([3e4, 6e4, 1.2e5, 2.5e5, 5e5])
SHARES = np.array([0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.75, 1])


def runs(noise: float, seed: int = 0):
    """Two seeds of a grid with noise that a trunk's runs share: N, rho, both losses, trunks."""
    rng = np.random.default_rng(seed)
    N, rho, trunk = (each.ravel() for each in np.meshgrid(SIZES, SHARES, [0, 1], indexing="ij"))
    law = FractionLaw()
    losses = [law.predict(values, {"N": N, "rho": rho}) * np.exp(noise * rng.normal(size=len(N))) for values in (TEXT, IMAGE)]
    return N, rho, *losses, np.arange(len(N))


def true_best(N: float, weight) -> float:
    rho, law = np.linspace(0, 1, 20_001), FractionLaw()
    text, image = (law.predict(values, {"N": np.full(rho.shape, N), "rho": rho}) for values in (TEXT, IMAGE))
    w = rho if weight is OWN_SHARE else weight
    return rho[np.argmin((1 - w) * text + w * image)]


def test_without_noise_the_truth_comes_back():
    shares = fit_shares(*runs(0.0), n=3)
    np.testing.assert_allclose(list(shares.text.values.values()), TEXT, rtol=1e-4)
    np.testing.assert_allclose(list(shares.image.values.values()), IMAGE, rtol=1e-4)
    for N in (5e4, 4e5):
        for weight in (OWN_SHARE, 0.0, 0.3, 0.5, 0.8, 1.0):
            assert shares.best(N, weight).value == pytest.approx(true_best(N, weight), abs=0.003), (N, weight)
    assert shares.exponent_gap(0.5).value == pytest.approx((0.24 + 0.01) - (0.20 + 0.03), abs=1e-4)


def test_intervals_hold_the_truth_and_are_not_empty():
    held = {"best": 0, "text": 0, "gap": 0, "moves": 0}
    tries = 4
    for seed in range(tries):
        shares = fit_shares(*runs(0.004, seed), n=40, seed=seed)
        law = FractionLaw()
        best, text, gap, moves = shares.best(1e5, 0.5), shares.lowest_text(1e5), shares.gain(1e5), shares.moves(4e4, 4e5, 0.5)
        for estimate in (best, text, gap, moves):
            assert estimate.low <= estimate.high and estimate.high - estimate.low < 0.6
        losses = law.predict(TEXT, {"N": np.full(2, 1e5), "rho": np.array([0, true_best(1e5, 0.0)])})
        held["best"] += best.low - 0.003 <= true_best(1e5, 0.5) <= best.high + 0.003
        held["text"] += text.low - 0.003 <= true_best(1e5, 0.0) <= text.high + 0.003
        held["gap"] += gap.low <= losses[0] - losses[1] <= gap.high
        held["moves"] += moves.low - 0.003 <= true_best(4e5, 0.5) - true_best(4e4, 0.5) <= moves.high + 0.003
        assert gap.low > 0, "the gain over no images is resolved"
    assert min(held.values()) >= tries - 1, held


def test_the_lessons_weights_have_an_optimum_of_their_own():
    """Where neither loss depends on the mixture, only the weights move the minimum: all of the cheaper modality."""
    N, rho = (each.ravel() for each in np.meshgrid(SIZES, SHARES))
    flat = 1 + 50 / N**0.3
    rng = np.random.default_rng(0)
    losses = [level * flat * np.exp(1e-4 * rng.normal(size=len(N))) for level in (1.0, 0.8)]
    shares = fit_shares(N, rho, *losses, n=5)
    assert shares.best(1e5).value == 1.0
    assert true_best(1e5, OWN_SHARE) != true_best(1e5, 0.5)


def test_a_minimum_without_a_law():
    rho = np.repeat(SHARES, 2)
    loss = 2 + (rho - 0.27) ** 2 + np.tile([0.001, -0.001], len(SHARES))
    assert lowest_on_grid(rho, loss) == pytest.approx(0.27, abs=1e-6)
    measured = np.concatenate([rho - 3e-5, rho + 4e-5])     # two seeds have read other documents
    assert lowest_on_grid(measured, np.concatenate([loss - 0.01, loss + 0.01])) == pytest.approx(0.27, abs=1e-6)
    assert lowest_on_grid(SHARES, 1 - SHARES) == 1.0 and lowest_on_grid(SHARES, SHARES) == 0.0
    with pytest.raises(ValueError, match="three shares: got 2"):
        lowest_on_grid([0, 1], [1, 2])


def test_the_barrier_has_an_interval():
    """Of 12 studies most hold the truth (of 100 it was 92, at 95 %); and where no data may be enough, it has no end."""
    N, D = grid()
    alone = loss_of(surface(2.0, 0.3, 0.3), N, D / 2), loss_of(surface(1.5, 0.35, 0.3), N, D / 2)
    truth = (300 / (0.15 - 60 / 3e9**0.3)) ** (1 / 0.34)
    held = 0
    for seed in range(12):
        noise = np.exp(1e-3 * np.random.default_rng(seed).normal(size=len(N)))
        together = (np.mean(alone, axis=0) - 0.15 + 60 / N**0.3 + 300 / D**0.34) * noise
        pair = fit_pair(N, D / 2, D / 2, together, *alone)
        found = barrier_interval(pair, None, 3e9)
        assert found.low < found.value < found.high < 10 * truth and found.value == pytest.approx(truth, rel=0.5)
        held += found.low <= truth <= found.high
    assert held >= 9, held
    small = (60 / 0.15) ** (1 / 0.3)        # a model of this size needs infinitely many tokens
    assert barrier_interval(pair, None, 0.98 * small).high == np.inf


def test_bad_input_is_named():
    shares = fit_shares(*runs(0.0), n=1)
    with pytest.raises(ValueError, match="weight is the images' part of the total loss, between 0 and 1: got 1.5"):
        shares.best(1e5, 1.5)
    with pytest.raises(ValueError, match="unknown modality 'audio'"):
        shares.losses("audio", 1e5)
    with pytest.raises(ValueError, match="rho, the share of image tokens"):
        fit_shares([1e5] * 3, [0, 0.5, -2], [1] * 3, [1] * 3)
    with pytest.raises(ValueError, match="got n=0"):
        fit_shares(*runs(0.0), n=0)


FLOOR = {"text": 1.0, "image": 1.2}


def transfer(gain_text: float, gain_image: float, noise: float = 0.0) -> pd.DataFrame:
    """Runs of three sizes, two seeds and budgets: what a modality gains from the other is the same at every share."""
    rng, rows = np.random.default_rng(0), []
    for N in (2e4, 4e4, 8e4):
        for seed in (0, 1):
            luck = np.exp(0.02 * rng.normal())
            for budget in (4e5, 8e5):
                for rho in (0.0, 0.1, 0.4, 0.6, 1.0):
                    own = {"text": 1 - rho, "image": rho}
                    above = {name: luck * 6000 / N**0.5 / (max(budget * share, 1e3)) ** 0.4 for name, share in own.items()}
                    both = rho not in (0.0, 1.0)
                    rows.append({"N": N, "D_words": budget * own["text"], "D_image": budget * own["image"], "budget": budget, "seed": seed,
                                 "rho": rho, "mixture": f"rho {rho:g}",
                                 "L_text": (FLOOR["text"] + above["text"]) * np.exp(-gain_text * both + noise * rng.normal()),
                                 "L_image": (FLOOR["image"] + above["image"]) * np.exp(-gain_image * both + noise * rng.normal())})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("gain_text", "gain_image"), [(0.05, 0.01), (-0.02, 0.0)])
def test_what_is_gained_at_equal_own_tokens_comes_back(gain_text, gain_image):
    found = gained(transfer(gain_text, gain_image), FLOOR)
    assert found[found["modality"] == "text"]["gain"].to_numpy() == pytest.approx(gain_text, abs=1e-9)
    assert found[found["modality"] == "image"]["gain"].to_numpy() == pytest.approx(gain_image, abs=1e-9)
    assert set(found[found["modality"] == "text"]["share"]) == {0.1, 0.4}, "beyond that a text has fewer tokens than any run alone"
    assert set(found[found["modality"] == "image"]["share"]) == {0.6}
    assert found["own"].between(4e5, 8e5).all()
    difference, *shares = asymmetry(found)
    assert difference.value == pytest.approx(gain_text - gain_image, abs=1e-9) and difference.seeds == 6 and shares == [0.4, 0.6]
    with pytest.raises(ValueError, match="no gains of image at equal own tokens"):
        asymmetry(found[found["modality"] == "text"])


def test_without_a_floor_a_straight_line_is_too_high_between_budgets():
    """Whoever does not know the floor sees a little gain where there is none, and never a loss."""
    found = gained(transfer(0.0, 0.0), {"text": 0.0, "image": 0.0})["gain"]
    assert (found > 0).all() and found.max() < 0.01
    with pytest.raises(ValueError, match="floor of text is 9.0, and a run alone has a loss of"):
        gained(transfer(0.0, 0.0), {"text": 9.0, "image": 0.0})


def test_with_known_floors_the_truth_comes_back():
    """E known, ln A quadratic and alpha linear in rho: exactly without noise, inside the intervals with it."""
    N, rho, *_, trunk = runs(0.0)
    exponents = {"text": (0.5, -0.1), "image": (0.3, 0.05)}
    excess = {name: np.exp(3.0 - 0.8 * rho + 0.3 * rho**2 - (one + slope * rho) * np.log(N)) for name, (one, slope) in exponents.items()}
    losses = [FLOOR[name] + excess[name] for name in ("text", "image")]
    shares = fit_shares(N, rho, *losses, trunk, n=3, floor=FLOOR)
    assert shares.text.r2 == pytest.approx(1) and shares.image.worst < 1e-9
    gap = shares.exponent_gap(0.4)
    assert gap.value == pytest.approx((0.3 + 0.02) - (0.5 - 0.04), abs=1e-9) == gap.low
    assert shares.losses("image", N[0])[200] == pytest.approx(FLOOR["image"] + np.exp(3.0 - 0.32 + 0.048 - 0.32 * np.log(N[0])))
    rng = np.random.default_rng(0)
    noisy = [FLOOR[name] + excess[name] * np.exp(0.05 * rng.normal(size=len(N))) for name in ("text", "image")]
    gap = fit_shares(N, rho, *noisy, trunk, n=200, floor=FLOOR).exponent_gap(0.4)
    assert gap.low < -0.14 < gap.high and 0.005 < gap.high - gap.low < 0.2
    with pytest.raises(ValueError, match="the floor is 9.0, and a run has a loss of"):
        fit_shares(N, rho, *losses, n=3, floor={"text": 9.0, "image": 1.2})


def test_the_change_with_the_share_at_equal_total_tokens():
    table = transfer(0.03, 0.0, noise=0.002)
    found = against_none(table, "L_text")
    assert found["mixture"].tolist() == ["rho 0.1", "rho 0.4", "rho 0.6", "rho 1"] and (found["pairs"] == 6).all()
    assert found["high"][0] < 0, "more is gained than want of text costs"
    assert found["low"][2] > 0, "and less"
    with pytest.raises(ValueError, match="no runs without images to compare with: there are shares 0.1"):
        against_none(table[table["rho"] > 0], "L_text")
