"""Small files beside checkpoints, a dataclass of plain values each. No torch here."""

import json
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

Note = TypeVar("Note")


def read(kind: type[Note], path: Path) -> Note | None:
    """What a note says; None where there is none, or one of another version of nmm, or a damaged one."""
    try:
        note = kind(**json.loads(path.read_text()))
    except (FileNotFoundError, TypeError, ValueError, RecursionError):
        return None
    whole = all(isinstance(getattr(note, item.name), float | int if item.type is float else item.type) for item in fields(note))
    return note if whole else None
