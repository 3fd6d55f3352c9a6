"""Whether files are what they were: by content, which is read again only where size or time of a file have changed."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from nmm.data.corpus import mds
from nmm.data.corpus.arrow import Shard
from nmm.data.corpus.sequence import content_hash
from nmm.data.corpus.store import SPLITS, Corpus
from nmm.data.files import write_json

MEMORY = ".remembered.json"     # in a corpus folder: hashes by file, with the size and time that they were found at
# what reading a damaged shard raises
_BROKEN = (ValueError, OSError, pa.ArrowException, LookupError, TypeError, ArithmeticError, MemoryError, AttributeError)


def fingerprints(files: Iterable[Path], memory: Path) -> dict[Path, str]:
    """A hash of each file's content.

    Raises:
        OSError: a file cannot be read.
    """
    return _remembered({path: lambda path=path: _content(path) for path in files}, memory)


def damaged_shards(corpus: Corpus) -> list[str]:
    """What is missing or damaged in a corpus folder, besides its description: files below it, or MDS's folders."""
    folder = corpus.folder
    described = {"tokenizer.json": _tokenizer_is_whole, "report.json": _report_is_whole}
    found = [name for name, is_whole in described.items() if not is_whole(corpus)]
    if corpus.description.get("store") == "mds":
        return found + [f"{name}/{split}" for name, source in corpus.sources.items() for split in SPLITS
                        if not mds.is_whole(folder / name / split, len(getattr(source, split)))]
    listed, checks = {}, {}
    for name, source in corpus.sources.items():
        for split in SPLITS:
            descriptions = corpus.description["sources"][name][split]["shards"]
            for shard, description in zip(getattr(source, split).shards, descriptions):
                listed[shard.path] = description["hash"]
                checks[shard.path] = lambda shard=shard: _rows(shard, corpus)
    hashes = _remembered(checks, folder / MEMORY)
    return found + [str(path.relative_to(folder)) for path, content in listed.items() if hashes[path] != content]


def _tokenizer_is_whole(corpus: Corpus) -> bool:
    try:
        return corpus.tokenizer.hash == corpus.description["tokenizer_hash"]
    except (ValueError, OSError):
        return False


def _report_is_whole(corpus: Corpus) -> bool:
    try:
        return isinstance(corpus.report["sources"], dict)
    except (ValueError, OSError, KeyError, TypeError):
        return False


def _rows(shard: Shard, corpus: Corpus) -> str:
    """The hash of what a shard says; empty if it is damaged."""
    try:
        return content_hash(shard.row(number, corpus.geometry) for number in range(shard.rows))
    except _BROKEN:
        return ""


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror or error}") from error


def _remembered(checks: Mapping[Path, Callable[[], str]], memory: Path) -> dict[Path, str]:
    """What each check of a file says, from memory where the file was not touched."""
    before, stats = _memory(memory), {path: _stat(path) for path in checks}
    known = {}
    for path, stat in stats.items():
        then, said = before.get(str(path.absolute()), (None, ""))
        if stat is not None and stat == then:
            known[path] = said
    todo = [path for path in checks if path not in known]
    with ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0)))) as pool:
        found = dict(zip(todo, pool.map(lambda path: checks[path](), todo)))
    if any(found.values()) and os.access(memory.parent, os.W_OK):
        new = {str(path.absolute()): [stats[path], said] for path, said in found.items() if said}
        write_json(memory, {**before, **new})
    return {**known, **found}


def _stat(path: Path) -> list[int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _memory(path: Path) -> dict[str, list]:
    """What was remembered; nothing where that is damaged: it only saves time."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: [stat, said] for name, (stat, said) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
