"""`python -m nmm plan`: what to train for a budget, from a published law or from your own runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nmm.cli.arguments import output, path

if TYPE_CHECKING:
    from nmm.laws.use.planner import Eq1, Reach


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The law asked for: its coefficients, where they come from, where they end, and how well they are known."""

    law: Eq1
    note: str
    reach: Reach | None = None  # None: coefficients as given, whose runs are not known
    interval: Callable[[str, float, float], tuple[float, float]] | None = None  # of N, D or L at a level and a budget
    bounded: str = "NDL"  # what `interval` is asked for
    covers: str = ""
    confidence: bool = True  # whether it is one of confidence, or of rounding alone
    sparse: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `plan`."""
    budget = parser.add_argument_group("budget, one of")
    budget.add_argument("--flops", type=float, metavar="C", help="training compute [FLOPs]")
    budget.add_argument("--gpu-hours", type=float, metavar="H", help="GPUs times hours, with --gpu and --mfu")
    budget.add_argument("--gpu", default="H100", help="type of GPU for --gpu-hours (default: H100)")
    budget.add_argument("--mfu", type=float, default=0.4, help="share of the GPU's peak that is used (default: 0.4)")
    law = parser.add_argument_group("law, one of")
    law.add_argument("--law", metavar="NAME", help="published: early, late or sparse")
    law.add_argument("--runs", type=path, metavar="CSV", help="runs to fit, with --N, --D, --L as in `nmm fit`")
    law.add_argument("--coefficients", type=float, nargs=5, metavar=("E", "A", "B", "ALPHA", "BETA"), help="of Eq. 1")
    parser.add_argument(
        "--tokens-per-parameter", type=float, default=20.0, metavar="R",
        help="assumed D*/N* at 1e21 FLOPs for early and late, whose A and B are not published (default: 20)",
    )  # fmt: skip
    for name, what in (("N", "parameters"), ("D", "tokens"), ("L", "loss")):
        parser.add_argument(f"--{name}", default=name, metavar="COLUMN", help=f"column of {what} in --runs")
    parser.add_argument("--where", default="", metavar="COLUMN=VALUE,...", help="use these rows of --runs only")
    parser.add_argument(
        "--inference-tokens", type=float, default=0.0, metavar="T", help="tokens the model will process"
    )
    parser.add_argument(
        "--reach", type=float, default=100.0, metavar="FACTOR",
        help="refuse a budget more than this many times that of the law's largest run (default: 100)",
    )  # fmt: skip
    parser.add_argument("--level", type=float, default=0.95, help="coverage of the intervals (default: 0.95)")
    parser.add_argument("--json", type=output, metavar="FILE", help="write everything to this file too")


def run(args: argparse.Namespace) -> int:
    """Plan, print, and write."""
    from nmm.laws.use.planner import budget, isoloss

    if (args.flops is None) == (args.gpu_hours is None):
        raise ValueError("give the budget once: --flops C, or --gpu-hours H with --gpu and --mfu")
    if not 0 < args.level < 1:
        raise ValueError(f"--level is the coverage of the intervals, between 0 and 1: got {args.level:g}")
    if not args.reach >= 1:
        raise ValueError(f"--reach is a factor of the largest run's budget, at least 1: got {args.reach:g}")
    C = args.flops if args.flops is not None else budget(args.gpu_hours, args.gpu, args.mfu)
    if args.where and args.runs is None:
        raise ValueError(f"--where chooses rows of --runs, which is not given: got {args.where!r}")
    asked = _asked(args)
    law = asked.law
    if asked.reach is not None:
        asked.reach.check(C, args.reach)
    best = law.optimum(C)
    if not (best.N >= 1 and best.D >= 1):
        raise ValueError(f"{C:.3g} FLOPs pay for {best.N:.2g} parameters and {best.D:.2g} tokens by this law: give a larger budget")
    beyond = asked.reach.beyond(C, float(best.N), float(best.D)) if asked.reach is not None else ()
    record = {
        "law": {"E": law.E, "A": law.A, "B": law.B, "alpha": law.alpha, "beta": law.beta, "note": asked.note},
        "C": C, "N": float(best.N), "D": float(best.D), "L": float(best.L), "level": args.level, "extrapolation": list(beyond),
    }  # fmt: skip
    if asked.interval is not None:
        record["intervals"] = {name: asked.interval(name, args.level, C) for name in asked.bounded}
        record["intervals_of"] = asked.covers
    if asked.sparse:
        from nmm.laws.use.published import total_parameters

        record["N_total"] = float(total_parameters(best.N))
    print(f"law: {asked.note}\n  E {law.E:.4g}, A {law.A:.4g}, B {law.B:.4g}, alpha {law.alpha:.4g}, beta {law.beta:.4g}")
    print(f"budget: {C:.3e} FLOPs\n")
    _print_optimum(record, f"{100 * args.level:g} %" if asked.confidence else "rounding", known=asked.reach is not None)
    table = isoloss(law, C, [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
    print(
        "another size, the same loss:\n  N / N*   N [parameters]   D [tokens]   compute / C   loss if all of C is spent"
    )
    for _, row in table.iterrows():
        cells = f"{row['N / N*']:>8.3g}{row['N']:>17.3g}{row['D']:>13.3g}{row['C ratio']:>14.4g}{row['L at C']:>27.4f}"
        print("  " + cells)
    record["isoloss"] = [{k: (v if v < float("inf") else None) for k, v in r.items()} for r in table.to_dict("records")]
    if args.inference_tokens:
        record["with_inference"] = _use(law, record, args.inference_tokens)
    if args.json is not None:
        args.json.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")
        print(f"\nwritten: {args.json}")
    return 0


def _print_optimum(record: dict, kind: str, known: bool) -> None:
    """N*, D*, L* with what is known of them, and a line for whatever lies beyond the runs."""
    intervals = record.get("intervals", {})
    for name, unit in (("N", "parameters"), ("D", "tokens"), ("L", "nats/token")):
        interval = f"   {kind} {intervals[name][0]:.4g} to {intervals[name][1]:.4g}" if name in intervals else ""
        print(f"  {name}* {record[name]:>10.4g} {unit}{interval}")
    print(f"  D*/N* {record['D'] / record['N']:>6.3g} tokens per parameter")
    if intervals:
        print(f"  intervals: {record['intervals_of']}")
    if "N_total" in record:
        total = record["N_total"]
        print(f"  N* is active; in memory {total:.4g} parameters, {2 * total / 1e9:.3g} GB of weights in BF16")
    for words in record["extrapolation"]:
        print(f"  EXTRAPOLATION: {words}")
    if not known:
        print("  the runs behind these coefficients are not known: nothing here says whether this is an extrapolation")
    print()


def _use(law: Eq1, record: dict, tokens: float) -> dict:
    """The cheapest model of the same loss over training and use, printed and returned."""
    from nmm.laws.use.planner import with_inference

    plan = with_inference(law, record["L"], tokens)
    optimal = record["C"] + float(law.cost.flops_in_use(record["N"], tokens))
    print(
        f"\nwith {tokens:.3g} tokens of use, the cheapest model of the same loss:\n"
        f"  N {plan.N:.4g} parameters, D {plan.D:.4g} tokens, D/N {plan.D / plan.N:.4g}\n"
        f"  training {plan.C_train:.3e} + use {plan.C_inference:.3e} = {plan.total:.3e} FLOPs, "
        f"{100 * (1 - plan.total / optimal):.1f} % below the compute-optimal model's"
    )
    return {**vars(plan), "total": plan.total}


def _asked(args) -> _Asked:
    """The one law that the arguments name."""
    from nmm.laws.use.planner import Eq1

    if sum(given is not None for given in (args.law, args.runs, args.coefficients)) != 1:
        raise ValueError("give one law: --law early|late|sparse, --runs CSV, or --coefficients E A B ALPHA BETA")
    if args.law is not None:
        from nmm.laws.use.published import published_law

        found = published_law(args.law, args.tokens_per_parameter)
        return _Asked(
            law=found.law, note=found.note, reach=found.reach, covers=found.covers, sparse=found.name == "sparse",
            interval=lambda name, level, C: found.band(name, C, level), bounded=found.bounded, confidence=found.spread,
        )  # fmt: skip
    if args.coefficients is not None:
        law = Eq1(**dict(zip(("E", "A", "B", "alpha", "beta"), args.coefficients)))
        return _Asked(law=law, note="coefficients as given")
    return _fitted(args)


def _fitted(args) -> _Asked:
    """Eq. 1 fitted to the runs of a table."""
    from nmm.laws.use.planner import Reach
    from nmm.laws.use.reading import read_table
    from nmm.laws.use.table import fit_table, select

    table = read_table(args.runs)
    conditions = {}
    for condition in filter(None, args.where.split(",")):
        column, equals, value = condition.partition("=")
        if not equals:
            raise ValueError(f"--where takes COLUMN=VALUE,...: got {condition!r}")
        conditions[column] = value
    (group,), dropped = fit_table(select(table, conditions, "--where"), args.N, args.D, args.L, bootstrap=200)
    fit, columns = group.fit, group.fit.columns
    note = f"Eq. 1 fitted to {fit.n_runs} runs of {args.runs.name}, {len(dropped)} rows left out; status {fit.status}"
    return _Asked(
        law=fit.eq1, note="; ".join([note, *fit.warnings]), covers="bootstrap over these runs",
        reach=Reach(
            runs=f"the runs of {args.runs.name}", C=float(fit.eq1.cost.flops(columns["N"], columns["D"]).max()),
            N=float(columns["N"].max()), D=float(columns["D"].max()),
        ),
        interval=lambda name, level, C: group.boot.interval(f"{name}*", level, C=C),
    )  # fmt: skip
