"""`python -m nmm book`: list the chapters, execute them, render the site, serve it, cite it."""

import argparse
import time
from pathlib import Path

from nmm.book.layout import Layout
from nmm.cli.arguments import folder_name
from nmm.sweep import EXECUTORS
from nmm.sweep.executors import caller, options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The steps and their options."""
    steps = parser.add_subparsers(dest="step", metavar="STEP", required=True)
    steps.add_parser("list", help="chapters with their parameters and what they come after")
    execute = steps.add_parser("execute", help="run the chapters whose code, parameters or inputs changed")
    build = steps.add_parser("build", help="render the executed chapters as a site, warnings as errors")
    execute.add_argument("--preset", default="laptop", help="study to read, for every chapter with this parameter (default: %(default)s)")
    execute.add_argument("--edition", type=folder_name, help="folder under work/executed for the outputs (default: the preset)")
    build.add_argument("--edition", type=folder_name, default="laptop", help="folder under work/executed to render (default: %(default)s)")
    execute.add_argument("-p", dest="parameters", metavar="NAME=VALUE", action="append", default=[],
                         help="a parameter for every chapter that declares it; repeatable")
    execute.add_argument("-j", dest="jobs", type=int, default=1, help="chapters at a time (default: %(default)s)")
    execute.add_argument("--executor", default="local", help=f"where chapters are run: {', '.join(EXECUTORS)} (default: %(default)s)")
    options.add_options(execute.add_argument_group("options of executors"), EXECUTORS)
    execute.add_argument("chapters", nargs="*", help="only these and the chapters that they come after")
    steps.add_parser("cite", help="print the BibTeX entry that CITATION.cff stands for")
    serve = steps.add_parser("serve", help="serve the rendered site on this machine")
    serve.add_argument("--port", type=int, default=8000, help="0: any free port (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Exit status: 0, or 1 when a chapter failed."""
    return {"list": _list, "execute": _execute, "build": _build, "cite": _cite, "serve": _serve}[args.step](args)


def _list(_args: argparse.Namespace) -> int:
    from nmm.book.chapter import type_name
    from nmm.book.chapters import read_chapters

    for chapter in read_chapters(Layout().notebooks):
        print(f"{chapter.name}: {chapter.title}" + (f"  (after {', '.join(chapter.after)})" if chapter.after else ""))
        for item in chapter.parameters.values():
            print(f"    {item.name}: {type_name(item.type)} = {item.default!r}  # {item.comment}")
    return 0


def _execute(args: argparse.Namespace) -> int:
    from nmm.book.chapters import parse_values, read_chapters
    from nmm.book.execute import execute, selected
    from nmm.studies import find_study

    layout, start = Layout(), time.perf_counter()
    find_study(args.preset)     # refuses an unknown one before any chapter runs
    book = read_chapters(layout.notebooks)
    chapters = selected(book, args.chapters)
    words = args.parameters
    if any("preset" in chapter.parameters for chapter in chapters):
        words = [f"preset={args.preset}", *words]
    given = parse_values(words, chapters, book)
    if given.get("preset", args.preset) != args.preset:
        raise ValueError(f"two presets, {args.preset!r} and -p preset={given['preset']}: give it once, by --preset")
    outcomes = execute(layout, args.edition or args.preset, given, jobs=args.jobs, only=args.chapters,
                       echo=lambda line: print(line, flush=True),
                       call=caller(args.executor, options.given(args, EXECUTORS), Path("work") / "jobs"))
    counts = {status: sum(item.status == status for item in outcomes) for status in dict.fromkeys(o.status for o in outcomes)}
    print(f"{len(outcomes)} chapters in {time.perf_counter() - start:.1f} s: "
          + ", ".join(f"{count} {status}" for status, count in counts.items()))
    bad = [item for item in outcomes if not item.good]
    for item in bad:
        print(f"  {item.name} {item.status}: {item.reason}")
    return 1 if bad else 0


def _build(args: argparse.Namespace) -> int:
    from nmm.book.site import build

    start = time.perf_counter()
    index = build(Layout(), args.edition)
    print(f"rendered in {time.perf_counter() - start:.1f} s: {index}\n`make serve` (python -m nmm book serve) opens it")
    return 0


def _cite(_args: argparse.Namespace) -> int:
    from nmm.book.citing import read

    print(read(Layout().root / "CITATION.cff").bibtex(), end="")
    return 0


def _serve(args: argparse.Namespace) -> int:
    from nmm.book.site import serve

    serve(Layout(), args.port)
    return 0
