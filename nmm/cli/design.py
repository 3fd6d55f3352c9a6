"""`python -m nmm design`: which runs to train next, so that the interval of a goal shrinks most."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from nmm.cli.arguments import output, path
from nmm.cli.tables import add_cluster, cluster_columns, read_runs, refuse_several_designs

if TYPE_CHECKING:
    from nmm.laws.use.design import Designer, Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `design`."""
    parser.add_argument("runs_table", metavar="RUNS", type=path, help="table with one row a run or folder of records, as for `nmm fit`")
    parser.add_argument("--budget", type=float, required=True, metavar="FLOPS", help="compute of all new runs together [FLOPs]")
    parser.add_argument("--goal", default="a", help="a (default), alpha, beta, E, or N*, D*, L* with --at")
    parser.add_argument("--at", type=float, metavar="FLOPS", help="budget of N*, D*, L* [FLOPs]")
    parser.add_argument("--runs", type=int, default=4, metavar="K", help="plans of 1 to K runs are compared (default: 4)")
    for name, what in (("N", "parameters"), ("D", "tokens"), ("L", "loss")):
        parser.add_argument(f"--{name}", default=name, metavar="COLUMN", help=f"column of {what} (default: {name})")
    parser.add_argument("--where", default="", metavar="COLUMN=VALUE,...", help="use these rows only")
    add_cluster(parser)
    parser.add_argument("--reach", type=float, default=2.0, metavar="FACTOR", help="how far beyond the N and D there are (default: 2)")
    parser.add_argument("--studies", type=int, default=200, metavar="N", help="drawn studies that check the best plan (default: 200)")
    parser.add_argument("--level", type=float, default=0.95, help="coverage of the interval (default: 0.95)")
    parser.add_argument("--json", type=output, metavar="FILE", help="write everything to this file too")


def run(args: argparse.Namespace) -> int:
    """Plan, check, print and write."""
    from nmm.cli.fit_other import pairs
    from nmm.laws.core.checks import usable_rows
    from nmm.laws.forms.parametric import fit_parametric
    from nmm.laws.use.design import Designer
    from nmm.laws.use.groups import check_columns, cluster_labels, plain
    from nmm.laws.use.table import select

    if args.goal.endswith("*") and args.at is None:
        raise ValueError(f"{args.goal} is at a budget: give it with --at FLOPS")
    if args.runs < 1:
        raise ValueError(f"--runs is the most runs of a plan, at least 1: got {args.runs}")
    cluster = cluster_columns(args.cluster, args.runs_table)
    table = select(read_runs(args.runs_table), pairs(args.where, "--where"), "--where")
    check_columns(table, (), cluster)
    refuse_several_designs(table, args.runs_table)
    usable, dropped = usable_rows(table, (args.N, args.D, args.L))
    fit = fit_parametric(*(usable[column].to_numpy() for column in (args.N, args.D, args.L)))
    designer = Designer(fit, args.goal, args.at, args.level, args.reach, cluster_labels(usable, cluster))
    plans = [designer.plan(args.budget, k) for k in range(1, args.runs + 1)]
    best = min(plans, key=lambda plan: plan.shrinks)
    checked, shared = designer.check(best, args.studies), designer.noise.shared
    print(_text(designer, plans, best, len(dropped)))
    print(f"  {checked.studies} drawn studies refitted with and without them: to {100 * checked.realised:.0f} %")
    for warning in fit.warnings:
        print(f"  ! {warning}")
    if args.json is not None:
        record = {
            "goal": args.goal, "C": args.at, "level": args.level, "budget": args.budget,
            "status": fit.status, "warnings": list(fit.warnings),
            "clusters": None if shared is None else shared.count, "correlation in clusters": None if shared is None else shared.correlation,
            "value": designer.intervals.estimate.get(args.goal), "now": [plain(end) for end in designer.now],
            "plans": [{"runs": plan.runs.to_dict("records"), "cost": plan.cost, "shrinks": plan.shrinks,
                       "expected": [plain(end) for end in designer.expected(plan)]}
                      for plan in plans],
            "check": {"realised": plain(checked.realised), "predicted": checked.predicted, "studies": checked.studies},
        }  # fmt: skip
        args.json.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")
        print(f"written: {args.json}")
    return 0


def _text(designer: Designer, plans: list[Plan], best: Plan, dropped: int) -> str:
    """The plans in words and numbers."""
    at = f" at {designer.C:.1e} FLOPs" if designer.goal.endswith("*") else ""
    low, high = designer.now
    lines = [f"{designer.goal}{at} from {designer.fit.n_runs} runs, status {designer.fit.status}: "
             f"{low:.4g} to {high:.4g} ({100 * designer.level:g} %)"]
    if (shared := designer.noise.shared) is not None:
        lines.append(f"  {shared.count} clusters; runs of one correlate by {shared.correlation:.2f} beyond the law; "
                     "new runs of one size are one trunk")
    lines += [f"  {dropped} rows left out: no usable N, D or L"] if dropped else []
    lines.append(f"  {'runs':>4}{'cost [FLOPs]':>14}   width of the interval, predicted")
    lines += [f"  {len(plan.runs):>4}{plan.cost:>14.2e}   to {100 * plan.shrinks:.0f} % of what it is" for plan in plans]
    low, high = designer.expected(best)
    lines.append(f"train these {len(best.runs)}, and expect {low:.4g} to {high:.4g}:\n"
                 f"  {'N [parameters]':>16}{'D [tokens]':>12}{'C [FLOPs]':>12}")
    for row in best.runs.itertuples():
        beyond = "   beyond the runs there are: rests on the law there" if row.beyond else ""
        lines.append(f"  {row.N:>16.3g}{row.D:>12.3g}{row.C:>12.2e}{beyond}")
    return "\n".join(lines)
