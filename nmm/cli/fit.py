"""`python -m nmm fit RUNS.csv`: Eq. 1 per group of runs, with intervals, as a table and as JSON."""

import argparse
import json

from nmm.cli import fit_other
from nmm.cli.arguments import output, path
from nmm.cli.tables import add_cluster, cluster_columns, read_runs, refuse_several_designs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fit`."""
    parser.add_argument("runs", type=path, help="table with one row a run (CSV, JSON, Parquet; gzipped or not), or a folder of run records")
    parser.add_argument("--N", default="N", metavar="COLUMN", help="column of parameters (default: N)")
    parser.add_argument("--D", default="D", metavar="COLUMN", help="column of training tokens (default: D)")
    parser.add_argument("--L", default="L", metavar="COLUMN", help="column of the loss in nats/token (default: L)")
    parser.add_argument("--by", default="", metavar="COLUMNS", help="columns that make groups, such as arch,mixture")
    add_cluster(parser)
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="resamples (default: 1000)")
    parser.add_argument("--level", type=float, default=0.95, help="coverage of the intervals (default: 0.95)")
    parser.add_argument("--delta", type=float, default=1e-3, help="Huber threshold (default: 1e-3)")
    parser.add_argument("--loss", default="log-huber", help="log-huber (default), huber, mse or log-mse")
    parser.add_argument("--starts", default="grid", help="grid (default) or paper, its 1764 starts")
    parser.add_argument("--budget", default="", metavar="FLOPS", help="budgets for the optimum, such as 1e21,1e22")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resamples (default: 0)")
    fit_other.add_arguments(parser)
    parser.add_argument("--json", type=output, metavar="FILE", help="write everything to this file too")


def run(args: argparse.Namespace) -> int:
    """Fit, print, and write."""
    from nmm.laws.use.table import fit_table

    table = read_runs(args.runs)
    if args.seed < 0:
        raise ValueError(f"--seed is a whole number, at least 0: got {args.seed}")
    cluster = cluster_columns(args.cluster, args.runs)
    by = tuple(name for name in args.by.split(",") if name)
    missing = [name for name in by if name not in table.columns]
    if not missing:         # else `fit_table` says which
        refuse_several_designs(table, args.runs, by)
    budgets = numbers(args.budget, "--budget")
    for option, given, of in (("--budget", args.budget, args.law == "eq1"), ("--columns", args.columns, args.law != "eq1"),
                              ("--bytes-per-token", args.bytes_per_token, args.law == "compression")):
        if given and not of:
            raise ValueError(f"{option} {given}: the law {args.law!r} does not take it, see --help")
    if args.law == "eq1":
        fits, dropped = fit_table(
            table, args.N, args.D, args.L, by, args.delta, args.loss, args.starts, args.bootstrap, args.seed, cluster
        )
    else:
        fits, dropped = fit_other.fitted(args, table, by, cluster)
    if len(dropped):
        print(f"{len(dropped)} of {len(table)} rows left out:")
        for reason, count in dropped["reason"].value_counts().items():
            print(f"  {count:>5}  {reason}")
        print()
    for group in fits:
        print(report(group, args.level, budgets) if args.law == "eq1" else fit_other.report(group, args.level))
    if args.json is not None:
        left_out = [
            {"row": int(i) if isinstance(i, int) else str(i), "reason": r} for i, r in dropped["reason"].items()
        ]
        fitted = [g.record(args.level, *[budgets] * (args.law == "eq1")) for g in fits]
        record = {"source": args.runs.name, "fits": fitted, "left_out": left_out}
        args.json.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")
        print(f"written: {args.json}")
    return 0


def numbers(text: str, option: str) -> list[float]:
    """A comma-separated list of positive numbers.

    Raises:
        ValueError: naming the option and the part that is none.
    """
    found = []
    for part in filter(None, text.split(",")):
        try:
            value = float(part)
        except ValueError:
            value = float("nan")
        if not 0 < value < float("inf"):
            raise ValueError(f"{option} must be positive numbers separated by commas: got {part!r}")
        found.append(value)
    return found


def report(group, level: float, budgets: list[float]) -> str:
    """One group as text."""
    fit = group.fit
    agree = f"{fit.starts.agree} of {fit.starts.count} starts agree"
    lines = [
        f"{group.name}: L = E + A/N^alpha + B/D^beta on {fit.n_runs} runs",
        f"  status {fit.status}; R2 {fit.r2:.4f}; {fit.loss.name} objective {fit.objective:.6e}; {agree}",
        f"  {'':8}{'value':>12}{f'{100 * level:g} % interval':>28}{'bootstrap s.e.':>18}",
    ]
    for name, row in group.table(level).iterrows():
        interval = f"{row['low']:.4g} to {row['high']:.4g}"
        lines.append(f"  {name:8}{row['value']:>12.5g}{interval:>28}{row['se']:>18.3g}")
    if group.frontier is None:
        lines.append(f"  {'c':8}{'-':>12}   fewer than three runs lie on the lower hull of (C, L)")
    shared = group.boot.noise.shared
    if shared is not None:
        lines.append(f"  {shared.count} clusters; runs of one correlate by {shared.correlation:.2f} beyond the law")
    lines += [f"  {one.words}" for one in group.hold_outs]
    if budgets:
        lines.append(f"  {'C [FLOPs]':>10}{'N* [parameters]':>34}{'D* [tokens]':>34}{'L* [nats/token]':>28}")
        for _, row in group.optimum_table(budgets, level).iterrows():
            cells = [f"{row[k]:.3g} ({row[f'{k} low']:.3g} to {row[f'{k} high']:.3g})" for k in ("N*", "D*", "L*")]
            lines.append(f"  {row['C']:>10.2e}{cells[0]:>34}{cells[1]:>34}{cells[2]:>28}")
    lines += [f"  ! {warning}" for warning in fit.warnings]
    return "\n".join(lines) + "\n"
