"""The site: stage executed chapters beside the book's own sources, let Sphinx render them, serve the result."""

import functools
import http.server
import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat

from nmm.book import citing
from nmm.book.chapters import Chapter, read_chapters, read_notebook
from nmm.book.execute import chapter_keys, describe_failure, stored
from nmm.book.layout import DOWNLOADS, RUNS, Layout
from nmm.book.present import check_quiet, present, without_roles
from nmm.book.readable import Readable
from nmm.runs.export import CARD, CSV, PARQUET, export

# marks in the front page: the table of chapters, and the contents that the sidebar and the numbers come from
_CHAPTERS, _CONTENTS = "<!-- chapters -->", "<!-- contents -->"
# and two from CITATION.cff: a line to clone the repository, where its address is known, and the BibTeX entry
_CLONE, _BIBTEX = "<!-- clone -->", "<!-- bibtex -->"
# and links to the table of the published runs
_RUNS = "<!-- runs -->"


def build(layout: Layout, edition: str) -> Path:
    """Render the executed chapters of one edition; every warning is an error.

    A build that fails leaves the last good site in place.

    Returns:
        The site's first page.
    Raises:
        ValueError: a chapter failed, was not executed, or changed since; or Sphinx has something to say.
        OSError: a file cannot be read or written.
    """
    chapters = read_chapters(layout.notebooks)
    check_executed(chapters, layout, edition)
    work = layout.html.parent
    source, rendered = work / "source", work / "html.new"
    for folder in (source, rendered):
        shutil.rmtree(folder, ignore_errors=True)
    stage(chapters, layout, edition, source)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-E",
               "-d", str(work / "doctrees"), str(source), str(rendered)]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    if run.returncode:
        raise ValueError(f"the book did not render:\n{readable(run.stderr or run.stdout, source)}")
    shutil.rmtree(layout.html, ignore_errors=True)
    rendered.rename(layout.html)
    return layout.html / "index.html"


def check_executed(chapters: Sequence[Chapter], layout: Layout, edition: str) -> None:
    """Refuse chapters that failed, were not executed, or changed after their execution; see `build`."""
    remedy = f"run `make book`, or `python -m nmm book execute --edition {edition}` with the same parameters"
    values = {}
    for chapter in chapters:
        failed = layout.failed(edition) / chapter.path.name
        if failed.exists():
            raise ValueError(f"{chapter.name} failed: {describe_failure(failed)}; mend it and {remedy}")
        made = stored(layout.executed(edition) / chapter.path.name)
        if made is None:
            raise ValueError(f"{chapter.name} has not been executed for the edition {edition!r}: {remedy}")
        values[chapter.name] = made["values"]
    keys = chapter_keys(chapters, values, layout)
    for chapter in chapters:
        if stored(layout.executed(edition) / chapter.path.name)["key"] != keys[chapter.name]:
            raise ValueError(
                f"{chapter.name} is out of date: its code, its inputs or a module it uses changed; {remedy}"
            )


def stage(chapters: Sequence[Chapter], layout: Layout, edition: str, source: Path) -> None:
    """Everything that Sphinx reads, in one fresh folder: the book's sources and the executed chapters.

    A chapter goes there twice: as a page is to show it, and, for download, as it was executed.
    """
    shutil.copytree(layout.source, source, ignore=shutil.ignore_patterns("_build", "__pycache__", "README.md"))
    readable = Readable(layout.notebooks, layout.source / "references.bib")
    downloads = source / DOWNLOADS
    downloads.mkdir(parents=True)
    for chapter in chapters:
        name = chapter.path.name
        page, download = (read_notebook(layout.executed(edition) / name) for _ in range(2))
        check_quiet(page, name)
        nbformat.write(present(page, name), source / name)
        nbformat.write(without_roles(download, readable, name), downloads / name)
    index = source / "index.md"
    text = index.read_text(encoding="utf-8")
    software = citing.read(layout.root / "CITATION.cff")
    clone = f"```console\ngit clone {software.repository}\n```" if software.repository else ""
    for mark, content in ((_CHAPTERS, chapter_table(chapters)), (_CONTENTS, contents(chapters)), (_CLONE, clone),
                          (_BIBTEX, f"```bibtex\n{software.bibtex()}```"), (_RUNS, runs_table(layout, source, software))):
        text = text.replace(mark, content)
    index.write_text(text, encoding="utf-8")


def runs_table(layout: Layout, source: Path, software: citing.Software) -> str:
    """Offer the published runs as a table, where there are some; what the front page says of it."""
    folders = layout.published()
    if not folders:
        return ""
    table = export(folders, source / RUNS, software.bibtex())
    files = {"Parquet": PARQUET, "CSV": CSV, "data card": CARD}
    links = ", ".join(f'<a href="{RUNS}/{file}" download>{name}</a>' for name, file in files.items())
    return f"All {len(table)} runs behind this book as one open table, a row a run: {links}. Every chart offers its own data below it."


def chapter_table(chapters: Sequence[Chapter]) -> str:
    """A Markdown table of the chapters: number, link, question."""
    numbers = itertools.count(1)
    rows = [f"| {'' if _is_preface(chapter) else next(numbers)} | {{doc}}`{chapter.name}` | {_question(chapter)} |"
            for chapter in chapters]
    return "\n".join(["| | Chapter | Question |", "|--:|:--|:--|", *rows])


def contents(chapters: Sequence[Chapter]) -> str:
    """Hidden tables of contents: the preface unnumbered, the chapters numbered from 1, glossary and references."""
    blocks = [("", [chapter.name for chapter in chapters if _is_preface(chapter)]),
              (":numbered: 1\n", [chapter.name for chapter in chapters if not _is_preface(chapter)]),
              ("", ["glossary", "references"])]
    return "\n".join(f"```{{toctree}}\n:hidden:\n{option}\n" + "\n".join(names) + "\n```\n"
                     for option, names in blocks if names)


def _is_preface(chapter: Chapter) -> bool:
    return chapter.name.startswith("00_")


def _question(chapter: Chapter) -> str:
    # on the front page a glued number must name the chapter that it comes from
    text = re.sub(r"^\*\*\w+[.:?]\*\*\s*", "", chapter.question)  # a lead-in such as **Question.**
    text = re.sub(r"(\{glue:\w+\}`)(?![^`]*::)", rf"\g<1>{chapter.path.name}::", text)
    return text.replace("|", r"\|")


def readable(log: str, source: Path) -> str:
    """Sphinx's messages with MyST-NB's line numbers (10000 x cell + line) told apart, without the staging folder."""
    def place(match: re.Match[str]) -> str:
        cell, line = divmod(int(match[2]), 10_000)
        return f"{match[1]}, cell {cell}, line {line}:" if cell else match[0]

    plain = re.sub(r"\x1b\[[0-9;]*m", "", log).replace(f"{source}/", "")
    return re.sub(r"(\S+\.ipynb):(\d+):", place, plain).strip()


def serve(layout: Layout, port: int) -> None:
    """Serve the site on 127.0.0.1 until interrupted; search needs a server, it does not work from file://.

    Raises:
        ValueError: no port has this number.
        FileNotFoundError: there is no rendered site.
        OSError: the port is taken.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port is a number from 0 to 65535: got {port}")
    if not (layout.html / "index.html").exists():
        raise FileNotFoundError(f"no rendered site in {layout.html}: run `make book` or `make site` first")
    try:
        server = local_server(layout.html, port)
    except OSError as error:
        raise OSError(
            f"cannot serve on port {port}: {error.strerror}; choose another, --port 0 takes a free one"
        ) from error
    with server:
        print(f"the book is at http://127.0.0.1:{server.server_port}/ (Ctrl-C stops)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def local_server(folder: Path, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A quiet web server for one folder, for this machine only; port 0 takes a free one."""
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_Quiet, directory=str(folder)))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """No line per request."""
