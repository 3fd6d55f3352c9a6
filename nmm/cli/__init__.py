"""The command line: one module a command, imported only when that command is called.

A command module has `add_arguments(parser)` and `run(args) -> int`, the exit status.
"""

import argparse
import importlib
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from nmm.data.files import printable

COMMANDS = {
    "data": "prepare a corpus from real files, or look into one",
    "models": "list the model presets with their sizes",
    "sweep": "train the runs of a preset that are not finished yet",
    "status": "what has become of the runs of a folder, also while they train",
    "runs": "the records of studies as one open table with a data card",
    "fit": "fit a scaling law to a table of runs",
    "design": "which runs to train next, so that an interval shrinks most",
    "atlas": "fit the public tables of runs that you have cloned",
    "plan": "compute-optimal N, D and L for a budget",
    "book": "execute the chapters and render the site",
    "report": "one self-contained HTML file from an executed chapter",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; bad input ends with one line on stderr and status 2."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="python -m nmm", description="A lab on scaling laws of native multimodal models.")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        if argv and argv[0] == name:
            module = importlib.import_module(f"nmm.cli.{name}")
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    try:
        with _ended_in_order(), _warned_in_lines(args.command):
            return args.run(args)
    except (ValueError, OSError, MemoryError, OverflowError) as error:
        print(_line(args.command, error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"nmm {args.command}: stopped; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 130


def _line(command: str, said: Exception | str) -> str:
    """One line for whatever went wrong, with the file that the system names in front of the reason."""
    words = str(said) or type(said).__name__
    if isinstance(said, OSError) and said.filename is not None and words.startswith("[Errno"):
        words = f"{said.filename}: {said.strerror}"
    return f"nmm {command}: {printable(words.strip()).replace(chr(10), ' ')}"


@contextmanager
def _warned_in_lines(command: str) -> Iterator[None]:
    """Warnings are a line each, as errors are, without the place in the code that they come from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_where: print(_line(command, str(message)), file=sys.stderr)
        yield


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM ends the command as an exception does, so that processes and what they share are put away."""
    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():      # only there handlers may be set
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
