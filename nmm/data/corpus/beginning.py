"""What a corpus folder holds already: nothing, the beginning of a corpus, a finished one, or one that is damaged."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nmm.data.corpus.remembered import damaged_shards
from nmm.data.corpus.store import Corpus, NewerCorpus
from nmm.data.corpus.store import open as open_corpus
from nmm.data.files import naming, set_aside, write_json

PARTS = "parts.json"    # the counts of every part of a finished corpus: what it takes to make a damaged one again


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Only one process at a time works on a corpus folder; others wait. The lock dies with its process.

    A finished corpus in a folder that cannot be written is only read, and needs no lock.
    """
    if (out / "corpus.json").exists() and not os.access(out, os.W_OK):
        yield
        return
    with naming(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / ".lock").touch()
    with (out / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def begin(out: Path, identity: str, store: str = "arrow", recipe: Mapping[str, Any] | None = None) -> Corpus | None:
    """The finished corpus, if `out` holds it whole in this store; None, if parts of it are to be written.

    What is damaged is taken away and said, and will be made again. So are the unfinished parts of the same data under
    other settings.

    Args:
        recipe: settings and `sources`, all that `identity` is a hash of, for the message on what differs.
    Raises:
        ValueError: `out` holds another corpus, or the beginning of one from other data.
    """
    if (out / "corpus.json").exists():
        corpus = _finished(out)
        if corpus is not None:
            found = corpus.description
            if (found["identity"], found.get("store", "arrow")) != (identity, store):
                changed = _differences(found.get("recipe"), recipe)
                raise ValueError(f"{out} already holds a corpus made from other data or settings{changed}: choose "
                                 "another folder, or delete this one")
            damage = damaged_shards(corpus)
            if not damage:
                shutil.rmtree(out / ".parts", ignore_errors=True)  # left by a call that was killed in its last moment
                return corpus
            tqdm.write(f"{out}: damaged, and made again: {', '.join(damage)}")
            _reopen(out, identity, damage)
    started = out / ".parts" / "identity.json"
    if started.parent.exists():
        before = _read(started)
        if before is None:
            tqdm.write(f"{out}: its beginning cannot be told ({started.name} is missing or damaged): it is begun anew")
            shutil.rmtree(started.parent)
        elif before.get("identity") != identity:
            changed = _differences(before.get("recipe"), recipe)
            if not (changed and before["recipe"]["sources"] == recipe["sources"]):
                raise ValueError(f"{out} holds the beginning of a corpus from other data or settings{changed}: choose "
                                 "another folder, or delete this one")
            tqdm.write(f"{out}: other settings than in the unfinished call before{changed}: its parts are made again")
            shutil.rmtree(started.parent)
    started.parent.mkdir(exist_ok=True)
    write_json(started, {"identity": identity, **({"recipe": recipe} if recipe else {})})
    return None


def _finished(out: Path) -> Corpus | None:
    """The corpus, opened; None where its description is damaged, which is taken away."""
    try:
        corpus = open_corpus(out)
        if isinstance(corpus.description["identity"], str):
            return corpus
        error = "no identity"
    except NewerCorpus:
        raise
    except (ValueError, KeyError) as reason:
        error = str(reason)
    aside = set_aside(out / "corpus.json", "damaged")
    tqdm.write(f"{out}: made again, for its description is damaged ({error}); it was set aside as {aside.name}")
    return None


def _reopen(out: Path, identity: str, damage: list[str]) -> None:
    """Make an unfinished corpus of a finished one, which lacks the parts that damaged files came from alone."""
    whole = _read(out / PARTS)
    begun = out / ".parts"
    shutil.rmtree(begun, ignore_errors=True)
    begun.mkdir()
    write_json(begun / "identity.json", {"identity": identity})
    for name, parts in whole["parts"].items() if whole and whole.get("identity") == identity else ():
        counted = {"train": 0, "validation": 0}
        for number, part in enumerate(parts):
            own = [f"{name}/{split}/{first + shard:05d}.arrow" for split, first in counted.items()
                   for shard in range(len(part[split]["shards"]))]
            counted = {split: first + len(part[split]["shards"]) for split, first in counted.items()}
            if not set(own) & set(damage):
                write_json(begun / name / f"{number:05d}" / "part.json", part)
    for file in damage:
        if (out / file).is_dir():
            shutil.rmtree(out / file)
        else:
            (out / file).unlink(missing_ok=True)
    (out / "corpus.json").unlink()


def _read(path: Path) -> dict | None:
    """A file of JSON with an object; None where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _differences(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    """Which settings differ, from what to what, in brackets; empty where that is not known."""
    if not before or not now:
        return ""
    found = []
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if name == "sources":
            found += [f"the files of source {each}" for each in {**old, **new} if old.get(each) != new.get(each)]
        else:
            found.append(f"{name} was {old}, is {new}")
    return f" ({', '.join(found)})" if found else ""
