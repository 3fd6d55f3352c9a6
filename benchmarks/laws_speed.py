"""The fit against scipy, side by side in one run: seconds, and excess over the best minimum found.

    python benchmarks/laws_speed.py [RUNS.csv --N .. --D .. --L ..] [--json FILE]

Without a file it makes 240 runs on a known surface. scipy runs L-BFGS-B with analytic gradients from the paper's
1764 starts, as usually written (objective unscaled, default tolerances), and scaled as it has to be.
"""

import argparse
import json
import time

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from nmm.laws import fit_parametric
from nmm.laws.starts import paper_grid


def made_up(n_sizes: int = 12, n_budgets: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """240 runs with 1 % noise on a surface like Chinchilla's."""
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(5e7, 1e10, n_sizes), np.geomspace(1e9, 3e11, n_budgets)))
    noise = np.random.default_rng(0).normal(0, 0.01, len(N))
    return N, D, (1.8 + 480 / N**0.348 + 2090 / D**0.366) * np.exp(noise)


def scipy_objective(theta, x, y, target, delta, weights, scale):
    """Huber loss of Eq. 1 on logs and its gradient, `theta` = ln E, ln A, ln B, alpha, beta."""
    z = np.stack([np.full_like(x, theta[0]), theta[1] - theta[3] * x, theta[2] - theta[4] * y])
    top = z.max(axis=0)
    shares = np.exp(z - top)
    total = shares.sum(axis=0)
    shares /= total
    residual = top + np.log(total) - target
    slope = np.clip(residual, -delta, delta)
    value = np.sum(
        weights * np.where(np.abs(residual) < delta, 0.5 * residual**2, delta * (np.abs(residual) - 0.5 * delta))
    )
    first = (weights * slope * shares).sum(axis=1)
    second = -(weights * slope * shares[1:] * np.stack([x, y])).sum(axis=1)
    return scale * value, scale * np.concatenate([first, second])


def scipy_fit(N, D, L, starts, weights=None, scaled=False, delta=1e-3):
    """Best objective over all starts, and each start's; unscaled defaults, or scaled, centred and clamped."""
    x, y, target = np.log(N), np.log(D), np.log(L)
    weights = np.ones(len(x)) if weights is None else weights
    starts = starts.copy()
    options, scale = {}, 1.0
    if scaled:
        starts[:, 1] = np.clip(starts[:, 1] - starts[:, 3] * x.mean(), -6, 3)
        starts[:, 2] = np.clip(starts[:, 2] - starts[:, 4] * y.mean(), -6, 3)
        x, y = x - x.mean(), y - y.mean()
        options, scale = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 2000, "maxfun": 5000}, 1e6
    arguments = (x, y, target, delta, weights, scale)
    found = [minimize(scipy_objective, s, arguments, "L-BFGS-B", jac=True, options=options).fun / scale for s in starts]
    return np.array(found)


def timed(call, repeats: int = 1):
    """Result, least and median seconds."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - begin)
    return result, min(seconds), float(np.median(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="?", help="CSV of runs")
    for name in "NDL":
        parser.add_argument(f"--{name}", default=name)
    parser.add_argument("--resamples", type=int, default=40, help="resamples whose refits scipy checks")
    parser.add_argument("--scipy-starts", type=int, default=1764)
    parser.add_argument("--json")
    args = parser.parse_args()
    if args.runs:
        table = pd.read_csv(args.runs)
        N, D, L = (table[getattr(args, name)].to_numpy(dtype=float) for name in "NDL")
    else:
        N, D, L = made_up()
    starts = paper_grid()[:: max(1, 1764 // args.scipy_starts)]

    fit, least, median = timed(lambda: fit_parametric(N, D, L), 15)
    boot5, boot5_least, _ = timed(lambda: fit.bootstrap(1000), 3)
    _, boot1_least, _ = timed(lambda: fit.bootstrap(1000, starts=1), 5)
    paper, paper_seconds, _ = timed(lambda: fit_parametric(N, D, L, starts="paper"))
    plain, plain_seconds, _ = timed(lambda: scipy_fit(N, D, L, starts))
    scaled, scaled_seconds, _ = timed(lambda: scipy_fit(N, D, L, starts, scaled=True))
    best = min(fit.objective, paper.objective, plain.min(), scaled.min())
    report = {
        "runs": len(N), "best objective": best,
        "fit: seconds, least": least, "fit: seconds, median": median, "fit: excess": fit.objective / best - 1,
        "fit: starts agreeing": f"{fit.starts.agree} of {fit.starts.count}",
        "bootstrap 1000, 5 starts: seconds": boot5_least, "bootstrap 1000, warm: seconds": boot1_least,
        "1764 starts, ours: seconds": paper_seconds, "1764 starts, ours: excess": paper.objective / best - 1,
        "scipy starts": len(starts),
        "scipy as usually written: seconds": plain_seconds, "scipy as usually written: excess": plain.min() / best - 1,
        "scipy as usually written: starts within 1e-9": int(np.sum(plain <= best * (1 + 1e-9))),
        "scipy scaled: seconds": scaled_seconds, "scipy scaled: excess": scaled.min() / best - 1,
        "scipy scaled: starts within 1e-9": int(np.sum(scaled <= best * (1 + 1e-9))),
        "times faster than scipy as usually written": plain_seconds / median,
        "times faster than scipy scaled": scaled_seconds / median,
    }  # fmt: skip
    if args.resamples:
        counts = np.random.default_rng(0).multinomial(len(N), np.full(len(N), 1 / len(N)), size=1000)
        some = starts[:: max(1, len(starts) // 60)]
        excess = [
            boot5.objective[k] / scipy_fit(N, D, L, some, counts[k], scaled=True).min() - 1
            for k in range(args.resamples)
        ]
        report |= {"resamples checked": args.resamples, "largest excess of a refit over scipy": max(excess)}
    for name, value in report.items():
        print(f"{name:48} {value:.4g}" if isinstance(value, float) else f"{name:48} {value}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(report, file, indent=2)


if __name__ == "__main__":
    main()
