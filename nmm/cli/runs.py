"""`python -m nmm runs export`: the records of studies as one open table with a data card."""

import argparse

from nmm.book import citing
from nmm.book.layout import Layout
from nmm.cli.arguments import path
from nmm.runs.export import CARD, CSV, PARQUET, export


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    make = actions.add_parser("export", help=f"write {PARQUET}, {CSV} and a data card")
    make.add_argument("runs_dir", type=path, nargs="*", metavar="RUNS_DIR", help="folders of records (default: the published ones)")
    make.add_argument("--out", type=path, required=True, help="folder to write to")


def run(args: argparse.Namespace) -> int:
    layout = Layout()
    table = export(args.runs_dir or layout.published(), args.out, citing.read(layout.root / "CITATION.cff").bibtex())
    print(f"{len(table)} runs of {table['study'].nunique()} studies in {args.out / PARQUET} and {CSV}; {CARD} says what they hold")
    return 0
