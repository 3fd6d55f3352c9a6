"""`python -m nmm status`: what has become of the runs of a folder, while they are trained or after."""

import argparse
import json
from collections import Counter

from nmm.charts.tables import short
from nmm.cli.arguments import path
from nmm.sweep.status import RunStatus, counts, duration, status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs_dir", type=path, metavar="RUNS_DIR", help="folder of the records, of a sweep that runs, waits or has ended")
    parser.add_argument("--json", action="store_true", help="print one JSON list, a run each, instead of a page")


def run(args: argparse.Namespace) -> int:
    found = status(args.runs_dir)
    if args.json:
        print(json.dumps([_plain(one) for one in found], indent=1))
        return 0
    number = counts(found)
    print(", ".join(f"{count} {state}" for state, count in number.items()) or f"no runs in {args.runs_dir}")
    for state in ("running", "stopped", "failed", "damaged"):
        for one in found:
            if one.state == state:
                print(_line(one))
    waiting = Counter((_what(one, budget=False), one.where.partition("_")[0]) for one in found if one.state == "queued")
    for (what, job), count in waiting.items():
        print(f"queued   {count} of {what}" + (f"; {job}" if job else ""))
    return 0


def _what(one: RunStatus, budget: bool = True) -> str:
    """Arm, size and budget of a run."""
    if one.config is None:
        return "an unknown configuration"
    parts = [one.config.origin.arm or one.config.model.arch, one.config.model.size, one.config.data.mixture]
    return ", ".join([*parts, f"{short(one.config.tokens)} tokens, seed {one.config.seed}"] if budget else parts)


def _line(one: RunStatus) -> str:
    parts = [f"{one.state:<8} {one.run} {_what(one)}"]
    if one.state in ("running", "stopped"):
        share = f" ({one.tokens / one.config.tokens:.0%})" if one.config else ""
        parts += [f"{short(one.tokens)} tokens{share}"]
    if one.state == "running":
        parts += [f"ETA {duration(one.eta)}" if one.eta is not None else "ETA not known yet"]
    parts += [f"on {one.where}"] if one.where else []
    return "; ".join(parts) + (f": {one.reason}" if one.reason else "")


def _plain(one: RunStatus) -> dict:
    config = one.config
    about = {} if config is None else {
        "study": config.origin.study, "arm": config.origin.arm, "size": config.model.size, "mixture": config.data.mixture,
        "budget": config.tokens, "seed": config.seed,
    }
    return {
        "run": one.run, "state": one.state, **about, "tokens": one.tokens,
        "eta_seconds": one.eta, "where": one.where, "reason": one.reason,
    }
