"""Which files of a source are read: none is left out without being named."""

import os
from collections.abc import Iterator
from pathlib import Path

from nmm.data.readers.detect import bad_shard, detect, ending
from nmm.data.readers.tables import COLUMNS, has_pairs

EXPECTED = {
    "caption": ("tar", "parquet"),
    "interleaved": ("parquet",),
    "conversation": ("json", "jsonl"),
    "text": ("jsonl", "parquet", "plain"),
    "audio": ("tar", "parquet"),
    "video": ("tar", "parquet"),
}
SAYS = {
    "caption": "WebDataset tars (KEY.jpg with KEY.txt or KEY.json) or parquet with image bytes and captions",
    "interleaved": "parquet with the columns `images` and `texts`",
    "conversation": "JSON or JSON lines with `conversations` and `image`, named .json or .jsonl",
    "text": "JSON lines with `text` (plain or compressed), parquet with a column `text`, or plain UTF-8 text",
    "audio": "WebDataset tars (KEY.wav, .flac, .ogg or .mp3 with KEY.txt or KEY.json) or parquet with audio bytes and transcripts",
    "video": "WebDataset tars (KEY.mp4, .webm or .gif with KEY.txt or KEY.json) or parquet with video bytes and captions",
}
# what a name promises: a file that breaks the promise is damaged, or is not the file meant
PROMISES = {
    ".tar": ("tar",), ".tgz": ("tar",), ".parquet": ("parquet",), ".jsonl": ("jsonl",),
    ".txt": ("plain", "jsonl", "empty"),
}


WITH_IMAGES = ("interleaved", "conversation")       # whose images are files that the data name


def format_of(path: Path, kind: str) -> str:
    """The format of a file, as `nmm.data.readers.detect.detect` finds it. Text is conversations only where a name says JSON: "json"."""
    found = detect(path)
    if kind == "conversation" and found in ("plain", "jsonl"):
        return {".json": "json", ".jsonl": "jsonl"}.get(ending(path), "plain")
    return found


def files_of(path: Path, kind: str) -> tuple[list[Path], list[Path]]:
    """The data files of a source, sorted by name, and those that are not read: statistics, licences, hidden files.

    Plain text beside JSON lines or parquet is no data, nor is parquet without images beside tars (img2dataset's
    metadata). Loose images are passed over unnamed where a table may name them.

    Raises:
        OSError: the path does not exist, or something in it cannot be read.
        BadShard: the path is a file of another format; or a file in it is not what its name says, or a link to nothing.
        ValueError: the folder has no data file of the kind.
    """
    if not (path.is_file() or path.is_dir()):
        what = "is neither file nor folder" if path.exists() else "does not exist"
        raise FileNotFoundError(f"{path} {what}: give a file or folder with {SAYS[kind]}")
    if path.is_file():
        found = format_of(path, kind)
        if found in EXPECTED[kind]:
            found = _format(path, kind)     # the name may promise something else
        else:
            raise bad_shard(path, f"is {_article(found)}", SAYS[kind])
        return [path], []
    files = sorted(_below(path))
    hidden = {file for file in files if any(part.startswith(".") for part in file.relative_to(path).parts)}
    formats = {file: _format(file, kind) for file in files if file not in hidden}
    for wanted in _preference(kind):
        chosen = [file for file in files if formats.get(file) in wanted]
        if chosen:
            if kind in COLUMNS and wanted == ("tar",):
                tables = [file for file in files if formats.get(file) == "parquet"]
                chosen = sorted([*chosen, *(table for table in tables if has_pairs(table, kind))])
            loose = ("image",) if kind in WITH_IMAGES else ()
            return chosen, [file for file in files if file not in set(chosen) and formats.get(file) not in loose]
    raise ValueError(f"{path} has no data for a {kind} source among its {len(files)} files: expected {SAYS[kind]}")


def _below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, also through links to folders."""
    def stop(error: OSError) -> None:
        raise error

    seen = set()
    for at, folders, names in os.walk(folder, onerror=stop, followlinks=True):
        place = os.path.realpath(at)
        if place in seen:       # a link to a folder above
            folders.clear()
            continue
        seen.add(place)
        yield from (Path(at) / name for name in names)


def _format(path: Path, kind: str) -> str:
    """The format of a file in a folder, if it is what its name promises."""
    if not path.exists():
        raise bad_shard(path, "is a link to nothing", SAYS[kind])
    if not path.is_file():
        return "special"
    found = format_of(path, kind)
    name = ending(path)
    promised = PROMISES.get(name, (found,)) if name != ".txt" or kind == "text" else (found,)
    if found not in promised:
        raise bad_shard(path, f"is {_article(found)}", f"{' or '.join(map(_article, promised))}, as its name says")
    return found


def _preference(kind: str) -> list[tuple[str, ...]]:
    if kind in COLUMNS:
        return [("tar",), ("parquet",)]
    if kind == "text":
        return [("jsonl", "parquet"), ("plain",)]
    return [EXPECTED[kind]]


def _article(found: str) -> str:
    return {"empty": "empty", "unknown": "of an unknown format", "image": "an image", "plain": "plain text",
            "jsonl": "JSON lines", "pointer": "the pointer of a file in git-lfs (git lfs pull fetches the file)"}.get(
                found, f"a {found} file")
