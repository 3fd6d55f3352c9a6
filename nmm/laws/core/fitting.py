"""A fitted law: the values, how sure the minimum is, and what the data does not determine."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nmm.laws.core import judgement, solver
from nmm.laws.core.fitted import MANY, Fitted
from nmm.laws.core.law import Bound, Law
from nmm.laws.core.losses import Loss
from nmm.laws.core.uncertainty import Bootstrap, Intervals, bootstrap

AGREE = 1e-9  # relative excess below which two starts found the same minimum
FEW_UNKNOWNS = 12  # laws of more get one round: it costs seconds
STEEP = 5.0  # an exponent above it is no law: the term is a step at the smallest run
ALONE = 1e-3  # relative excess of the next minimum above which a minimum that one start found is doubted
RESTARTS, RESTART_ROUNDS = 24, 6  # resampled restarts in a round, and rounds, when starts disagree
WALKERS, WALKS = 3, 10  # minima that are followed on when the best has not converged, and how often


@dataclass(frozen=True)
class Starts:
    """How the minimum was found: `agree` of `count` starts reach `best`; `next_best` is the next minimum or None.

    With very many runs the starts are compared on a sample, and the objectives are those of the sample.
    """

    count: int
    agree: int
    best: float
    next_best: float | None
    objectives: np.ndarray  # of every start, sorted


@dataclass(frozen=True, kw_only=True)
class Fit(Fitted):
    """A law fitted to runs.

    `status` is "ok"; "weak" (usable, something is loose); "misfit" (the law does not describe the runs, or failed on
    runs held out); or "unidentified". `warnings` say why, `outliers` are positions of the runs far off.
    """

    objective: float  # as the loss defines it, unscaled
    starts: Starts
    status: str
    warnings: tuple[str, ...]
    outliers: np.ndarray  # positions, the farthest first

    def with_warnings(self, words: list[str]) -> Fit:
        """The same fit with more warnings; "ok" becomes "weak"."""
        if not words:
            return self
        return replace(self, status="weak" if self.status == "ok" else self.status, warnings=(*self.warnings, *words))

    def failed(self, words: str) -> Fit:
        """The same fit with the status "misfit" and the reason, unless it is unidentified anyway."""
        return replace(self, status=self.status if self.status == "unidentified" else "misfit", warnings=(*self.warnings, words))

    def profile(self, cluster: np.ndarray | None = None) -> Intervals:
        """Intervals by profile likelihood; `cluster` names, for each run, what it shares its luck with.

        Args:
            cluster: (n,) labels, such as size and seed of the trunk that a run branched from.
        Raises:
            ValueError: not one label a run, or a single cluster.
        """
        return Intervals(self, cluster)

    def bootstrap(self, n: int = 1000, seed: int = 0, starts: int = 5, cluster: np.ndarray | None = None) -> Bootstrap:
        """Refit `n` resamples of the runs, or of whole clusters; see `nmm.laws.core.uncertainty.Bootstrap`."""
        return bootstrap(self, n=n, seed=seed, starts=starts, cluster=cluster)


def solve_from(
    bound: Bound, loss: Loss, observed: np.ndarray, starts: np.ndarray, sample: tuple[Bound, np.ndarray] | None
) -> tuple[solver.Solution, Starts]:
    """Minimise from every start; with a `sample` (its law and row numbers) compare the starts on it, then polish."""
    if sample is not None:
        small, rows = sample
        found, summary = solve_from(small, loss, observed[rows], recentred(starts, bound, small), None)
        distinct = [found.phi[0]]
        for phi, before, after in zip(found.phi[1:], found.objective, found.objective[1:]):
            if after > before * (1 + 1e-6) and len(distinct) < 3:
                distinct.append(phi)
        return _sorted(solver.continuation(bound, loss, observed, recentred(np.array(distinct), small, bound))), summary
    solution = _sorted(solver.continuation(bound, loss, observed, starts))
    if not np.isfinite(solution.objective[0]):
        raise ValueError("no start gives a finite loss: check the units of the columns")
    return solution, _summary(bound, loss, solution)


def _summary(bound: Bound, loss: Loss, solution: solver.Solution) -> Starts:
    """How the minima of a sorted solution compare."""
    total = loss.total(solution.objective[np.isfinite(solution.objective)], bound.n)
    same = total <= total[0] * (1 + AGREE) + solver.ABSOLUTE_TOLERANCE * loss.unit**2
    next_best = float(total[~same][0]) if not same.all() else None
    return Starts(len(solution.objective), int(same.sum()), float(total[0]), next_best, total)


def restarted(
    bound: Bound, loss: Loss, observed: np.ndarray, solution: solver.Solution
) -> tuple[solver.Solution, Starts]:
    """More starts where the first did not agree: the optima of resampled runs, from the best minima so far.

    A small Huber threshold makes hundreds of shallow minima; a resample has other ones, and its optimum is a good
    start for the full data (bootstrap restarting, Wood 2001). Rounds go on while they find something lower.
    """
    rng, share = np.random.default_rng(0), np.full(bound.n, 1 / bound.n)
    for _ in range(RESTART_ROUNDS if solution.phi.shape[1] <= FEW_UNKNOWNS else 1):
        weights = rng.multinomial(bound.n, share, size=RESTARTS).astype(float)
        from_best = solution.phi[np.arange(RESTARTS) % min(4, len(solution.phi))]
        moved = solver.minimise(bound, loss, observed, from_best, weights, tolerance=1e-6)
        found = solver.minimise(bound, loss, observed, moved.phi)
        lowest = solution.objective[0]
        joined = [np.concatenate(pair) for pair in zip(vars(solution).values(), vars(found).values())]
        solution = _sorted(solver.Solution(*joined))
        if not solution.objective[0] < lowest * (1 - AGREE):
            break
    return solution, _summary(bound, loss, solution)


def followed(bound: Bound, loss: Loss, observed: np.ndarray, solution: solver.Solution) -> tuple[solver.Solution, Starts]:
    """The lowest few minima followed on until the best has converged: a bent valley takes more steps than a start is given."""
    phi, objective, converged = (part.copy() for part in vars(solution).values())
    for _ in range(WALKS):
        found = solver.minimise(bound, loss, observed, phi[:WALKERS])
        phi[:WALKERS], objective[:WALKERS], converged[:WALKERS] = vars(found).values()
        best = int(np.argmin(objective))
        if converged[best]:
            break
    solution = _sorted(solver.Solution(phi, objective, converged))
    return solution, _summary(bound, loss, solution)


def _sorted(solution: solver.Solution) -> solver.Solution:
    """The same minima, lowest first."""
    order = np.argsort(np.where(np.isfinite(solution.objective), solution.objective, np.inf))
    return solver.Solution(solution.phi[order], solution.objective[order], solution.converged[order])


def recentred(phi: np.ndarray, source: Bound, target: Bound) -> np.ndarray:
    """Coordinates of `source` rewritten as those of `target`: each centres on its own rows."""
    return np.linalg.solve(target.transform, source.transform @ phi.T).T


def loose_parameters(fit_bound: Bound, law: Law, loss: Loss, observed: np.ndarray, phi: np.ndarray) -> list[str]:
    """Parameters whose standard error is large: over a third of E, half of an exponent, 1.5 log units of a coefficient.

    The covariance is the Gauss-Newton one with a robust scale of the residuals, good enough to raise a flag.
    """
    rows = slice(0, min(fit_bound.n, MANY))
    prediction, jacobian, _ = fit_bound.evaluate(phi[None], rows)
    sensitivity = (jacobian[0] / prediction[0]).T @ np.linalg.inv(fit_bound.transform)
    residual = np.log(prediction[0]) - np.log(observed[rows])
    # Huber's estimate with a threshold far below the noise has the efficiency of a median, 2/pi.
    spread = (
        (1.2533 if loss.robust else 1.0)
        * 1.4826
        * np.median(np.abs(residual))
        * np.sqrt(len(residual) / max(len(residual) - len(phi), 1))
    )
    scale = np.sqrt(np.maximum(np.sum(sensitivity**2, axis=0), 1e-300))
    values, vectors = np.linalg.eigh((sensitivity / scale).T @ (sensitivity / scale))
    variance = np.sum(vectors**2 / np.maximum(values, 1e-15), axis=1)
    error = spread * np.sqrt(variance) / scale
    theta = fit_bound.transform @ phi
    allowed = [
        1 / 3 if q.name == "E" else 1.5 if q.log else 0.5 * abs(t) if q.positive else np.inf
        for q, t in zip(law.parameters, theta)
    ]
    return [q.name for q, e, limit in zip(law.parameters, error, allowed) if e > limit]


def fit_law(
    law: Law,
    columns: dict[str, np.ndarray],
    observed: np.ndarray,
    loss: Loss,
    starts: np.ndarray,
    kind: type[Fit] = Fit,
    unidentified: list[str] = (),
    warnings: list[str] = (),
    sample: bool = False,
) -> Fit:
    """Fit any law from given starts (k, p), natural logs and exponents, and judge the result.

    Returns:
        a Fit of class `kind`; its status says whether the answer can be used.
    """
    bound = law.bind(columns)
    begin = np.linalg.solve(bound.transform, np.atleast_2d(starts).T).T
    # Far outside this band a term is nothing or everything, its gradient is zero, and no descent returns from there.
    log = np.array([parameter.log for parameter in law.parameters])
    middle = np.log(np.median(observed))
    if bound.levels:
        begin = np.where(log, np.clip(begin, middle - 7.0, middle + 3.0), begin)
    part = None
    if sample and bound.n > MANY:
        rows = np.sort(np.random.default_rng(0).choice(bound.n, MANY, replace=False))
        part = (law.bind({name: column[rows] for name, column in columns.items()}), rows)
    solution, summary = solve_from(bound, loss, observed, begin, part)
    noisy = solution.objective[0] > bound.n * 1e-12  # without noise the minimum is rounding
    if part is None and noisy and 2 * summary.agree < summary.count:
        solution, summary = restarted(bound, loss, observed, solution)
    if part is None and not solution.converged[0]:
        solution, summary = followed(bound, loss, observed, solution)
    phi = solution.phi[0]
    unidentified, warnings = list(unidentified), list(warnings)
    if not solution.converged[0]:
        warnings.append("the solver stopped before its tolerance; the minimum is flat or the data has a kink there")
    for parameter, value, low, high in zip(law.parameters, phi, bound.lower, bound.upper):
        if not parameter.log and not low < value < high:
            warnings.append(f"{parameter.name} stopped at its bound {value:g}: the data does not hold it")
            unidentified.append(parameter.name)
        elif parameter.positive and value > STEEP:
            warnings.append(f"{parameter.name} = {value:.3g} is a step at the smallest value, not a power law: the data does not hold it")
            unidentified.append(parameter.name)
        elif parameter.positive and value <= 0:
            warnings.append(f"{parameter.name} = {value:.3g} is not positive: loss does not fall with that variable")
        elif bound.levels and parameter.log and value < middle - 9.0:
            warnings.append(f"{parameter.name} goes to zero: the data does not show that term")
            unidentified.append(parameter.name)
    loose = [name for name in loose_parameters(bound, law, loss, observed, phi) if name not in unidentified]
    if summary.count > 1 and summary.agree == 1 and noisy and summary.next_best > summary.best * (1 + ALONE):
        warnings.append(f"one of {summary.count} starts found this minimum, and the next is "
                        f"{100 * (summary.next_best / summary.best - 1):.2g} % higher: a lower one may exist")
    if loose:
        warnings.append(f"loosely determined by these runs: {', '.join(loose)}; read the intervals, not the values")
    found = kind(
        law=law,
        columns=columns,
        observed=observed,
        loss=loss,
        bound=bound,
        phi=phi,
        objective=float(loss.total(solution.objective[0], bound.n)),
        starts=summary,
        status="ok",
        warnings=(),
        outliers=np.array([], dtype=int),
        alternatives=begin if part is None else solution.phi[1:],
    )
    return judged(found, unidentified, warnings)


def judged(found: Fit, unidentified: list[str], warnings: list[str]) -> Fit:
    """The fit with its status: the worst of what is known of it, with every reason in words."""
    nothing = judgement.saturated(found)
    far = np.array([], dtype=int) if nothing else judgement.outliers(found)
    misfit = [] if nothing else judgement.misfit(found, far)
    if nothing:
        unidentified = [*found.law.names]
    warnings = (*nothing, *warnings, *judgement.named(found, far), *misfit)
    status = "unidentified" if unidentified else "misfit" if misfit else "weak" if warnings else "ok"
    return replace(found, status=status, warnings=warnings, outliers=far, unidentified=tuple(dict.fromkeys(unidentified)))
