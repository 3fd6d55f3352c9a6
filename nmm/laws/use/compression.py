"""The compression hypothesis put to the test: its form against others on the same runs, what it says of runs held out, and what modalities
do to one another.

`performance` is of several modalities together the geometric mean of their bits per byte: counting other bytes in one modality multiplies
it by a constant, and changes no relative error of a fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.fitting import Fit
from nmm.laws.forms.compression import fit_compression, fit_slopes, fit_tokens
from nmm.laws.forms.frontier import lower_hull
from nmm.laws.forms.parametric import fit_parametric
from nmm.laws.use.mixing import above_floor
from nmm.laws.use.paired import Interval, interval
from nmm.laws.use.resample import resample
from nmm.laws.use.selection import aicc, held_out_errors, predicted_from_the_rest

if TYPE_CHECKING:
    import pandas as pd

MODALITIES = ("text", "image", "audio", "video")
BITS = {"text": "bits_per_byte", **{name: f"bits_per_byte_{name}" for name in MODALITIES[1:]}}      # column of runs by modality
SAME_TOKENS = 0.02      # own tokens are counted in what was read, which hits a share by less than this
LITERAL, SLOPES, TOTAL, EACH = "one slope", "a slope for each", "Eq. 1, total tokens", "Eq. 1, tokens of each"
KNOWN = ", E known"     # after the name of a form of Eq. 1 whose floor is not fitted


def performance(table: pd.DataFrame, modalities: Sequence[str] = MODALITIES) -> np.ndarray:
    """Geometric mean of the bits per byte of modalities, (n,); NaN where a run lacks one."""
    return np.exp(np.mean([np.log(table[BITS[name]].to_numpy(dtype=float)) for name in modalities], axis=0))


def tokens(table: pd.DataFrame, modalities: Sequence[str] = MODALITIES) -> np.ndarray:
    """Training tokens of each modality, T_i / C_i, (n, m).

    Raises:
        ValueError: a run has none of a modality: the hypothesis has no value for it.
    """
    D = table[[f"D_{name}" for name in modalities]].to_numpy(dtype=float)
    if not np.all(D > 0):
        lacking = [name for name, column in zip(modalities, D.T, strict=True) if not np.all(column > 0)]
        raise ValueError(f"runs without tokens of {', '.join(lacking)}: the sum of logs is minus infinity there; leave these runs out")
    return D


def fit_forms(
    table: pd.DataFrame, observed: np.ndarray, modalities: Sequence[str] = MODALITIES, floor: float | None = None
) -> dict[str, Fit]:
    """The forms fitted to the same runs: two of the hypothesis, and two of Eq. 1, with E fitted and, where it is known, with E given.

    Args:
        table: runs with N and D_NAME of every modality. The C_i of the hypothesis are in them: T_i / C_i are tokens.
        observed: bits per byte, (n,); floor: the lowest there can be of them.
    """
    N, D = table["N"].to_numpy(dtype=float), tokens(table, modalities)
    total = D.sum(axis=1)
    known = {} if floor is None else {
        TOTAL + KNOWN: fit_tokens(N, total[:, None], ("total",), observed, floor),
        EACH + KNOWN: fit_tokens(N, D, modalities, observed, floor),
    }
    return {
        LITERAL: fit_compression(D, np.ones(len(modalities)), N, observed), SLOPES: fit_slopes(N, D, modalities, observed),
        TOTAL: fit_parametric(N, total, observed), EACH: fit_tokens(N, D, modalities, observed), **known,
    }


def ordered_by(table: pd.DataFrame, observed: np.ndarray, modalities: Sequence[str] = MODALITIES) -> dict[str, float]:
    """Spearman's rank correlation of performance, -observed, with "sum of logs" and with what is simpler: "N and all tokens", ln N + ln D,
    and, of a single modality's loss, "N and own tokens" of each modality."""
    import pandas as pd

    N, D = np.log(table["N"].to_numpy(dtype=float)), tokens(table, modalities)
    scores = {"sum of logs": N + np.log(D).sum(axis=1), "N and all tokens": N + np.log(D.sum(axis=1)),
              **{f"N and tokens of {name}": N + np.log(own) for name, own in zip(modalities, D.T, strict=True)}}
    return {name: float(pd.Series(score).corr(pd.Series(-np.asarray(observed)), method="spearman")) for name, score in scores.items()}


def compared(fits: Mapping[str, Fit], groups: Mapping[str, np.ndarray], trunks: int) -> pd.DataFrame:
    """Forms side by side: unknowns p, R2, mean absolute error [%] of the fit and with each group of runs held out in turn, AICc.

    Args:
        fits: to the same observed values.
        groups: what is held out in turn -> label of each run, as sizes and mixtures.
        trunks: of the runs. Those of one trunk share their luck, so AICc counts no more runs than trunks.
    """
    import pandas as pd

    rows = {}
    for name, fit in fits.items():
        held = {f"{what} held out [%]": _size(held_out_errors(fit, np.asarray(labels))) for what, labels in groups.items()}
        rows[name] = {"p": len(fit.phi), "R2": fit.r2, "error [%]": _size(fit.residuals), **held, "AICc": aicc(fit, trunks),
                      "status": fit.status}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("form")
    return table.assign(**{"AICc difference": table["AICc"] - table["AICc"].min()})


def _size(errors: np.ndarray) -> float:
    """Mean absolute error [%] of ln(predicted) - ln(observed); infinite where a form predicts no positive loss."""
    return float(100 * np.mean(np.abs(np.expm1(errors)))) if np.all(np.isfinite(errors)) else float("inf")


def held_out(fits: Mapping[str, Fit], masks: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """What each form says of runs that it was not fitted to, beside what they reached.

    Args:
        masks: what is held out -> mask (n,) of the runs left out together.
    Returns:
        Columns held, form, observed, predicted and error [%], above zero where too much is predicted.
    """
    import pandas as pd

    rows = []
    for held, mask in masks.items():
        for name, fit in fits.items():
            errors, observed = predicted_from_the_rest(fit, np.asarray(mask)), fit.observed[np.asarray(mask)]
            rows.append(pd.DataFrame({"held": held, "form": name, "observed": observed, "predicted": observed * np.exp(errors),
                                      "error": 100 * np.expm1(errors)}))
    return pd.concat(rows, ignore_index=True)


def corners(fit: Fit, N, D) -> dict[str, float]:
    """Where a form breaks: its mean residual [%] on the smallest and largest models with the fewest and most tokens; above zero it predicts
    too much.

    Args:
        N, D: parameters and tokens of each run, (n,).
    """
    N, D, found = np.asarray(N), np.asarray(D), {}
    for size, of_size in (("small", N == N.min()), ("large", N == N.max())):
        for much, of_tokens in (("few", D <= np.quantile(D, 1 / 3)), ("many", D >= np.quantile(D, 2 / 3))):
            found[f"{size} model, {much} tokens"] = float(100 * fit.residuals[of_size & of_tokens].mean())
    return found


def _check_floor(bits, floor: float) -> None:
    """Raise ValueError unless every loss is above the floor."""
    if not np.all(np.asarray(bits, dtype=float) > floor):
        raise ValueError(f"a loss of {np.min(bits):.5g} is not above its floor {floor:.5g}: bits per byte of another corpus?")


@dataclass(frozen=True)
class Halving:
    """The compute that halves what a modality's loss has above its floor, at the size that is best for the compute.

    Attributes:
        factor: by which compute must grow, from one end of the frontier to the other; low, high: its interval.
        above: lowest loss above the floor, as a share of the floor.
        local: the factor from each run on the frontier to the next: the same where the excess is a power of the compute.
    """

    factor: float
    low: float
    high: float
    above: float
    local: tuple[float, ...]


def halving(C, bits, floor: float, cluster: np.ndarray, level: float = 0.95, n: int = 200) -> Halving:
    """How much more compute halves the excess of a modality's loss, along the frontier of the runs.

    Args:
        C: compute [FLOPs], bits: loss, each (n,); floor: E, in the unit of the loss.
        cluster: what each run shares its luck with, which is resampled.
    Raises:
        ValueError: a loss is not above its floor, or fewer than two runs are on the frontier.
    """
    import pandas as pd

    _check_floor(bits, floor)
    table = pd.DataFrame({"C": np.asarray(C, dtype=float), "excess": np.asarray(bits, dtype=float) - floor})

    def frontier(runs: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        compute, excess = runs["C"].to_numpy(), runs["excess"].to_numpy()
        hull = lower_hull(compute, excess)
        if len(hull) < 2:
            raise ValueError("the cheapest run has the lowest loss: nothing tells what more compute does")
        return np.log(compute[hull]), np.log2(excess[hull])

    def between_ends(runs: pd.DataFrame) -> list[float]:
        x, halvings = frontier(runs)
        return [float(np.exp((x[-1] - x[0]) / (halvings[0] - halvings[-1])))]

    found, draws = resample(between_ends, table, cluster, n)
    low, high = np.nanquantile(draws[:, 0], [(1 - level) / 2, (1 + level) / 2])
    x, halvings = frontier(table)
    return Halving(found[0], float(low), float(high), float(table["excess"].min() / floor), tuple(np.exp(np.diff(x) / -np.diff(halvings))))


def at_own_tokens(table: pd.DataFrame, alone: str, own: str, bits: str, floor: float) -> pd.DataFrame:
    """What other modalities do to the loss of one at equal own tokens: ln of what is above its floor with them, less without.

    Its loss without them is that of the runs of the same size and seed in mixture `alone`, between their budgets, above its floor.
    Mixtures with fewer own tokens than the smallest budget, or more than the largest, are left out; tokens that differ by less than
    `SAME_TOKENS` are as many.

    Args:
        table: runs of one study: N, seed, mixture, and the columns named.
        own: column of its own tokens; bits: of its loss; floor: the lowest that it can be.
    Returns:
        A row a run: mixture, N, seed, own, change [log units]; above zero the others harm it.
    Raises:
        ValueError: a loss is not above the floor.
    """
    import pandas as pd

    _check_floor(table[bits].dropna(), floor)
    rows = []
    for (N, seed), runs in table.groupby(["N", "seed"]):
        base = runs[runs["mixture"] == alone].sort_values(own)
        if len(base) < 2:
            continue
        within = runs[own].between(base[own].min() * (1 - SAME_TOKENS), base[own].max() * (1 + SAME_TOKENS))
        others = runs[(runs["mixture"] != alone) & within]
        expected = above_floor(base[own].to_numpy(), base[bits].to_numpy(), floor, others[own].to_numpy())
        rows.append(pd.DataFrame({"mixture": others["mixture"], "N": N, "seed": seed, "own": others[own],
                                  "change": np.log(others[bits] - floor) - np.log(expected - floor)}))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["mixture", "N", "seed", "own", "change"])


def by_mixture(changes: pd.DataFrame) -> dict[str, Interval]:
    """The mean change of each mixture over budgets and sizes, and its interval over seeds.

    Sizes of one seed read the same documents, so that they are not as many seeds; means are over the sizes that the most seeds have.

    Args:
        changes: of `at_own_tokens`.
    """
    found = {}
    for name, rows in changes.groupby("mixture", sort=False):
        by_seed = rows.pivot_table(index="seed", columns="N", values="change")
        seeds = by_seed.notna().sum()
        found[name] = interval(by_seed.loc[:, seeds == seeds.max()].dropna().mean(axis=1).to_numpy())
    return found


def isoloss(fit: Fit, levels: Sequence[float], N: np.ndarray) -> pd.DataFrame:
    """Tokens that models of N parameters need for a loss, by a fit of Eq. 1 in total tokens.

    Returns:
        Columns level, N and D; no row where a model of N parameters never gets there.
    """
    import pandas as pd

    E, A, B, alpha, beta = (fit.values[name] for name in ("E", "A", "B", "alpha", "beta"))
    rows = []
    for level in levels:
        room = level - E - A / N**alpha
        good = room > 0
        rows.append(pd.DataFrame({"level": level, "N": N[good], "D": (B / room[good]) ** (1 / beta)}))
    return pd.concat(rows, ignore_index=True)
