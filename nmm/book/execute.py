"""The batch driver: run chapters with papermill, those that need it, in an order that works.

A chapter is run when its key (see `nmm.book.keys`) differs from the one stored in its last good output.
Otherwise its outputs are kept and only its prose is brought up to date. A failing chapter stops those
that come after it, never the others, and leaves its last good output in place.
"""

import concurrent.futures
import contextlib
import dataclasses
import graphlib
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from nmm.book import chapters as reading
from nmm.book import prose
from nmm.book.chapters import Chapter
from nmm.book.keys import chapter_key
from nmm.book.labels import glued_values
from nmm.book.layout import Layout
from nmm.book.present import place_of, say_again
from nmm.book.readable import Readable
from nmm.data.files import write_text

_STORED = ("key", "values", "seconds")  # what an executed chapter's metadata `nmm` has beside the chapter's own
_RUNNING = "running"    # folder within that of the outputs
_KEEPS = ("executed", "unchanged", "new prose")  # statuses after which the stored output is good


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one chapter: executed, unchanged, new prose, failed or skipped."""

    name: str
    status: str
    seconds: float = 0.0
    reason: str = ""

    @property
    def good(self) -> bool:
        return self.status in _KEEPS

    def __str__(self) -> str:
        return f"{self.name:<20} {self.status:<10} {self.seconds:6.1f} s{'  ' if self.reason else ''}{self.reason}"


def execute(
    layout: Layout, edition: str, given: Mapping[str, Any], *,
    jobs: int = 1, only: Sequence[str] = (), echo: Callable[[str], None] = print,
    call: Callable[..., Any] = lambda function, *args: function(*args),
) -> list[Outcome]:
    """Bring the executed chapters up to date.

    Args:
        edition: names the folder of the outputs.
        given: parameter values; each reaches the chapters that declare it.
        jobs: chapters at a time.
        only: chapters to bring up to date, with those that they come after; empty: all.
        echo: takes one line as each chapter ends.
        call: calls a function with its arguments, here or on another machine (`nmm.sweep.executors.caller`).
    Returns:
        One outcome a chapter, in the book's order.
    Raises:
        ValueError: bad parameters or chapter names, before anything runs.
        FileNotFoundError: a declared input does not exist.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    chapters = selected(reading.read_chapters(layout.notebooks), only)
    reading.check_values(given, chapters)
    keys = chapter_keys(chapters, {chapter.name: given for chapter in chapters}, layout)
    outcomes: dict[str, Outcome] = {}
    waiting = list(chapters)
    running: dict[concurrent.futures.Future[Outcome], str] = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            while waiting or running:
                for chapter in list(waiting):
                    if any(name not in outcomes for name in chapter.after):
                        continue
                    bad = [name for name in chapter.after if not outcomes[name].good]
                    if bad:
                        reason = f"needs {', '.join(bad)}"
                        outcomes[chapter.name] = Outcome(name=chapter.name, status="skipped", reason=reason)
                        echo(str(outcomes[chapter.name]))
                    elif len(running) < jobs:
                        job = pool.submit(call, _bring_up_to_date, chapter, given, keys[chapter.name], layout, edition)
                        running[job] = chapter.name
                    else:
                        continue
                    waiting.remove(chapter)
                done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for job in done:
                    outcomes[running.pop(job)] = job.result()
                    echo(str(job.result()))
        except BaseException:
            _interrupt_kernels()
            raise
        finally:
            pool.shutdown(wait=True)
            _clear(layout.executed(edition) / _RUNNING)
    return [outcomes[chapter.name] for chapter in chapters]


def selected(chapters: Sequence[Chapter], only: Sequence[str]) -> list[Chapter]:
    """The chapters named, with everything that they come after, in the book's order; all for no name."""
    by_name = {chapter.name: chapter for chapter in chapters}
    todo, wanted = [Path(name).stem for name in only], set()
    while todo:
        name = todo.pop()
        if name not in by_name:
            raise ValueError(f"unknown chapter {name!r}; the chapters are {', '.join(by_name)}")
        if name not in wanted:
            wanted.add(name)
            todo += by_name[name].after
    return [chapter for chapter in chapters if not only or chapter.name in wanted]


def chapter_keys(
    chapters: Sequence[Chapter], values: Mapping[str, Mapping[str, Any]], layout: Layout
) -> dict[str, str]:
    """Keys of all chapters, from the parameter values of each."""
    by_name = {chapter.name: chapter for chapter in chapters}
    keys: dict[str, str] = {}
    for name in graphlib.TopologicalSorter({chapter.name: chapter.after for chapter in chapters}).static_order():
        chapter = by_name[name]
        upstream = {other: keys[other] for other in chapter.after}
        keys[name] = chapter_key(chapter, chapter.values(values[name]), upstream, layout.root)
    return keys


def stored(path: Path) -> dict[str, Any] | None:
    """Key and parameter values that an executed chapter was made with; None where there is none."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))["metadata"]["nmm"]
    except (json.JSONDecodeError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} was not written by the driver: {error!r}; delete it and execute again") from error


def _bring_up_to_date(chapter: Chapter, given: Mapping[str, Any], key: str, layout: Layout, edition: str) -> Outcome:
    start = time.perf_counter()
    path, failed = (folder / chapter.path.name for folder in (layout.executed(edition), layout.failed(edition)))
    readable = Readable(layout.notebooks, layout.source / "references.bib")
    before = stored(path)
    if before and before["key"] == key:
        status, reason = _merge_prose(chapter, path, readable)
        if not reason:
            failed.unlink(missing_ok=True)
    else:
        status, reason = _run(chapter, given, key, path, failed, readable)
    return Outcome(name=chapter.name, status=status, seconds=time.perf_counter() - start, reason=reason)


def _run(
    chapter: Chapter, given: Mapping[str, Any], key: str, path: Path, failed: Path, readable: Readable
) -> tuple[str, str]:
    import papermill  # a second to import: an unchanged book does without
    from papermill.exceptions import PapermillException

    logging.getLogger("papermill").setLevel(logging.ERROR)  # its warnings are errors here already
    values = chapter.values(given)
    # what equals the default stays out, so that an ordinary chapter shows no injected cell
    changed = {name: value for name, value in values.items() if value != chapter.parameters[name].default}
    partial = path.parent / _RUNNING / f"{os.getpid()}.{path.name}"
    for folder in (partial.parent, failed.parent):
        folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    try:
        papermill.execute_notebook(
            str(chapter.path), str(partial), parameters=changed, kernel_name="python3", language="python",
            progress_bar=False, autosave_cell_every=0,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # no word on 127.0.0.1, or on being told to stop
        )
    except (PapermillException, RuntimeError, TimeoutError, KeyError, OSError) as error:  # what a kernel can die of
        if not partial.exists():
            return "failed", f"before the first cell: {type(error).__name__}: {error}"
        os.replace(partial, failed)
        return "failed", f"{describe_failure(failed) or f'{type(error).__name__}: {error}'} (see {failed})"
    executed = reading.read_notebook(partial)
    executed.metadata["nmm"] = {"key": key, "values": values, "seconds": round(time.perf_counter() - start, 2)}
    try:
        write_text(path, nbformat.writes(_merge(chapter, executed, readable)))
    except ValueError as error:
        os.replace(partial, failed)
        return "failed", f"{error} (see {failed})"
    partial.unlink()
    failed.unlink(missing_ok=True)
    return "executed", ""


def describe_failure(path: Path) -> str:
    """Where and why an executed notebook stopped: cell number, cell id, error; empty if it did not stop."""
    notebook = reading.read_notebook(path)
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        where = f"code cell {number} (id {cell.get('id', 'none')})"
        for output in cell.outputs:
            if output.output_type == "error" and not reading.is_tagged(cell, "raises-exception"):
                return f"{where}: {output.ename}: {output.evalue}"
        started = cell.metadata.get("papermill", {}).get("status", "pending") != "pending"
        if started and cell.source.strip() and "shell.execute_reply" not in cell.metadata.get("execution", {}):
            return f"{where}: the kernel died while it ran (memory?)"
    return ""


def _merge_prose(chapter: Chapter, path: Path, readable: Readable) -> tuple[str, str]:
    """Bring the prose of an executed chapter up to date; status, and why it failed."""
    try:
        text = nbformat.writes(_merge(chapter, reading.read_notebook(path), readable))
    except ValueError as error:
        return "failed", str(error)
    if text == path.read_text(encoding="utf-8"):
        return "unchanged", ""
    write_text(path, text)
    return "new prose", ""


def _merge(chapter: Chapter, executed: nbformat.NotebookNode, readable: Readable) -> nbformat.NotebookNode:
    """The chapter's present prose, tags and captions around the outputs of an execution.

    Equal keys mean equal code cells in equal order, so outputs find their cells by place; prose is filled in
    again from the glued values, which takes no kernel. The cell that papermill injected stays behind the
    `parameters` cell; its notes on times and paths of this machine go.
    """
    merged = reading.read_notebook(chapter.path)
    injected = [cell for cell in executed.cells if reading.is_tagged(cell, "injected-parameters")]
    for cell in injected:
        cell.metadata = nbformat.from_dict({"tags": ["injected-parameters"]})
    outputs = iter([cell for cell in executed.cells if reading.computes(cell) and cell not in injected])
    values = glued_values(executed)
    cells = []
    for number, cell in enumerate(merged.cells, 1):
        if reading.is_tagged(cell, prose.TAG):
            say_again(cell, values, readable, place_of(chapter.path.name, number, cell))
        elif cell.cell_type == "code":
            last = next(outputs)
            cell.outputs, cell.execution_count = last.outputs, last.execution_count
        cells.append(cell)
        if reading.is_tagged(cell, "parameters"):
            cells += injected
    merged.cells = cells
    merged.metadata["language_info"] = executed.metadata.get("language_info", {})
    merged.metadata["nmm"] = {**merged.metadata.get("nmm", {}), **{k: executed.metadata["nmm"][k] for k in _STORED}}
    return merged


def _clear(running: Path) -> None:
    """Take away the folder of notebooks in execution, with what this process left there, unless another one uses it."""
    for left in running.glob(f"{os.getpid()}.*"):
        left.unlink(missing_ok=True)
    with contextlib.suppress(OSError):      # it is not there, or not empty
        running.rmdir()


def _interrupt_kernels() -> None:
    """Ask every kernel that this process started to stop, as Ctrl-C in a notebook would.

    A kernel leads its own process group, so a Ctrl-C in the terminal does not reach it.
    """
    import psutil

    for child in psutil.Process().children():
        if any("ipykernel" in word for word in child.cmdline()):
            os.killpg(child.pid, signal.SIGINT)
