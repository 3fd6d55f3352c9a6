"""Which files a path holds, and what format each is, by content."""

import json
import tarfile
from pathlib import Path

import pyarrow as pa

CODECS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip"}
IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF8", b"BM")
HEAD = 1 << 16  # bytes looked at
EXPECTED = {
    "caption": ("tar", "parquet"),
    "interleaved": ("parquet",),
    "text": ("jsonl", "parquet", "plain"),
}
SAYS = {
    "caption": "WebDataset tars (KEY.jpg with KEY.txt or KEY.json) or parquet with image bytes and captions",
    "interleaved": "parquet with the columns `images` and `texts`",
    "text": "JSON lines with `text` (plain, zstd or gzip), parquet with a column `text`, or plain UTF-8 text",
}


class BadShard(ValueError):
    """A file that cannot be used; the message names it and says what was expected."""


def bad_shard(path: Path, what: str, expected: str) -> BadShard:
    """The error for a file (a function, so that the exception can be pickled between processes)."""
    return BadShard(f"{path}: {what}; expected {expected}. Mend or remove this file")


def codec_of(path: Path) -> str | None:
    """The compression of a file: zstd, gzip or None."""
    with path.open("rb") as file:
        start = file.read(4)
    return next((codec for magic, codec in CODECS.items() if start.startswith(magic)), None)


def open_stream(path: Path) -> pa.NativeFile:
    """A file as a stream of its decompressed bytes, whatever its compression. Memory stays bounded."""
    codec = codec_of(path)
    file = pa.OSFile(str(path), "rb")
    return pa.CompressedInputStream(file, codec) if codec else file


def detect(path: Path) -> str:
    """The format of a file: tar, parquet, jsonl, plain, image, empty or unknown."""
    try:
        with open_stream(path) as stream:
            head = stream.read(HEAD)
    except OSError as error:
        if codec_of(path) is None:
            raise
        raise bad_shard(path, f"damaged {codec_of(path)} stream ({error})", "a whole file") from None
    if not head:
        return "empty"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(IMAGES):
        return "image"
    if _is_tar(head):
        return "compressed tar" if codec_of(path) else "tar"
    if ".jsonl" in path.suffixes or _is_json_lines(head):
        return "jsonl"
    return "plain" if _is_text(head) else "unknown"


def _is_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[:tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        # An archive without members is only zero blocks.
        return len(head) >= tarfile.BLOCKSIZE and not head.strip(b"\0")
    return True


def _is_json_lines(head: bytes) -> bool:
    """True when one of the first lines is a JSON object; a first line longer than the head only has to begin one."""
    lines = head.split(b"\n")
    for line in lines[:20]:
        if not line.lstrip().startswith(b"{"):
            continue
        try:
            return isinstance(json.loads(line), dict)
        except ValueError:
            if line is lines[-1]:
                return line.lstrip()[1:].lstrip().startswith(b'"')
    return False


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        # the last character may be cut
        head[:-4].decode("utf-8") if len(head) == HEAD else head.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(head) == HEAD and error.start > len(head) - 8
    return True


def files_of(path: Path, kind: str) -> tuple[list[Path], list[Path]]:
    """The data files of a source, sorted by name, and those that were passed over.

    Images, and whatever else lies beside the data (statistics, licences), are passed over. Where there are tars,
    parquet files beside them are img2dataset's metadata.

    Raises:
        OSError: the path does not exist.
        BadShard: the path is a file of another format.
        ValueError: the folder has no data file of the kind.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give a file or folder with {SAYS[kind]}")
    if path.is_file():
        found = detect(path)
        if found not in EXPECTED[kind]:
            raise bad_shard(path, f"is {_article(found)}", SAYS[kind])
        return [path], []
    files = sorted(p for p in path.rglob("*")
                   if p.is_file() and not any(part.startswith(".") for part in p.relative_to(path).parts))
    formats = {file: _format_in_folder(file) for file in files}
    for wanted in _preference(kind):
        chosen = [file for file in files if formats[file] in wanted]
        if chosen:
            return chosen, [file for file in files if formats[file] not in (*wanted, "image")]
    raise ValueError(f"{path} has no data for a {kind} source among its {len(files)} files: expected {SAYS[kind]}")


def _format_in_folder(path: Path) -> str:
    # Names decide here only where a broken file would otherwise be passed over without a word.
    found = detect(path)
    suffix = "".join(path.suffixes[-2:])
    for ending, meant in ((".tar", "tar"), (".parquet", "parquet"), (".jsonl", "jsonl")):
        if ending in suffix and found in ("empty", "unknown"):
            raise bad_shard(path, f"is {_article(found)}", f"a {meant} file")
    return found


def _preference(kind: str) -> list[tuple[str, ...]]:
    if kind == "caption":
        return [("tar",), ("parquet",)]
    if kind == "text":
        return [("jsonl", "parquet"), ("plain",)]
    return [EXPECTED[kind]]


def _article(found: str) -> str:
    return {"empty": "empty", "unknown": "of an unknown format", "image": "an image", "plain": "plain text",
            "jsonl": "JSON lines", "compressed tar": "a compressed tar (decompress it first)"}.get(
                found, f"a {found} file")
