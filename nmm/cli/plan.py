"""`python -m nmm plan`: what to train for a budget, from a published law or from your own runs."""

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `plan`."""
    budget = parser.add_argument_group("budget, one of")
    budget.add_argument("--flops", type=float, metavar="C", help="training compute [FLOPs]")
    budget.add_argument("--gpu-hours", type=float, metavar="H", help="GPUs times hours, with --gpu and --mfu")
    budget.add_argument("--gpu", default="H100", help="type of GPU for --gpu-hours (default: H100)")
    budget.add_argument("--mfu", type=float, default=0.4, help="share of the GPU's peak that is used (default: 0.4)")
    law = parser.add_argument_group("law, one of")
    law.add_argument("--law", metavar="NAME", help="published: early, late or sparse")
    law.add_argument("--runs", type=Path, metavar="CSV", help="runs to fit, with --N, --D, --L as in `nmm fit`")
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
    parser.add_argument("--level", type=float, default=0.95, help="coverage of the intervals (default: 0.95)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to this file too")


def run(args: argparse.Namespace) -> int:
    """Plan, print, and write."""
    from nmm.laws.use.planner import budget, isoloss, with_inference

    if (args.flops is None) == (args.gpu_hours is None):
        raise ValueError("give the budget once: --flops C, or --gpu-hours H with --gpu and --mfu")
    C = args.flops if args.flops is not None else budget(args.gpu_hours, args.gpu, args.mfu)
    law, note, boot = _law(args)
    best = law.optimum(C)
    record = {
        "law": {"E": law.E, "A": law.A, "B": law.B, "alpha": law.alpha, "beta": law.beta, "note": note},
        "C": C, "N": float(best.N), "D": float(best.D), "L": float(best.L), "level": args.level,
    }  # fmt: skip
    if boot is not None:
        record["intervals"] = {name: boot.interval(f"{name}*", args.level, C=C) for name in "NDL"}
    print(f"law: {note}\n  E {law.E:.4g}, A {law.A:.4g}, B {law.B:.4g}, alpha {law.alpha:.4g}, beta {law.beta:.4g}")
    print(f"budget: {C:.3e} FLOPs\n")
    for name, unit in (("N", "parameters"), ("D", "tokens"), ("L", "nats/token")):
        low_high = record.get("intervals", {}).get(name)
        interval = f"   {100 * args.level:g} % {low_high[0]:.4g} to {low_high[1]:.4g}" if low_high else ""
        print(f"  {name}* {record[name]:>10.4g} {unit}{interval}")
    print(f"  D*/N* {record['D'] / record['N']:>6.3g} tokens per parameter\n")
    table = isoloss(law, C, [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
    print(
        "another size, the same loss:\n  N / N*   N [parameters]   D [tokens]   compute / C   loss if all of C is spent"
    )
    for _, row in table.iterrows():
        cells = f"{row['N / N*']:>8.3g}{row['N']:>17.3g}{row['D']:>13.3g}{row['C ratio']:>14.4g}{row['L at C']:>27.4f}"
        print("  " + cells)
    record["isoloss"] = [{k: (v if v < float("inf") else None) for k, v in r.items()} for r in table.to_dict("records")]
    if args.inference_tokens:
        plan = with_inference(law, float(best.L), args.inference_tokens)
        record["with_inference"] = {**vars(plan), "total": plan.total}
        chinchilla = C + 2 * record["N"] * args.inference_tokens
        print(
            f"\nwith {args.inference_tokens:.3g} tokens of use, the cheapest model of the same loss:\n"
            f"  N {plan.N:.4g} parameters, D {plan.D:.4g} tokens, D/N {plan.D / plan.N:.4g}\n"
            f"  training {plan.C_train:.3e} + use {plan.C_inference:.3e} = {plan.total:.3e} FLOPs, "
            f"{100 * (1 - plan.total / chinchilla):.1f} % below the compute-optimal model's"
        )
    if args.json is not None:
        args.json.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")
        print(f"\nwritten: {args.json}")
    return 0


def _law(args):
    """The law asked for, a note on its source, and a bootstrap where it was fitted here."""
    from nmm.laws.use.planner import Eq1, published_law

    if sum(given is not None for given in (args.law, args.runs, args.coefficients)) != 1:
        raise ValueError("give one law: --law early|late|sparse, --runs CSV, or --coefficients E A B ALPHA BETA")
    if args.law is not None:
        return *published_law(args.law, args.tokens_per_parameter), None
    if args.coefficients is not None:
        return Eq1(**dict(zip(("E", "A", "B", "alpha", "beta"), args.coefficients))), "coefficients as given", None
    import pandas as pd

    from nmm.laws.use.table import fit_table

    table = pd.read_csv(args.runs)
    for condition in filter(None, args.where.split(",")):
        column, _, value = condition.partition("=")
        if column not in table.columns:
            raise ValueError(f"--where: no column {column!r}: the table has {', '.join(table.columns)}")
        table = table[table[column].astype(str) == value]
    (group,), dropped = fit_table(table, args.N, args.D, args.L, bootstrap=200)
    fit = group.fit
    note = f"Eq. 1 fitted to {fit.n_runs} runs of {args.runs.name}, {len(dropped)} rows left out; status {fit.status}"
    return fit.eq1, "; ".join([note, *fit.warnings]), group.boot
