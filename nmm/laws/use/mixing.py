"""How much of each modality: the best share of image tokens by two laws fitted together, with intervals, and without any law.

What is best depends on how the two losses are weighed. The lesson's total weighs each by its own share of the training tokens, so that
its minimum moves with the weights even where neither loss depends on the mixture: `OWN_SHARE`. With a fixed weight the same thing is
measured at every share.

Source: a lesson on Aghajanyan et al. 2023, Chapters 3 to 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import make_interp_spline

from nmm.laws.core.noise import checked_labels
from nmm.laws.forms.mixed_modal import FractionFit, FractionLaw, fit_fraction
from nmm.laws.use.paired import Interval, interval

if TYPE_CHECKING:
    import pandas as pd

OWN_SHARE = None        # weight of images in the total: their share of the training tokens
RHO = np.linspace(0, 1, 501)
PLACES = 2              # of rho, that runs of one mixture have in common: it is measured, and each seed reads other documents
MODALITIES = ("text", "image")


@dataclass(frozen=True)
class Estimate:
    """A value and its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class AboveFloor:
    """One modality's law with its E known, the same at every share: ln A(rho) quadratic and alpha(rho) linear, as in `FractionLaw`.

    ln(L - E) is linear in the other five numbers: least squares find them, and nothing can hide between two shares.

    Attributes:
        theta: all eight numbers of the law.
        r2: of ln(L - E); worst: largest residual of L, relative to it.
    """

    theta: np.ndarray
    r2: float
    worst: float
    law: FractionLaw = FractionLaw()

    @classmethod
    def fitted(cls, N: np.ndarray, rho: np.ndarray, L: np.ndarray, floor: float) -> AboveFloor:
        """The law of these runs.

        Raises:
            ValueError: a loss is not above the floor.
        """
        if L.min() <= floor:
            raise ValueError(f"the floor is {floor}, and a run has a loss of {L.min()}: give the lowest possible loss")
        theta = cls._thetas(N, rho, L, floor, np.ones((1, len(N))))[0]
        predicted = cls.law.predict(cls.law.natural(theta), {"N": N, "rho": rho})
        y, found = np.log(L - floor), np.log(predicted - floor)
        return cls(theta, float(1 - ((y - found) ** 2).sum() / ((y - y.mean()) ** 2).sum()), float(abs(predicted / L - 1).max()))

    @classmethod
    def _thetas(cls, N: np.ndarray, rho: np.ndarray, L: np.ndarray, floor: float, weights: np.ndarray) -> np.ndarray:
        """Of the runs counted with each row of weights, (rows, 8)."""
        x, one = np.log(N), np.ones(len(N))
        columns, y = np.column_stack([one, rho, rho**2, -x, -rho * x]), np.log(L - floor)
        found = [np.linalg.lstsq(columns * root[:, None], y * root, rcond=None)[0] for root in np.sqrt(weights)]
        known = np.tile([np.log(floor), 0.0, 0.0], (len(found), 1))
        return cls.law.internal(np.concatenate([known, found], axis=1))

    def refit(self, N: np.ndarray, rho: np.ndarray, L: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The law of resampled runs, (rows, 8); `weights`, (rows, n), says how often each run was drawn."""
        return self._thetas(N, rho, L, float(np.exp(self.theta[0])), weights)


@dataclass(frozen=True)
class Shares:
    """L_text(N, rho) and L_image(N, rho), fitted to the runs of one budget, and refits to the same resampled trunks.

    Attributes:
        text, image: the fits to all runs.
        thetas: parameters of the refits by modality, (n, 8) each; row k of both is of the same resample.
    """

    text: FractionFit | AboveFloor
    image: FractionFit | AboveFloor
    thetas: dict[str, np.ndarray]

    def fit(self, modality: str) -> FractionFit | AboveFloor:
        """The fit of "text" or "image"."""
        if modality not in MODALITIES:
            raise ValueError(f"unknown modality {modality!r}: the laws are of {' and '.join(MODALITIES)}")
        return getattr(self, modality)

    def losses(self, modality: str, N: float, theta: np.ndarray | None = None) -> np.ndarray:
        """Losses over `RHO` at N: of the fit, (501,), or of refits, (n, 501) [nats/token]."""
        law = self.fit(modality).law
        values = law.natural(self.fit(modality).theta if theta is None else theta)
        return law.predict(values, {"N": np.full(len(RHO), float(N)), "rho": RHO})

    def best(self, N: float, weight: float | None = OWN_SHARE, level: float = 0.95) -> Estimate:
        """rho*(N): the share with the lowest weighted total.

        Args:
            N: parameters.
            weight: of the images in the total, between 0 and 1, the text has the rest; `OWN_SHARE`: rho itself.
        Raises:
            ValueError: a weight outside 0 to 1.
        """
        if weight is not None and not 0 <= weight <= 1:
            raise ValueError(f"weight is the images' part of the total loss, between 0 and 1: got {weight}")
        found, draws = (self._lowest(N, weight, thetas) for thetas in ({}, self.thetas))
        return _estimate(float(found), draws, level)

    def lowest_text(self, N: float, level: float = 0.95) -> Estimate:
        """The share of images at which the text's loss is lowest."""
        return self.best(N, 0.0, level)

    def gain(self, N: float, level: float = 0.95) -> Estimate:
        """By how much the text's loss is lower at its best share than without images [nats/token]."""
        def best(losses: np.ndarray) -> np.ndarray:
            return losses[..., 0] - losses.min(axis=-1)

        return _estimate(float(best(self.losses("text", N))), best(self.losses("text", N, self.thetas["text"])), level)

    def moves(self, small: float, large: float, weight: float | None = OWN_SHARE, level: float = 0.95) -> Estimate:
        """rho* of a large model less that of a small one, on the same resamples."""
        found, draws = (self._lowest(large, weight, thetas) - self._lowest(small, weight, thetas) for thetas in ({}, self.thetas))
        return _estimate(float(found), draws, level)

    def _lowest(self, N: float, weight: float | None, thetas: dict[str, np.ndarray]) -> np.ndarray:
        """rho* of the fits, or of the refits with these parameters."""
        text, image = (self.losses(name, N, thetas.get(name)) for name in MODALITIES)
        w = RHO if weight is None else weight
        return RHO[np.argmin((1 - w) * text + w * image, axis=-1)]

    def exponent_gap(self, rho: float, level: float = 0.95) -> Estimate:
        """alpha_image - alpha_text at one share: above zero where images' loss falls faster with N."""
        def gap(text: np.ndarray, image: np.ndarray) -> np.ndarray:
            return (image[..., 6] + image[..., 7] * rho) - (text[..., 6] + text[..., 7] * rho)

        found, draws = (gap(*(each(name) for name in MODALITIES)) for each in (lambda name: self.fit(name).theta, self.thetas.get))
        return _estimate(float(found), draws, level)


def _estimate(value: float, draws: np.ndarray, level: float) -> Estimate:
    low, high = np.quantile(draws[np.isfinite(draws)], [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))


def fit_shares(
    N: np.ndarray, rho: np.ndarray, L_text: np.ndarray, L_image: np.ndarray, cluster: np.ndarray | None = None, *, n: int = 300,
    seed: int = 0, starts: int = 2, floor: Mapping[str, float] | None = None,
) -> Shares:
    """Fit both laws, and refit both to resampled trunks.

    A model that saw no text says nothing of how text is learned, and likewise of images: runs at rho = 1 are left out of the text's law
    and those at rho = 0 out of the images'.

    Args:
        N: parameters, (n,); rho: share of image tokens; L_text, L_image: losses of text alone and of images alone [nats/token].
        cluster: what each run shares its luck with; None: nothing.
        n: resamples, of whole clusters, drawn with replacement.
        floor: the lowest possible loss by modality, where it is known: E is that at every share, see `AboveFloor`; None: E is fitted too,
            quadratic in rho [nats/token].
    Raises:
        ValueError: as for `fit_fraction`; n is below 1; or a loss is not above its floor.
    """
    if n < 1:
        raise ValueError(f"resamples must be at least one: got n={n}")
    N, rho = np.asarray(N, dtype=float), np.asarray(rho, dtype=float)
    labels = np.arange(len(N)) if cluster is None else checked_labels(cluster, len(N))
    rows = {"text": rho < 1, "image": rho > 0}
    losses = {"text": np.asarray(L_text, dtype=float), "image": np.asarray(L_image, dtype=float)}
    runs = {name: (N[rows[name]], rho[rows[name]], losses[name][rows[name]]) for name in MODALITIES}
    clusters = labels.max() + 1
    drawn = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), size=n).astype(float)[:, labels]
    if floor is None:
        fits = {name: fit_fraction(*runs[name]) for name in MODALITIES}
        thetas = {name: fits[name].refit(drawn[:, rows[name]], starts)[0] for name in MODALITIES}
    else:
        fits = {name: AboveFloor.fitted(*runs[name], floor[name]) for name in MODALITIES}
        thetas = {name: fits[name].refit(*runs[name], drawn[:, rows[name]]) for name in MODALITIES}
    return Shares(fits["text"], fits["image"], thetas)


def lowest_on_grid(rho: np.ndarray, loss: np.ndarray) -> float:
    """The share with the lowest loss, without a law: through the lowest measured point and its neighbours goes a parabola.

    Args:
        rho: shares of the runs, (n,), those that agree to `PLACES` are averaged; loss: what is compared, (n,).
    Raises:
        ValueError: fewer than three shares.
    """
    shares, at = np.unique(np.asarray(rho, dtype=float).round(PLACES), return_inverse=True)
    if len(shares) < 3:
        raise ValueError(f"a minimum needs three shares: got {len(shares)}")
    mean = np.bincount(at, weights=np.asarray(loss, dtype=float)) / np.bincount(at)
    k = int(np.argmin(mean))
    if k in (0, len(shares) - 1):
        return float(shares[k])
    curve = np.polynomial.Polynomial.fit(shares[k - 1:k + 2], mean[k - 1:k + 2], 2)
    lowest = curve.deriv().roots()
    return float(np.clip(lowest[0], shares[k - 1], shares[k + 1])) if len(lowest) else float(shares[k])


def against_none(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """How a loss changes with the share of images at equal total tokens, against runs of no images of the same size, seed and budget.

    Args:
        table: a row a run of one arm: N, seed, budget, mixture, rho and `column`.
        column: the loss, positive.
    Returns:
        A row a mixture, by rho: mixture, rho, value, low, high [log units], pairs (sizes and seeds); budgets of a pair are averaged.
    Raises:
        ValueError: no runs without images.
    """
    import pandas as pd  # here, so that `import nmm.laws` stays quick

    logs = table.assign(y=np.log(table[column]))
    none = logs[logs["rho"] == 0].set_index(["N", "seed", "budget"])["y"]
    if none.empty:
        there = ", ".join(f"{rho:g}" for rho in sorted(set(table["rho"])))
        raise ValueError(f"no runs without images to compare with: there are shares {there}")
    rows = []
    for mixture, mine in logs[logs["rho"] > 0].groupby("mixture"):
        change = (mine.set_index(["N", "seed", "budget"])["y"] - none).dropna().groupby(["N", "seed"]).mean()
        if len(change):
            found = interval(change.to_numpy())
            rows.append({"mixture": mixture, "rho": mine["rho"].mean(), "value": found.value, "low": found.low, "high": found.high,
                         "pairs": found.seeds})
    return pd.DataFrame(rows, columns=["mixture", "rho", "value", "low", "high", "pairs"]).sort_values("rho", ignore_index=True)


def above_floor(D: np.ndarray, L: np.ndarray, floor: float, at: np.ndarray) -> np.ndarray:
    """Losses at some numbers of tokens from those at a few budgets: above the floor a power of the tokens, budget by budget.

    Args:
        D, L: budgets in rising order, at least two, and their losses, above the floor; at: tokens asked for.
    """
    return floor + np.exp(make_interp_spline(np.log(D), np.log(L - floor), k=1)(np.log(at)))


def alone(table: pd.DataFrame, floor: Mapping[str, float]) -> pd.DataFrame:
    """What each modality's loss would be alone, after as many own tokens as it has in each mixture, by its trunk of runs alone.

    Those are the runs of the same size and seed at either end. Above the floor their loss is taken as a power of the tokens, from each
    budget to the next: two budgets do not tell a floor, and a law fitted to them can bend anyhow. With a floor of 0 the logarithm of the
    loss itself is a straight line, which is too high between the budgets.

    Args:
        table: a row a run of one arm: N, D_words, D_image, rho, seed, L_text and L_image.
        floor: lowest possible loss by modality, "text" and "image"; 0: none is known [nats/token].
    Returns:
        A row a mixture's run and modality: run (index of its row), modality, N, seed, share (rho to `PLACES`, which runs of one
        mixture have in common), own [tokens], L, alone [nats/token], inside: whether own lies within the budgets of the runs alone.
    Raises:
        ValueError: a loss is not above its floor, or there is nothing to compare.
    """
    import pandas as pd

    rows = []
    for modality, end, own in (("text", 0.0, "D_words"), ("image", 1.0, "D_image")):
        loss = f"L_{modality}"
        ends = table[table["rho"] == end].sort_values(own)
        if (lowest := ends[loss].min()) <= floor[modality]:
            raise ValueError(f"floor of {modality} is {floor[modality]}, and a run alone has a loss of {lowest}: give the lowest possible")
        for (N, seed), mine in table[table["rho"].between(0, 1, inclusive="neither")].groupby(["N", "seed"]):
            here = ends[(ends["N"] == N) & (ends["seed"] == seed)]
            if len(here) < 2:
                continue
            rows.append(pd.DataFrame({
                "run": mine.index, "modality": modality, "N": N, "seed": seed, "share": mine["rho"].round(PLACES), "own": mine[own],
                "L": mine[loss],
                "alone": above_floor(here[own].to_numpy(), here[loss].to_numpy(), floor[modality], mine[own].to_numpy()),
                "inside": mine[own].between(here[own].min(), here[own].max()),
            }))
    if not rows:
        raise ValueError("no size and seed has runs of one modality alone at two budgets, and mixtures: nothing to compare")
    return pd.concat(rows, ignore_index=True)


def gained(table: pd.DataFrame, floor: Mapping[str, float]) -> pd.DataFrame:
    """What each modality gains from the other at equal own tokens: ln of its loss alone less ln of its loss together.

    Where a mixture has fewer own tokens than the smallest run alone, or more than the largest, nothing is said.

    Args:
        table, floor: as for `alone`.
    Returns:
        Its rows within the budgets, with gain [log units].
    """
    rows = alone(table, floor)
    return rows[rows["inside"]].assign(gain=np.log(rows["alone"] / rows["L"])).reset_index(drop=True)


def asymmetry(gains: pd.DataFrame) -> tuple[Interval, float, float]:
    """What text gains less what images gain, where each has about as much of the other as of itself; and the two shares of images.

    Those are the largest share at which text's gain is known and the smallest at which that of images is.

    Args:
        gains: as `gained` gives them.
    Returns:
        The mean over sizes and seeds [log units], rho of the text's, rho of the images'.
    Raises:
        ValueError: the gains of a modality are not known.
    """
    found, at = {}, {}
    for modality, pick in (("text", "max"), ("image", "min")):
        mine = gains["modality"] == modality
        if not mine.any():
            raise ValueError(f"no gains of {modality} at equal own tokens: too few tokens of it in every mixture, or no runs of it alone")
        at[modality] = float(getattr(gains.loc[mine, "share"], pick)())
        found[modality] = gains[mine & (gains["share"] == at[modality])].groupby(["N", "seed"])["gain"].mean()
    return interval((found["text"] - found["image"]).dropna().to_numpy()), at["text"], at["image"]


def barrier_interval(pair, cluster: np.ndarray | None, N: float, level: float = 0.95) -> Estimate:
    """The competition barrier of a `PairFit` at N, by profile likelihood over trunks [tokens]; ends may be infinite.

    Profiled is its inverse, which goes smoothly through zero where the barrier goes to infinity.
    """
    typical = float(np.exp(np.log(pair.columns["D"]).mean()))

    def inverse(values: pd.DataFrame) -> np.ndarray:
        room = (values["C"] - values["A"] / N ** values["alpha"]).to_numpy()
        with np.errstate(over="ignore"):
            return typical * np.sign(room) * (np.abs(room) / values["B"].to_numpy()) ** (1 / values["beta"].to_numpy())

    ends = pair.profile(cluster).interval(inverse, level)
    low, high = (typical / end if end > 0 else np.inf for end in reversed(ends))
    return Estimate(float(pair.barrier(N)), float(low), float(high))
