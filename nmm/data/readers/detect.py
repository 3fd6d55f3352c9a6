"""What format a file is, by content; and its bytes, whatever it is compressed with."""

import io
import json
import lzma
import os
import tarfile
from pathlib import Path

import pyarrow as pa

# first bytes -> what a file is compressed with; pyarrow reads all but xz
CODECS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz",
          b"\x04\x22\x4d\x18": "lz4"}
IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF8", b"BM")
LFS = b"version https://git-lfs.github.com/spec/"
COMPRESSED = (".zst", ".zstd", ".gz", ".bz2", ".xz", ".lz4")
HEAD = 1 << 16  # bytes looked at
DAMAGED = (OSError, EOFError, lzma.LZMAError)    # what reading a damaged or cut compressed stream raises


class BadShard(ValueError):
    """A file that cannot be used; the message names it and says what was expected."""


def bad_shard(path: Path, what: str, expected: str) -> BadShard:
    """The error for a file (a function, so that the exception can be pickled between processes)."""
    return BadShard(f"{path}: {what}; expected {expected}. Mend or remove this file")


def ending(path: Path) -> str:
    """The ending of a file's name, in small letters, that of its compression left out: `.tar` of `1.tar.gz`."""
    endings = [each.lower() for each in path.suffixes]
    if endings and endings[-1] in COMPRESSED:
        endings.pop()
    return endings[-1] if endings else ""


def codec_of(path: Path) -> str | None:
    """The compression of a file, a value of `CODECS`, or None."""
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror or error}") from error
    return next((codec for magic, codec in CODECS.items() if start.startswith(magic)), None)


def os_file(path: Path) -> pa.OSFile:
    """A file for Arrow, by the bytes of its name, which need not be UTF-8."""
    return pa.OSFile(os.fsencode(path), "rb")


def open_stream(path: Path) -> pa.NativeFile | io.BufferedIOBase:
    """A file as a stream of its decompressed bytes, whatever its compression. Memory stays bounded."""
    codec = codec_of(path)
    if codec == "xz":
        return lzma.open(path)
    file = os_file(path)
    return pa.CompressedInputStream(file, codec) if codec else file


def detect(path: Path) -> str:
    """The format of a file: tar, parquet, jsonl, plain, image, pointer (of git-lfs), empty or unknown."""
    codec = codec_of(path)
    try:
        with open_stream(path) as stream:
            head = stream.read(HEAD)
    except DAMAGED as error:
        if codec is None:
            raise OSError(f"cannot read {path}: {error}") from error
        raise bad_shard(path, f"damaged {codec} stream ({error})", "a whole file") from None
    if not head:
        return "empty"
    if head.startswith(LFS):
        return "pointer"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(IMAGES):
        return "image"
    if _is_tar(head):
        return "tar"
    if ending(path) == ".jsonl" or _is_json_lines(head):
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


