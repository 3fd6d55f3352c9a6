"""How many experts: mixtures of several numbers of experts beside the dense model of their active size, and laws in the sparsity S.

The number of experts is 1 for the dense model. A law of ten numbers can fit what few sparsities cannot tell apart, so the law of Table 12
is held against simpler ones (`nmm.laws.forms.sparse`): by `nmm.laws.use.joint.tests`, which know that runs share trunks, and by a number
of experts that is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core import solver
from nmm.laws.core.fitting import Fit
from nmm.laws.forms.sparse import FORMS, NONE, ONE_FLOOR, TABLE_12, TOKENS, WORTH, fit_form
from nmm.laws.use import cells
from nmm.laws.use.families import FINE, LOSS
from nmm.laws.use.joint import LEVEL, Tested, same_cells
from nmm.laws.use.paired import MIN_SEEDS, interval, percent
from nmm.laws.use.selection import held_out_errors

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMS", "NONE", "ONE_FLOOR", "TABLE_12", "TOKENS", "WORTH", "SparseFamily", "agreed", "beside_dense", "doubling", "held_out",
           "noise", "numbers", "of_runs", "saved", "simplest", "worth"]
CHAIN = (TABLE_12, ONE_FLOOR, WORTH, NONE)      # each holds the next
LEAST = 3           # numbers of experts, the dense model's among them, below which there is no law in S


def of_runs(table: pd.DataFrame, dense: str) -> pd.DataFrame:
    """The dense runs and those of mixtures that differ from them in experts alone, with experts and S = 1 - active / all experts.

    Left out are experts decreed by modality, several active experts, and mixtures of another number of layers or another mixture of data.

    Args:
        table: finished runs: arm, arch, mixture, n_layers, n_experts, top_k, routing.
        dense: name of the dense arm.
    Raises:
        ValueError: there are no runs of the dense arm, or they differ in layers.
    """
    import pandas as pd

    mine = table[table["arm"] == dense]
    if not len(mine):
        raise ValueError(f"no runs of arm {dense!r}: there are {', '.join(map(str, table['arm'].unique())) or 'none'}")
    if mine["n_layers"].nunique() > 1:
        raise ValueError(f"runs of {dense!r} have {', '.join(map(str, sorted(mine['n_layers'].unique())))} layers: give those of one depth")
    sparse = table[(table["arch"] == "moe") & (table["routing"] == "learned") & (table["top_k"] == 1)
                   & (table["n_layers"] == mine["n_layers"].iloc[0]) & table["mixture"].isin(mine["mixture"])]
    both = pd.concat([mine.assign(experts=1, S=0.0),
                      sparse.assign(experts=sparse["n_experts"].astype(int), S=1 - sparse["top_k"] / sparse["n_experts"])])
    return both.sort_values(["experts", "N", "D", "seed"], kind="stable").reset_index(drop=True)


def beside_dense(runs: pd.DataFrame, column: str = "L") -> pd.DataFrame:
    """The loss of each number of experts beside the dense model of the same active size, budget and seed, by size and over all of them.

    Args:
        runs: of `of_runs`, with size, N, budget, seed.
    Returns:
        A row a number of experts and size: experts, size ("all" over the sizes that every number has), N, value, low, high [%], seeds,
        verdict. Numbers without a common cell have no row.
    """
    import pandas as pd

    rows, arms = [], runs.assign(arm=runs["experts"].astype(str))
    common = _common(arms)
    for number in sorted(set(runs["experts"]) - {1}):
        apart = cells.differences(arms, str(number), "1", column, ["size", "budget"], log=True)
        sizes = [(size, one) for size, one in apart.groupby("size", sort=False)]
        shared = apart.merge(common, on=["size", "budget", "seed"]) if len(common) else apart.iloc[:0]
        for size, one in [*sizes, *([("all", shared)] if len(shared) else [])]:
            found = cells.overall(one)
            value, low, high = percent(np.array([found.value, found.low, found.high]))
            N = runs.loc[runs["size"] == size, "N"].iloc[0] if size != "all" else np.nan
            rows.append({"experts": number, "size": size, "N": N, "value": value, "low": low, "high": high, "seeds": found.seeds,
                         "verdict": found.verdict})
    return pd.DataFrame(rows, columns=["experts", "size", "N", "value", "low", "high", "seeds", "verdict"])


def doubling(runs: pd.DataFrame, column: str = "L", level: float = 0.95):
    """Change of ln of the loss where the number of experts doubles, from the first mixture on, by seed: an `Interval`, or None.

    Over cells that every number of experts has; None where there are fewer than two mixtures or no such cell.
    """
    sparse = runs[runs["experts"] > 1]
    common = _common(sparse.assign(arm=sparse["experts"].astype(str)))
    if sparse["experts"].nunique() < 2 or not len(common):
        return None
    kept = sparse.merge(common, on=["size", "budget", "seed"])
    kept = kept.assign(x=np.log2(kept["experts"]), difference=np.log(kept[column]))
    means = kept.groupby(["seed", "x"], as_index=False)["difference"].mean()
    return cells.slope(means, "x", level)


def _common(arms: pd.DataFrame) -> pd.DataFrame:
    """The cells (size, budget, seed) that every arm has."""
    keys = ["size", "budget", "seed"]
    try:
        return same_cells(arms, keys)[keys].drop_duplicates()
    except ValueError:
        return arms[keys].iloc[:0]


class SparseFamily:
    """The law of Table 12 and simpler ones on the same runs, by least squares of ln L: a `Family` for `nmm.laws.use.joint.tests`.

    Args:
        N: active parameters; D [tokens]; S; L [nats/token]; (n,) each.
        floor: E where it is known [nats/token]; None: fitted.
    Raises:
        ValueError: bad values, a floor that a loss does not exceed, or fewer than three sparsities.
    """

    pairs = (*zip(CHAIN, CHAIN[1:]), (TOKENS, WORTH))

    def __init__(self, N, D, S, L, floor: float | None = None):
        S = np.asarray(S, dtype=float)
        if len(np.unique(S)) < LEAST:
            raise ValueError(f"a law in S needs {LEAST} numbers of experts at least, the dense model's among them: got S = "
                             f"{', '.join(f'{each:g}' for each in np.unique(S)) or 'none'}")
        self.floor, self.fits = floor, {form: fit_form(N, D, S, L, form, floor, LOSS) for form in FORMS}
        self.columns, self.observed = self.fits[NONE].columns, self.fits[NONE].observed
        self.n = len(self.observed)

    @property
    def identified(self) -> dict[str, bool]:
        """Whether the runs determine every number of a form."""
        return {form: fit.status in FINE for form, fit in self.fits.items()}

    def unknowns(self, sharing: str) -> int:
        """As in `Family`."""
        return len(self.fits[sharing].phi)

    def predicted(self, sharing: str) -> np.ndarray:
        """As in `Family`."""
        return np.log(self.fits[sharing].predicted)

    def squares(self, sharing: str, observed: np.ndarray, near: str = "") -> np.ndarray:
        """As in `Family`."""
        fit = self.fits[sharing]
        starts = [fit.theta]
        if near:
            narrow = self.fits[near]
            starts.append(narrow.law.widened(narrow.theta, fit.law, float(np.exp(np.log(self.columns["N"]).mean()))))
        best = np.full(len(observed), np.inf)
        for start in starts:
            begin = np.repeat(np.linalg.solve(fit.bound.transform, start)[None], len(observed), axis=0)
            found = solver.minimise(fit.bound, LOSS, np.exp(observed), begin, tolerance=1e-7)
            best = np.fmin(best, found.objective)
        return 2 * LOSS.unit**2 * best

    @cached_property
    def errors(self) -> dict[str, float]:
        """Root mean square error of each form on the runs that it was fitted to [%]."""
        return {form: 100 * float(np.sqrt(np.mean(fit.residuals**2))) for form, fit in self.fits.items()}


def simplest(found: Sequence[Tested]) -> str:
    """The simplest form of the chain that the tests do not speak against: by p-values alone, whether or not seeds are enough."""
    by_pair, stands = {(one.wide, one.narrow): one for one in found}, TABLE_12
    for wide, narrow in zip(CHAIN, CHAIN[1:]):
        if by_pair[wide, narrow].p_trunks < LEVEL:
            break
        stands = narrow
    return stands


def agreed(found: Sequence[Tested]) -> bool:
    """Whether every test on the way to `simplest`, and the one that stopped there, is resolved."""
    stands = simplest(found)
    on_the_way = CHAIN[: CHAIN.index(stands) + 2]
    return all(one.verdict != "unresolved" for one in found if (one.wide, one.narrow) in set(zip(on_the_way, on_the_way[1:])))


def numbers(fit: Fit, cluster: np.ndarray | None, level: float = 0.95) -> pd.DataFrame:
    """Every number of a law with its profile interval: a row a number with value, low, high, identified.

    Identified is a number that the fit does not name as undetermined and whose interval has two ends; a coefficient's lower end is above 0.

    Args:
        cluster: trunk of each run (n_runs,).
    """
    import pandas as pd

    profile, rows = fit.profile(cluster), {}
    for parameter in fit.law.parameters:
        named = parameter.name in fit.unidentified      # there is nothing to profile
        low, high = (0.0 if parameter.log else -np.inf, np.inf) if named else profile.interval(parameter.name, level)
        held = low > 0 if parameter.log else np.isfinite(low)
        rows[parameter.name] = {"value": fit.values[parameter.name], "low": low, "high": high,
                                "identified": bool(not named and held and np.isfinite(high))}
    return pd.DataFrame.from_dict(rows, orient="index")


def _quantity(fit: Fit, cluster: np.ndarray | None, quantity: Callable, level: float) -> dict[str, float]:
    import pandas as pd

    low, high = fit.profile(cluster).interval(quantity, level)
    value = float(quantity(pd.DataFrame([fit.values])).iloc[0])
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def worth(fit: Fit, experts: int, cluster: np.ndarray | None, level: float = 0.95) -> dict[str, float]:
    """How many times its active parameters a dense model needs for a mixture's loss, where parameters count for more: value, low, high.

    Raises:
        ValueError: the form has another term in N or other effects of S, so that there is no one such number.
    """
    if fit.law.form != WORTH:
        raise ValueError(f"a parameter has one worth in the form {WORTH!r} alone: got {fit.law.form!r}")
    found = _quantity(fit, cluster, lambda of: np.log(experts) * of["delta"] / of["gamma"], level)
    return {end: float(np.exp(min(value, 700.0))) for end, value in found.items()}


def saved(fit: Fit, experts: int, N: float, D: float, cluster: np.ndarray | None, level: float = 0.95) -> dict[str, float]:
    """By a law, the loss of a mixture beside that of the dense model of its active size [%]: value, low, high.

    Args:
        experts: of which one is active; N: active parameters; D [tokens].
    """
    law, both = fit.law, {"N": np.full(2, float(N)), "D": np.full(2, float(D)), "S": np.array([0.0, 1 - 1 / experts])}

    def ratio(of: pd.DataFrame) -> pd.Series:
        L = law.predict(of[list(law.names)].to_numpy(dtype=float), both)
        return of[law.names[0]] * 0 + np.log(L[:, 1] / L[:, 0])

    found = _quantity(fit, cluster, ratio, level)
    return {end: float(percent(value)) for end, value in found.items()}


def held_out(family: SparseFamily, experts: np.ndarray, seed: np.ndarray, forms: Sequence[str] = tuple(FORMS)) -> pd.DataFrame:
    """Each number of experts predicted by laws fitted to all others.

    Args:
        experts, seed: of each run (n_runs,).
    Returns:
        A row a form and number: form, experts, error (mean absolute) [%], bias (ln predicted - ln observed) [%], low, high (over seeds),
        seeds, resolved (whether the bias is told from zero), runs.
    """
    import pandas as pd

    rows, experts, seed = [], np.asarray(experts), np.asarray(seed)
    for form in forms:
        errors = held_out_errors(family.fits[form], experts, starts=3)
        for number in np.unique(experts):
            mine = experts == number
            by_seed = pd.Series(errors[mine]).groupby(seed[mine]).mean()
            if not np.isfinite(errors[mine]).all():
                continue
            found = interval(by_seed.to_numpy())
            rows.append({"form": form, "experts": int(number), "error": 100 * float(np.abs(errors[mine]).mean()), "bias": 100 * found.value,
                         "low": 100 * found.low, "high": 100 * found.high, "seeds": found.seeds,
                         "resolved": found.seeds >= MIN_SEEDS and found.resolved, "runs": int(mine.sum())})
    return pd.DataFrame(rows, columns=["form", "experts", "error", "bias", "low", "high", "seeds", "resolved", "runs"])


def noise(runs: pd.DataFrame, column: str = "L") -> float:
    """Standard deviation between seeds of one number of experts, size and budget [%]; NaN where no cell has two.

    Args:
        runs: of `of_runs`.
    """
    logs = np.log(runs[column])
    groups = [runs["experts"], runs["size"], runs["budget"]]
    count = logs.groupby(groups).transform("size")
    free = float((1 - 1 / count).sum())
    rest = logs - logs.groupby(groups).transform("mean")
    return 100 * float(np.sqrt(np.sum(rest**2) / free)) if free > 0.5 else float("nan")
