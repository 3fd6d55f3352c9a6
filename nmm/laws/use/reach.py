"""How far beyond its runs a fit may be trusted: Eq. 1 fitted to the runs up to a compute, and held against all dearer ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core import solver
from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.noise import checked_labels
from nmm.laws.forms.optimum import FLOPS_PER_PARAMETER_TOKEN
from nmm.laws.forms.parametric import ParametricFit, fit_parametric

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 10                 # runs below which nothing is fitted
SIZES, BUDGETS = 4, 3       # different ones that a fit needs: three sizes leave E, A and alpha free to take each other's place
FLAT = 1e-3                 # how far predictions of equally good minima may lie apart [log units]
TRUNKS = 8                  # fewer are not resampled: too many resamples would lack the sizes that hold an exponent
EDGES = (1.0, 2.0, 4.0, 8.0, 16.0, 64.0)    # of how far predictions reach, C predicted over the largest C fitted
FEW = 5                     # runs below which R2 says how they scatter and nothing of the law
FINE = ("ok", "weak")
AS_GOOD = 1e-6              # relative excess of an objective up to which a minimum is as good


def beyond(N, D, L, cluster, cuts: int = 6, n: int = 40, seed: int = 0, level: float = 0.95) -> pd.DataFrame:
    """Every run predicted from all cheaper ones, at several cuts in compute.

    Args:
        N, D, L: as in `fit_parametric`, (n_runs,).
        cluster: trunk of each run (n_runs,).
        cuts: at most so many, evenly over those that leave runs enough to fit and one to predict.
        n: resamples behind a prediction interval: of trunks where the runs fitted have `TRUNKS` of them, else of runs.
    Returns:
        A row a run predicted and a cut: cut (largest C fitted) [FLOPs], N, D, C, reach (C / cut), error (ln predicted - ln observed),
        inside (whether its interval holds the run), status of the fit ("unidentified" also where minima as good predict otherwise),
        fitted (runs), trunk, sibling (whether a run of its trunk was fitted), trunks_drawn.
    Raises:
        ValueError: bad values, or no cut leaves enough.
    """
    import pandas as pd

    checked = checked_columns(N=N, D=D, L=L)
    N, D, L, labels = checked["N"], checked["D"], checked["L"], checked_labels(cluster, len(checked["L"]))
    order = np.lexsort((labels, L, D, N))       # resampled runs are drawn by their place
    N, D, L, labels = N[order], D[order], L[order], labels[order]
    C = FLOPS_PER_PARAMETER_TOKEN * N * D
    levels = np.unique(C.round(-int(np.log10(C.min())) + 3))
    usable = [cut for cut in levels if _enough(N, D, C <= cut * 1.001) and np.any(C > cut * 1.01)]
    if not usable:
        raise ValueError(f"a fit needs {FEWEST} runs of {SIZES} sizes and {BUDGETS} budgets, and a dearer run: no cut of {len(N)} has that")
    rows = []
    for cut in [usable[i] for i in np.unique(np.linspace(0, len(usable) - 1, min(cuts, len(usable))).round().astype(int))]:
        known = C <= cut * 1.001
        fit = fit_parametric(N[known], D[known], L[known])
        mine = labels[known]
        drawn = len(np.unique(mine)) >= TRUNKS
        held = {"N": N[~known], "D": D[~known]}
        low, high = fit.bootstrap(n, seed, starts=1, cluster=mine if drawn else None).prediction_interval(held, level)
        rows.append(pd.DataFrame({
            "cut": cut, **held, "C": C[~known], "reach": C[~known] / cut, "error": np.log(fit.predict(**held)) - np.log(L[~known]),
            "inside": (low <= L[~known]) & (L[~known] <= high), "fitted": int(known.sum()),
            "status": "unidentified" if _flat(fit, held) else fit.status, "trunk": labels[~known],
            "sibling": np.isin(labels[~known], mine), "trunks_drawn": drawn,
        }))
    return pd.concat(rows, ignore_index=True)


def by_reach(found: pd.DataFrame, edges: Sequence[float] = EDGES, n: int = 400, seed: int = 0, level: float = 0.95) -> pd.DataFrame:
    """Root mean square error by how far predictions reach, with percentiles over the trunks of the runs predicted.

    Fits that are not fine (their status) have rows of their own. The interval is not of the fit's luck: that is in `inside`.

    Args:
        found: of `beyond`, with noise: the standard deviation between seeds of each cell predicted [log units].
        edges: of the bins of reach.
    Returns:
        Columns from, to, reach (geometric mean), error, low, high, noise (root mean square) [%], inside (share), runs (predictions),
        fits, trunks, status ("fine" or what they are).
    """
    import pandas as pd

    rng, rows = np.random.default_rng(seed), []
    fine = found["status"].where(~found["status"].isin(FINE), "fine")
    for status in ("fine", *sorted(set(fine) - {"fine"})):
        for low, high in zip(edges, edges[1:]):
            here = found[(fine == status) & (found["reach"] > low) & (found["reach"] <= high)]
            if not len(here):
                continue
            squares = _by_trunk(here["error"] ** 2, here["trunk"])
            drawn = np.sqrt(_resampled_means(squares, n, rng))
            ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if len(squares) > 2 else (np.nan, np.nan)
            rows.append({
                "from": low, "to": high, "reach": float(np.exp(np.log(here["reach"]).mean())),
                "error": 100 * float(np.sqrt((here["error"] ** 2).mean())),
                "low": 100 * float(ends[0]), "high": 100 * float(ends[1]), "noise": 100 * float(np.sqrt((here["noise"] ** 2).mean())),
                "inside": float(here["inside"].mean()), "runs": len(here),
                "fits": here["cut"].nunique(), "trunks": len(squares), "status": status,
            })
    return pd.DataFrame(rows)


def trusted(table: pd.DataFrame, factor: float = 2.0) -> tuple[float, float]:
    """How far predictions may be trusted: up to where the error's interval stays below `factor` times the noise of the runs predicted.

    Bins with fewer than `TRUNKS` trunks decide neither.

    Args:
        table: of `by_reach`.
    Returns:
        The end of the last bin of a row of good bins from the nearest on (1 where there is none), and the beginning of the first bin whose
        whole interval lies above (infinite where there is none): between the two the runs leave it open.
    """
    good, bad = 1.0, np.inf
    fine = table[table["status"] == "fine"].sort_values("from")
    for _, row in fine.iterrows():
        if not (row["high"] <= factor * row["noise"] and row["trunks"] >= TRUNKS):
            break
        good = float(row["to"])
    above = fine.loc[(fine["low"] > factor * fine["noise"]) & (fine["trunks"] >= TRUNKS), "from"]
    return good, float(above.min()) if len(above) else bad


def side(found: pd.DataFrame, n: int = 400, seed: int = 0, level: float = 0.95) -> tuple[float, float, float]:
    """Mean error of the fits that are fine [%], above zero where they promise too high a loss, with percentiles over the trunks predicted;
    without ends where trunks are fewer than `TRUNKS`.

    Args:
        found: of `beyond`.
    """
    fine = found[found["status"].isin(FINE)]
    sums = _by_trunk(fine["error"], fine["trunk"])
    if len(sums) < TRUNKS:
        return 100 * float(fine["error"].mean()), np.nan, np.nan
    low, high = np.quantile(_resampled_means(sums, n, np.random.default_rng(seed)), [(1 - level) / 2, (1 + level) / 2])
    return 100 * float(fine["error"].mean()), 100 * float(low), 100 * float(high)


def errors(fit: ParametricFit, observed: np.ndarray, logs: np.ndarray) -> dict[str, float]:
    """MSE [nats^2], R2 and MAE [%] as in Table 10, from errors ln predicted - ln observed (n,) of runs; fewer than `FEW` have no R2."""
    predicted = observed * np.exp(logs)
    around = np.sum((observed - observed.mean()) ** 2)
    return {"runs": len(observed), "MSE": float(np.mean((predicted - observed) ** 2)),
            "R2": float(1 - np.sum((predicted - observed) ** 2) / around) if around > 0 and len(observed) >= FEW else float("nan"),
            "MAE [%]": 100 * float(np.mean(np.abs(predicted / observed - 1))), "status": fit.status}


def spreads(fit: ParametricFit, cluster: np.ndarray | None, n: int = 100, seed: int = 0) -> dict[str, float]:
    """Standard deviation over `n` resamples of E, alpha, beta, a, b and d, as in Table 11; missing where trunks are fewer than `TRUNKS`.

    Args:
        cluster: trunk of each run (n_runs,); None resamples runs, as the paper does.
    """
    names = ("E", "alpha", "beta", "a", "b", "d")
    if cluster is not None and len(np.unique(cluster)) < TRUNKS:
        return dict.fromkeys(names, float("nan"))
    samples = fit.bootstrap(n, seed, starts=2, cluster=cluster).samples[list(names)]
    samples = samples[np.isfinite(samples).all(axis=1)]
    return samples.std(ddof=1).to_dict()


def _by_trunk(values: pd.Series, trunk: pd.Series) -> np.ndarray:
    """Sum and number of the values of each trunk, (trunks, 2)."""
    return values.groupby(trunk).agg(["sum", "size"]).to_numpy()


def _resampled_means(sums: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Means over `n` resamples of whole trunks, (n,), from the sums of `_by_trunk`."""
    picked = rng.integers(0, len(sums), (n, len(sums)))
    return sums[picked, 0].sum(axis=1) / sums[picked, 1].sum(axis=1)


def _enough(N: np.ndarray, D: np.ndarray, rows: np.ndarray) -> bool:
    budgets = np.unique(np.log(D[rows]).round(1))
    return bool(rows.sum() >= FEWEST and len(np.unique(N[rows])) >= SIZES and len(budgets) >= BUDGETS)


def _flat(fit: ParametricFit, held: dict[str, np.ndarray]) -> bool:
    """Whether minima that other starts found are as good and predict otherwise: then the order of the rows picks among them."""
    found = solver.continuation(fit.bound, fit.loss, fit.observed, np.vstack([fit.phi, fit.alternatives]))
    as_good = found.phi[found.objective <= found.objective.min() * (1 + AS_GOOD)] @ fit.bound.transform.T
    return bool(np.ptp(np.log(fit.law.predict(fit.law.natural(as_good), held)), axis=0).max() > FLAT)


def noise_near(N, D, cells: pd.DataFrame) -> np.ndarray:
    """The standard deviation between seeds at each N and D: that of the nearest cell that is known, in log size and log tokens, (n,).

    Args:
        N: [parameters], D: [tokens], (n,).
        cells: N, D and noise [log units] of cells with several seeds.
    Raises:
        ValueError: no cell is known.
    """
    if not len(cells):
        raise ValueError("no cell has several seeds: the noise between them is not known")
    cells = cells.sort_values(["N", "D"])
    x, y = (np.log(np.asarray(here, dtype=float))[:, None] - np.log(cells[name].to_numpy())[None] for here, name in ((N, "N"), (D, "D")))
    return cells["noise"].to_numpy()[np.argmin(x**2 + y**2, axis=1)]
