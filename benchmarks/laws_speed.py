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

from nmm.laws import fit_parametric
from nmm.laws.core.starts import paper_grid
from nmm.laws.use.reference import scipy_fit


def made_up(n_sizes: int = 12, n_budgets: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """240 runs with 1 % noise on a surface like Chinchilla's."""
    N, D = (v.ravel() for v in np.meshgrid(np.geomspace(5e7, 1e10, n_sizes), np.geomspace(1e9, 3e11, n_budgets)))
    noise = np.random.default_rng(0).normal(0, 0.01, len(N))
    return N, D, (1.8 + 480 / N**0.348 + 2090 / D**0.366) * np.exp(noise)


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
    plain, plain_seconds, _ = timed(lambda: scipy_fit(N, D, L, starts)[0])
    scaled, scaled_seconds, _ = timed(lambda: scipy_fit(N, D, L, starts, scale=1e6, careful=True)[0])
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
            boot5.objective[k] / scipy_fit(N, D, L, some, counts[k], scale=1e6, careful=True)[0].min() - 1
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
