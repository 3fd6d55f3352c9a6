"""From a user's files to a prepared corpus: parallel over processes, resumable, the same bytes every time."""

import hashlib
import itertools
import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from tqdm import tqdm

from nmm.data.clean import clean
from nmm.data.documents import KINDS, Document, Text
from nmm.data.files import write_text
from nmm.data.readers import ImageRoot, files_of, read
from nmm.data.rejects import Rejects
from nmm.data.tokenizer import Tokenizer
from nmm.data.write import Layout, assemble, begin, finished_part, locked, parts_folder, write_part

PART_BYTES = 64 << 20         # input of one part [bytes]
TOKENIZER_TEXT = 32 << 20     # text of each source that a new tokenizer is trained on [bytes]
TOKENIZER_DOCUMENTS = 100_000  # and documents, so that a source of short captions is not read to its end
VOCABULARY = 8192             # of a new tokenizer
CLEANING = 1                  # raise when cleaning or reading changes, so that parts of an older version are not mixed in


@dataclass(frozen=True)
class Job:
    """One part of one source: what a worker process needs."""

    source: str
    kind: str
    files: tuple[Path, ...]
    image_root: Path | None
    folder: Path
    tokenizer: Path
    layout: Layout
    max_images: int


def parse_source(text: str) -> tuple[str, str, Path]:
    """Kind, name and path of `KIND=PATH` or `KIND:NAME=PATH`.

    Raises:
        ValueError: another form, or an unknown kind.
    """
    left, equals, path = text.partition("=")
    kind, _, name = left.partition(":")
    name = name or kind
    if not equals or not path or kind not in KINDS:
        raise ValueError(f"source {text!r} is not KIND=PATH or KIND:NAME=PATH with KIND one of {', '.join(KINDS)}")
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"source name {name!r}: letters, digits, - and _ only")
    return kind, name, Path(path)


def prepare(sources: Sequence[tuple[str, str | Path]], out: str | Path, *, image_root: str | Path | None = None,
            context: int = 1024, image_size: int = 224, patch: int = 14, vocab_size: int | None = None,
            tokenizer: str | Path | None = None, validation: float = 0.05, max_images: int = 30,
            max_rejects: float = 0.05, processes: int | None = None, part_bytes: int = PART_BYTES,
            progress: bool = True) -> dict:
    """Prepare a corpus from real files and give its report.

    Called again with the same arguments it goes on where a killed call stopped; a finished corpus is not touched.

    Args:
        sources: (`KIND` or `KIND:NAME`, file or folder), KIND one of caption, interleaved, text.
        out: the corpus folder.
        image_root: folder or tar of the interleaved images; default: `images` beside the parquet files.
        context: positions of a sequence [tokens].
        image_size, patch: [pixels].
        vocab_size: of a byte-level BPE trained on the corpus; default `VOCABULARY`.
        tokenizer: a `tokenizer.json` to use instead.
        validation: held-out share of each source's documents, by content hash.
        max_images: images kept in a document.
        max_rejects: largest share of bad documents, and of bad images, that is accepted.
        processes: default: one per core.
        part_bytes: files of a source are worked on together up to this size; a killed call repeats at most its unfinished
            parts [bytes].
    Raises:
        ValueError: bad settings, a bad file (it is named), too many rejects.
        OSError: a file cannot be read or written.
    """
    out = Path(out)
    layout = Layout(context=context, image_size=image_size, patch=patch, validation=validation)
    if not 0 < validation < 1:
        raise ValueError(f"validation is {validation}: a share between 0 and 1")
    if tokenizer is not None and vocab_size is not None:
        raise ValueError("give a vocabulary size or a tokenizer file, not both")
    if not 0 <= max_rejects <= 1:
        raise ValueError(f"max_rejects is {max_rejects}: a share between 0 and 1")
    if max_images < 1 or (processes is not None and processes < 1):
        raise ValueError(f"max_images and processes must be at least 1: got {max_images} and {processes}")
    given = Tokenizer.load(tokenizer) if tokenizer is not None else None
    named = [parse_source(f"{kind}={path}") for kind, path in sources]
    kinds = {name: kind for kind, name, _ in named}
    if len(kinds) < len(named) or not named:
        raise ValueError(f"sources need different names, and there must be one at least: got {[n for _, n, _ in named]}")
    found = {name: files_of(path, kind) for kind, name, path in named}
    files = {name: chosen for name, (chosen, _) in found.items()}
    roots = {name: _image_root(image_root, path) if kind == "interleaved" else None for kind, name, path in named}
    identity = _identity(named, files, layout, max_images, part_bytes, given.hash if given else vocab_size or VOCABULARY)
    with locked(out):
        if begin(out, identity) is None:
            trained = given or _train_tokenizer(out, kinds, files, roots, layout, vocab_size or VOCABULARY, progress)
            write_text(out / "tokenizer.json", trained.to_json())
            jobs = [Job(name, kinds[name], tuple(part), roots[name], parts_folder(out, name) / f"{number:05d}",
                        out / "tokenizer.json", layout, max_images)
                    for name in kinds for number, part in enumerate(_parts(files[name], part_bytes))]
            done = _run(jobs, processes or len(os.sched_getaffinity(0)), progress)
            parts = {name: [part for job, part in zip(jobs, done) if job.source == name] for name in kinds}
            assemble(out, kinds, parts, trained, layout, identity, max_rejects)
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def _identity(named: list[tuple[str, str, Path]], files: dict[str, list[Path]], layout: Layout, max_images: int,
              part_bytes: int, tokenizer: str | int) -> str:
    """A hash of all that decides the corpus. Files count by name and size, so that a moved folder is the same data."""
    listed = [(kind, name, [(str(f.relative_to(path)) if f != path else f.name, f.stat().st_size) for f in files[name]])
              for kind, name, path in named]
    text = json.dumps([CLEANING, listed, asdict(layout), max_images, part_bytes, tokenizer], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _image_root(given: str | Path | None, source: Path) -> Path | None:
    if given is not None:
        ImageRoot(Path(given))  # raises where it does not exist
        return Path(given)
    beside = (source if source.is_dir() else source.parent) / "images"
    return beside if beside.exists() else None


def _parts(files: list[Path], part_bytes: int) -> Iterator[list[Path]]:
    """Consecutive files up to `part_bytes` together; a function of names and sizes alone."""
    part, size = [], 0
    for file in files:
        bytes_ = file.stat().st_size
        if part and size + bytes_ > part_bytes:
            yield part
            part, size = [], 0
        part.append(file)
        size += bytes_
    yield part


def _train_tokenizer(out: Path, kinds: dict[str, str], files: dict[str, list[Path]], roots: dict[str, Path | None],
                     layout: Layout, vocab_size: int, progress: bool) -> Tokenizer:
    """The tokenizer that a killed call has trained, or a new one from the first training text of every source."""
    path = out / ".parts" / "tokenizer.json"
    if path.exists():
        return Tokenizer.load(path)
    texts = (text for name, kind in kinds.items() for text in _training_texts(files[name], kind, roots[name], layout))
    trained = Tokenizer.train(tqdm(texts, "tokenizer", unit=" texts", disable=not progress), vocab_size)
    write_text(path, trained.to_json())
    return trained


def _training_texts(files: list[Path], kind: str, root: Path | None, layout: Layout) -> Iterator[str]:
    size = 0
    images = ImageRoot(root) if root else None
    documents = (document for file in files for document in read(file, kind, Rejects(), images))
    for document in itertools.islice(documents, TOKENIZER_DOCUMENTS):
        if layout.split_of(document, 0) == "train":
            for segment in document.segments:
                if isinstance(segment, Text):
                    text = segment.text.encode("utf-8", "ignore").decode("utf-8")
                    size += len(text)
                    yield text
        if size >= TOKENIZER_TEXT:
            return


# Workers -------------------------------------------------------------------------------------------------------------

_counter = None  # documents read by all workers, for the progress bar


def _start(counter) -> None:
    """A worker begins: one thread for the tokenizer, and an end when the parent has died (a killed call leaves none)."""
    global _counter
    _counter = counter
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (multiprocessing.connection.wait([parent.sentinel]), os._exit(1)), daemon=True).start()


@lru_cache(maxsize=1)
def _tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.load(path)


def _run_job(job: Job) -> dict:
    rejects = Rejects()
    root = ImageRoot(job.image_root) if job.image_root else None

    def documents() -> Iterator[Document]:
        for file in job.files:
            for document in read(file, job.kind, rejects, root):
                if _counter is not None:
                    with _counter.get_lock():
                        _counter.value += 1
                document = clean(document, job.kind, job.layout.geometry, job.max_images, rejects)
                if document is not None:
                    yield document

    job.folder.parent.mkdir(parents=True, exist_ok=True)
    for left in job.folder.parent.glob(f"{job.folder.name}.partial-*"):
        shutil.rmtree(left)
    return write_part(documents(), job.kind, job.folder, _tokenizer(job.tokenizer), job.layout, rejects)


def _run(jobs: list[Job], processes: int, progress: bool) -> list[dict]:
    """The counts of every part, in order; finished ones are read, the others made."""
    done = [finished_part(job.folder) for job in jobs]
    todo = [number for number, part in enumerate(done) if part is None]
    with tqdm(total=len(jobs), initial=len(jobs) - len(todo), desc="prepare", unit=" parts", disable=not progress) as bar:
        if min(processes, len(todo)) <= 1:
            for number in todo:
                done[number] = _run_job(jobs[number])
                bar.update()
            return done
        context = multiprocessing.get_context("spawn")
        counter = context.Value("q", 0)
        with ProcessPoolExecutor(min(processes, len(todo)), context, _start, (counter,)) as pool:
            futures = {pool.submit(_run_job, jobs[number]): number for number in todo}
            try:
                for future in _as_completed(futures, lambda: bar.set_postfix(documents=counter.value)):
                    done[futures[future]] = future.result()
                    bar.update()
            except BrokenProcessPool:
                raise OSError("a worker process was killed (out of memory?): run the same command again, with fewer "
                              "--processes") from None
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    return done


def _as_completed(futures: Iterable[Future], tick: Callable[[], None]) -> Iterator[Future]:
    waiting = set(futures)
    while waiting:
        finished, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        tick()
        yield from finished
