"""`python -m nmm atlas`: public tables of runs, read from your clones and fitted as your own runs are."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from nmm.atlas.entries import ENTRIES
from nmm.atlas.fit import fit_folder, not_identified
from nmm.cli.arguments import output, path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `atlas list` and `atlas fit`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="the tables that the atlas knows, and the repositories to clone")
    fit = actions.add_parser("fit", help="fit the tables of every clone in a folder")
    fit.add_argument("folder", type=path, help="a clone, or the folder that holds clones")
    fit.add_argument(
        "--only", default="", metavar="NAMES", help="of the tables these, separated by commas (see: atlas list)"
    )
    fit.add_argument("--bootstrap", type=int, default=200, metavar="N", help="resamples (default: 200)")
    fit.add_argument("--level", type=float, default=0.95, help="coverage of the intervals (default: 0.95)")
    fit.add_argument("--seed", type=int, default=0, help="seed of the resamples (default: 0)")
    fit.add_argument(
        "--json", type=output, metavar="FILE", help="write everything to this file; what it holds of other tables stays"
    )


def run(args: argparse.Namespace) -> int:
    """List, or fit, print and write."""
    if args.action == "list":
        for entry in ENTRIES:
            print(
                f"{entry.name:26}https://github.com/{entry.repository}\n{'':26}{entry.source}; {', '.join(entry.files)}"
            )
        return 0
    known = _known(args.json) if args.json is not None and args.json.is_file() else []
    order = [entry.name for entry in ENTRIES]
    for record in fit_folder(
        args.folder, args.level, args.bootstrap, args.seed, tuple(filter(None, args.only.split(",")))
    ):
        print(report(record), flush=True)
        known = sorted(
            [*(one for one in known if one["name"] != record["name"]), record], key=lambda one: order.index(one["name"])
        )
        if args.json is not None:  # after every table: a stopped command keeps what it has done
            args.json.write_text(json.dumps({"tables": known}, indent=1, allow_nan=False) + "\n")
    if args.json is not None:
        print(f"written: {args.json}")
    return 0


def _known(file: Path) -> list[dict]:
    """The tables that a file of an earlier call holds."""
    names = {entry.name for entry in ENTRIES}
    try:
        tables = json.loads(file.read_text(encoding="utf-8"))["tables"]
        if all(table["name"] in names for table in tables):
            return tables
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise ValueError(f"{file} was not written by `nmm atlas fit --json`, and would be overwritten: name another file")


def report(record: dict) -> str:
    """One table as text."""
    at = f"commit {record['commit'][:10]}" if record["commit"] else "no commit: not a git clone"
    lines = [
        f"{record['title']}: {record['repository']}, {at}, license {record['license'] or 'not stated'}; {record['runs']} runs"
    ]
    if record["refused"]:
        lines.append(f"  not fitted: {record['refused']}")
    for fit in record["fits"]:
        lines.append(f"  {fit['group']}: {fit['runs']} runs, status {fit['status']}")
        unknown = not_identified(fit)
        for name in ("E", "alpha", "beta", "a", "R", "k1"):
            if name in fit["values"]:
                row = fit["values"][name]
                ends = "not identified" if name in unknown else f"{_number(row['low'])} to {_number(row['high'])}"
                beside = [
                    f"{one['values'][name]:.4g} ({one['where']})" for one in fit["published"] if name in one["values"]
                ]
                lines.append(
                    f"    {name:8}{_number(row['value']):>8}   {100 * fit['level']:g} %: {ends:22}"
                    + (f" published: {'; '.join(beside)}" if beside else "")
                )
        for one in [*fit.get("hold_outs", []), *filter(None, [fit.get("beyond")])]:
            lines.append(
                f"    {one['what']}: {one['inside']} of {one['runs']} in their interval, off by {100 * one['mean error']:+.2f} %"
            )
        lines += [f"    ! {words}" for words in fit["warnings"]]
    for row in record["counting"]:
        lines.append(f"  N {row['counted']} ({row['group']}): a {row['a']:.3f}, at one C {_number(row['a at one C'])}")
    lines += [f"  left out: {count} x {reason}" for reason, count in record["left out"].items()]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
