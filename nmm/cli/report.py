"""`python -m nmm report`: one self-contained HTML file from an executed chapter."""

import argparse
from pathlib import Path

from nmm.cli.arguments import output, path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which chapter, and where to."""
    parser.add_argument("executed", type=path, help="a chapter that papermill or `book execute` executed")
    parser.add_argument("--out", type=output, help="HTML file to write (default: the chapter's name with .html, here)")


def run(args: argparse.Namespace) -> int:
    """Exit status 0."""
    from nmm.book.layout import Layout
    from nmm.book.report import report

    out = args.out or Path(args.executed.with_suffix(".html").name)
    report(args.executed, out, Layout())
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB, opens in any browser, needs no network")
    return 0
