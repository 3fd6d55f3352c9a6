"""Parts of a corpus made by several processes, with a progress bar; none is left behind when the parent is killed."""

import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tqdm import tqdm

from nmm.data.corpus.shape import Shape
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.corpus.write import finished_part, write_part
from nmm.data.documents import Document
from nmm.data.readers import ImageRoot, read
from nmm.data.readers.clean import clean
from nmm.data.readers.rejects import Rejects


@dataclass(frozen=True)
class Part:
    """One part of one source: what a worker process needs."""

    source: str
    kind: str
    files: tuple[Path, ...]
    image_root: Path | None
    folder: Path
    tokenizer: Path
    shape: Shape
    max_images: int
    apart: Mapping[bytes, str]      # see `write_part`


_counter = None  # documents read by all workers, for the progress bar


def _start(counter) -> None:
    """A worker begins: one thread for the tokenizer, and an end when the parent has died (a killed call leaves
    none).
    """
    global _counter
    _counter = counter
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parent = multiprocessing.parent_process()
    threading.Thread(
        target=lambda: (multiprocessing.connection.wait([parent.sentinel]), os._exit(1)), daemon=True
    ).start()


@lru_cache(maxsize=1)
def _tokenizer(path: Path, written: int) -> Tokenizer:
    return Tokenizer.load(path)


def good_documents(files: Iterable[Path], kind: str, image_root: Path | None, shape: Shape, max_images: int,
                   rejects: Rejects, found: Callable[[], None] = lambda: None) -> Iterator[Document]:
    """The documents of some files, cleaned; the bad ones are counted in `rejects`. `found` is called for each, good or
    bad.
    """
    images = ImageRoot(image_root) if image_root else None
    for file in files:
        for document in read(file, kind, rejects, images):
            found()
            document = clean(document, kind, shape.geometry, max_images, rejects)
            if document is not None:
                yield document


def _make_part(part: Part) -> dict:
    rejects = Rejects()

    def count() -> None:
        if _counter is not None:
            with _counter.get_lock():
                _counter.value += 1

    documents = good_documents(part.files, part.kind, part.image_root, part.shape, part.max_images, rejects, count)
    part.folder.parent.mkdir(parents=True, exist_ok=True)
    for left in part.folder.parent.glob(f"{part.folder.name}.partial-*"):
        shutil.rmtree(left)
    tokenizer = _tokenizer(part.tokenizer, part.tokenizer.stat().st_mtime_ns)
    return write_part(documents, part.kind, part.folder, tokenizer, part.shape, rejects, part.apart)


def make(parts: list[Part], processes: int, progress: bool) -> list[dict]:
    """The counts of every part, in order; finished ones are read, the others made."""
    done = [finished_part(part.folder) for part in parts]
    todo = [number for number, part in enumerate(done) if part is None]
    with tqdm(
        total=len(parts), initial=len(parts) - len(todo), desc="prepare", unit=" parts", disable=not progress
    ) as bar:
        if min(processes, len(todo)) <= 1:
            for number in todo:
                done[number] = _make_part(parts[number])
                bar.update()
            return done
        context = multiprocessing.get_context("spawn")
        counter = context.Value("q", 0)
        others = set(multiprocessing.active_children())
        with ProcessPoolExecutor(min(processes, len(todo)), context, _start, (counter,)) as pool:
            with _deaf_to_ctrl_c():     # it reaches the parent too, and the parent decides
                futures = {pool.submit(_make_part, parts[number]): number for number in todo}
            try:
                for future in _as_completed(futures, lambda: bar.set_postfix(documents=counter.value)):
                    done[futures[future]] = future.result()
                    bar.update()
            except BrokenProcessPool:
                raise OSError("a worker process was killed (out of memory?): run the same command again, with fewer "
                              "--processes") from None
            except BaseException:
                for worker in set(multiprocessing.active_children()) - others:      # what they have begun is made again
                    worker.kill()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    return done


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started here inherit that they do not hear Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():      # only there handlers may be set
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _as_completed(futures: Iterable[Future], tick: Callable[[], None]) -> Iterator[Future]:
    waiting = set(futures)
    while waiting:
        finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        tick()
        yield from finished
