"""Text as lines: JSON lines and plain text, compressed or not, in bounded memory."""

import json
from collections.abc import Iterator
from pathlib import Path

from nmm.data.documents import MAX_TEXT, Document, Text
from nmm.data.readers.detect import DAMAGED, bad_shard, open_stream
from nmm.data.readers.images import ImageRoot
from nmm.data.readers.rejects import Rejects

BLOCK = 1 << 20
PLAIN_DOCUMENT = 1 << 16  # plain text is cut at line ends into documents of about this size [bytes]


def read_jsonl(path: Path, rejects: Rejects, images: ImageRoot | None = None) -> Iterator[Document]:
    """JSON lines, an object with `text` on each (DCLM's layout)."""
    for number, line in _lines(path):
        name = f"{path.name}:line {number}"
        if line is None:
            rejects.add(f"line above {MAX_TEXT >> 20} MB", name)
            continue
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            rejects.add("line is not JSON", name)
            continue
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            rejects.add("no `text` string", name)
            continue
        yield Document((Text(text),), name)


def read_plain(path: Path, rejects: Rejects, images: ImageRoot | None = None) -> Iterator[Document]:
    """Plain UTF-8 text, cut at line ends into documents of about `PLAIN_DOCUMENT` bytes."""
    held, size, first, last = [], 0, 1, 0
    for last, line in _lines(path):
        if line is None:
            rejects.add(f"line above {MAX_TEXT >> 20} MB", f"{path.name}:line {last}")
            continue
        held.append(line)
        size += len(line) + 1
        if size >= PLAIN_DOCUMENT:
            yield from _plain(held, path, first, last, rejects)
            held, size, first = [], 0, last + 1
    if held:
        yield from _plain(held, path, first, last, rejects)


def _plain(lines: list[bytes], path: Path, first: int, last: int, rejects: Rejects) -> Iterator[Document]:
    name = f"{path.name}:lines {first}-{last}"
    try:
        text = b"\n".join(lines).decode("utf-8")
    except UnicodeDecodeError:
        rejects.add("text is not UTF-8", name)
        return
    yield Document((Text(text),), name)


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines from 1; None in place of one that is too long."""
    rest, number, too_long = b"", 1, False
    try:
        with open_stream(path) as stream:
            while block := stream.read(BLOCK):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    yield number, None if too_long or len(line) > MAX_TEXT else line
                    number, too_long = number + 1, False
                if too_long or len(rest) > MAX_TEXT:
                    rest, too_long = b"", True
    except DAMAGED as error:
        raise bad_shard(path, f"cannot be read to its end ({error})", "a whole file") from None
    if rest or too_long:
        yield number, None if too_long else rest
