"""Files that are there whole or not at all, with errors that name them."""

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class naming:
    """Context manager: an OSError inside is raised again with the file's name and what to do about it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, OSError):
            raise OSError(f"cannot write {self.path}: {error}. Free some space (or choose another folder) and run the "
                          "same command again; it goes on from what is finished") from error


@contextmanager
def whole(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A file to write to, which becomes `path` when the block ends: so that is there whole or not at all.

    Args:
        shared: several processes may write `path` at once: each to a file of its own, gone if it fails.
    """
    partial = path.with_suffix(f".{os.getpid()}.partial" if shared else ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        if shared:
            partial.unlink(missing_ok=True)
        raise


def printable(text: str) -> str:
    """The text with every character spelled out that would steer a terminal and not be seen in it."""
    shown = (each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode() for each in text)
    return "".join(shown)


def set_aside(path: Path, why: str) -> Path:
    """Give a file another name, `NAME.why` or `NAME.why-2` and so on, which no other file has; the new path."""
    for number in itertools.count(1):
        aside = path.with_name(f"{path.name}.{why}{f'-{number}' if number > 1 else ''}")
        try:
            os.link(path, aside)        # fails where there is such a file, and overwrites nothing
        except FileExistsError:
            continue
        path.unlink()
        return aside
    raise AssertionError


def write_text(path: Path, text: str, *, shared: bool = False) -> None:
    """Write a file so that it is there whole or not at all; `shared` as for `whole`."""
    with naming(path), whole(path, shared=shared) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict) -> None:
    """Write JSON so that the file is there whole or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):     # of file names that are no UTF-8
        text = json.dumps(content, indent=1)
    write_text(path, text + "\n")
