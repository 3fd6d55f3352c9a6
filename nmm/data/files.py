"""Files that are there whole or not at all, with errors that name them."""

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


def write_text(path: Path, text: str, *, shared: bool = False) -> None:
    """Write a file so that it is there whole or not at all; `shared` as for `whole`."""
    with naming(path), whole(path, shared=shared) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict) -> None:
    """Write JSON so that the file is there whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
