"""Files that are there whole or not at all, with errors that name them."""

import json
import os
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


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    partial = path.with_suffix(".partial")
    with naming(path):
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)


def write_json(path: Path, content: dict) -> None:
    """Write JSON so that the file is there whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
