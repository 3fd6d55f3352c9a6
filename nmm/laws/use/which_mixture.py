"""Which mixture is best for given target weights: mixture laws side by side on mixtures they were not fitted to, and the best shares.

Three things can be asked of a mixture that was left out: whether the others say anything of it (it lies in their span), whether it lies
among them (in their hull), or beyond. Predictions of the second kind are the only fair ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

from nmm.laws.core.fitting import Fit
from nmm.laws.forms.mixtures import fit_mixture
from nmm.laws.forms.parametric import fit_parametric
from nmm.laws.forms.worth import fit_worth
from nmm.laws.use.mixture_runs import MEAN, Shares, weights
from nmm.laws.use.selection import aicc, held_out_errors

if TYPE_CHECKING:
    import pandas as pd

POOLED, ADDITIVE, JOINT, WORTH = "Eq. 1, blind to the mixture", "additive", "joint", "worth of tokens"
INSIDE, BEYOND, UNTOLD = "among the others", "beyond the others", "not told by the others"
STEP = 0.01             # of the shares that are looked at
NEAR = 1e-6


def numbers_of_weights(law: str, k: int) -> int:
    """How many numbers of a law over k data types only the weights move: with fewer mixtures these are not known one by one."""
    return {POOLED: 0, WORTH: k, ADDITIVE: 1 + 2 * k, JOINT: 1 + 2 * k + 2 * (k + 1)}[law]


def refusal(law: str, mixtures: np.ndarray) -> str | None:
    """Why a law is not fitted to runs of these mixtures, (m, k), in one sentence; None where it can be.

    The published laws are fitted from k + 1 mixtures on: one is left out in turn, and fewer than k others span no plane of mixtures.
    """
    m, k = mixtures.shape
    if law == POOLED:
        return None
    if law == WORTH:
        if np.linalg.matrix_rank(mixtures, tol=NEAR) < k:
            return f"{law}: {m} mixtures do not tell the worth of {k} data types apart, for that takes {k} that lie on no line"
        return None
    if m < k + 1:
        return (f"{law}: {numbers_of_weights(law, k)} of its numbers are moved by the weights alone, and {m} mixtures are whole; "
                f"with fewer than {k + 1} none can be left out, so it is not fitted")
    return None


@dataclass(frozen=True)
class MixtureLaws:
    """Laws of several losses over the same runs.

    Attributes:
        fits: law -> loss -> fit; of a law that is refused, none.
        refused: law -> why.
        mixture: of each run, (n,); h: their shares, (n, k).
    """

    fits: dict[str, dict[str, Fit]]
    refused: dict[str, str]
    mixture: np.ndarray
    h: np.ndarray
    domains: tuple[str, ...]

    @property
    def trained(self) -> np.ndarray:
        """The different mixtures, (m, k)."""
        return np.unique(self.h.round(9), axis=0)


def fit_all(
    table: pd.DataFrame, shares: Shares, columns: Mapping[str, str], joint_of: Sequence[str] = (MEAN,),
) -> MixtureLaws:
    """Every law that these runs can hold, for every loss.

    Args:
        table: runs of whole mixtures: mixture, N, D and the losses.
        columns: loss -> its column: the data types of `shares`, and `MEAN`.
        joint_of: losses that the joint law is fitted to: each takes many seconds.
    """
    domains = tuple(kind for kind in columns if kind != MEAN)
    h = weights(table, shares, domains)
    N, D = table["N"].to_numpy(dtype=float), table["D"].to_numpy(dtype=float)
    trained = np.unique(h.round(9), axis=0).reshape(-1, len(domains))
    fits, refused = {}, {}
    for law in (POOLED, ADDITIVE, JOINT, WORTH):
        if reason := refusal(law, trained):
            refused[law] = reason
            continue
        fits[law] = {}
        for kind, column in columns.items():
            L = table[column].to_numpy(dtype=float)
            if law == POOLED:
                fits[law][kind] = fit_parametric(N, D, L)
            elif law == WORTH and kind != MEAN:
                fits[law][kind] = fit_worth(N, D, h, L, kind, domains)
            elif law == ADDITIVE or (law == JOINT and kind in joint_of):
                fits[law][kind] = fit_mixture(N, D, h, L, law, domains)
    return MixtureLaws(fits, refused, table["mixture"].to_numpy(), h, domains)


def place(mixture: np.ndarray, others: np.ndarray) -> str:
    """Where a mixture, (k,), lies beside others, (m, k): `INSIDE` their hull, `BEYOND` it, or off what they span: `UNTOLD`."""
    rank = np.linalg.matrix_rank(others, tol=NEAR)
    if np.linalg.matrix_rank(np.vstack([others, mixture]), tol=NEAR) > rank:
        return UNTOLD
    return INSIDE if nnls(others.T, mixture)[1] < NEAR else BEYOND


def compared(laws: MixtureLaws) -> pd.DataFrame:
    """Laws side by side, for every loss.

    Returns:
        A row a law and loss: law, loss, p, status, error [%] (mean absolute, in sample), AICc, `AICc difference` from the best law of
        that loss. The worth law of the mean is that of the three types averaged: its error alone is told.
    """
    import pandas as pd

    rows = []
    for law, by_kind in laws.fits.items():
        rows += [{"law": law, "loss": kind, "p": len(fit.phi), "status": fit.status,
                  "error [%]": 100 * float(np.mean(np.abs(fit.residuals))), "AICc": aicc(fit)} for kind, fit in by_kind.items()]
    found = pd.DataFrame(rows, columns=["law", "loss", "p", "status", "error [%]", "AICc"])
    return found.assign(**{"AICc difference": found["AICc"] - found.groupby("loss")["AICc"].transform("min")})


def held_out(laws: MixtureLaws) -> pd.DataFrame:
    """Every mixture left out in turn and predicted from the others.

    Returns:
        A row a law, loss and mixture: law, loss, mixture, where (`INSIDE`, `BEYOND` or `UNTOLD`), error and bias [%] (mean absolute and
        mean of ln predicted less ln observed; missing where the others do not tell, except of the blind law).
    """
    import pandas as pd

    names = pd.unique(laws.mixture)
    where = {name: place(laws.h[laws.mixture == name][0], np.unique(laws.h[laws.mixture != name].round(9), axis=0)) for name in names} \
        if len(names) > 1 else {}
    rows = []
    for law, by_kind in laws.fits.items():
        logs = {kind: held_out_errors(fit, laws.mixture) for kind, fit in by_kind.items()} if where else {}
        if law == WORTH and logs:
            observed = np.mean([by_kind[kind].observed for kind in laws.domains], axis=0)
            predicted = np.mean([by_kind[kind].observed * np.exp(logs[kind]) for kind in laws.domains], axis=0)
            logs[MEAN] = np.log(predicted) - np.log(observed)
        for kind, errors in logs.items():
            for name, at in where.items():
                mine = errors[laws.mixture == name] if at != UNTOLD or law == POOLED else np.array([np.nan])
                rows.append({"law": law, "loss": kind, "mixture": name, "where": at, "error [%]": 100 * float(np.mean(np.abs(mine))),
                             "bias [%]": 100 * float(np.mean(mine))})
    return pd.DataFrame(rows, columns=["law", "loss", "mixture", "where", "error [%]", "bias [%]"])


def simplex(step: float = STEP) -> np.ndarray:
    """All shares of three data types in multiples of a step, (m, 3).

    Raises:
        ValueError: the step does not divide one.
    """
    n = round(1 / step)
    if n < 1 or abs(n * step - 1) > 1e-9:
        raise ValueError(f"the step must divide 1: got {step}")
    return np.array([(i, j, n - i - j) for i in range(n + 1) for j in range(n + 1 - i)]) / n


def in_hull(points: np.ndarray, mixtures: np.ndarray, slack: float = 0.0) -> np.ndarray:
    """Which points (m, 3) of the triangle lie among the mixtures, (m,) booleans; `slack` is a distance that still counts."""
    return np.array([nnls(mixtures.T, point)[1] <= slack + NEAR for point in points])


@dataclass(frozen=True, kw_only=True)
class Best:
    """The shares with the lowest weighted loss among the trained mixtures and anywhere, as one law has them.

    Attributes:
        h: within the hull of the trained mixtures, (k,); low, high: interval of each share; draws: of every resample, (n, k).
        anywhere: over the whole triangle, (k,), which beyond the hull is a guess; draws_anywhere as above.
        grid: points (m, k), their weighted loss over the best within the hull [%], and whether they lie in the hull.
        corner: whether the best anywhere is a single data type; edge: whether the best within the hull lies on its edge, so that the law
            would go on.
    """

    domains: tuple[str, ...]
    h: np.ndarray
    low: np.ndarray
    high: np.ndarray
    draws: np.ndarray
    anywhere: np.ndarray
    draws_anywhere: np.ndarray
    points: np.ndarray
    excess: np.ndarray
    inside: np.ndarray
    corner: bool
    edge: bool


def checked_targets(targets: Mapping[str, float], domains: Sequence[str]) -> np.ndarray:
    """Target weights in the order of the data types, summing to one, (k,).

    Raises:
        ValueError: other names than the data types, a negative or infinite weight, or all zero.
    """
    if set(targets) != set(domains):
        raise ValueError(f"target weights must name {', '.join(domains)}: got {', '.join(map(str, targets))}")
    values = np.array([float(targets[kind]) for kind in domains])
    if not np.all(np.isfinite(values) & (values >= 0)) or not values.sum() > 0:
        raise ValueError(f"target weights must be finite, none negative and not all zero: got {dict(targets)}")
    return values / values.sum()


def best(
    fits: Mapping[str, Fit], targets: Mapping[str, float], trained: np.ndarray, N: float, D: float, cluster: np.ndarray, n: int = 100,
    seed: int = 0, step: float = STEP, level: float = 0.95,
) -> Best:
    """The best shares of one law, with intervals over resampled trunks: the same trunks for all losses.

    Args:
        fits: data type -> law of its loss over N, D and h; all of the same runs.
        targets: importance of each data type's loss.
        trained: the mixtures of the runs, (m, 3); N, D: the model and budget to mix for; cluster: the trunk of each run.
    Raises:
        ValueError: as `checked_targets`, or a law over other than three data types.
    """
    domains = tuple(fits)
    importance = checked_targets(targets, domains)
    if len(domains) != 3:
        raise ValueError(f"the triangle has three data types: got {len(domains)}")
    points = simplex(step)
    slack = step / 2        # a trained mixture between two points of the grid, and the line between two mixtures, count
    inside = in_hull(points, trained, slack)
    columns = {"N": np.full(len(points), float(N)), "D": np.full(len(points), float(D)), "h": points}

    def total(thetas: Mapping[str, np.ndarray]) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            losses = [np.atleast_2d(fits[kind].law.predict(fits[kind].law.natural(thetas[kind]), columns)) for kind in domains]
        found = np.tensordot(importance, np.array(losses), axes=1)
        return np.where(np.isfinite(found), found, np.inf)

    whole = total({kind: fit.theta for kind, fit in fits.items()})[0]
    draws = total({kind: fit.bootstrap(n, seed, starts=1, cluster=cluster).theta for kind, fit in fits.items()})
    among, among_draws = np.where(inside, whole, np.inf), np.where(inside, draws, np.inf)
    at, free = int(np.argmin(among)), int(np.argmin(whole))
    picked = points[np.argmin(among_draws, axis=1)]
    low, high = np.quantile(picked, [(1 - level) / 2, (1 + level) / 2], axis=0)
    around = np.abs(points - points[at]).max(axis=1) <= 1.5 * step      # the point and its six neighbours
    return Best(
        domains=domains, h=points[at], low=np.minimum(low, points[at]), high=np.maximum(high, points[at]), draws=picked,
        anywhere=points[free], draws_anywhere=points[np.argmin(draws, axis=1)], points=points, excess=100 * (whole / among[at] - 1),
        inside=inside, corner=bool(points[free].max() >= 1 - step / 2), edge=bool((whole[around & ~inside] < among[at]).any()),
    )
