"""Checkpoints that this machine wrote, told from all others by a signature: a checkpoint is a pickle, and reading one runs its code.

    python -m nmm.training.signatures FOLDER..

signs the checkpoints below folders that you trust: those of an earlier version of nmm, or of a machine whose key is lost.

The signature is an HMAC, with a key that only you can read, in the last bytes of the file itself, behind the end of the zip archive
that a checkpoint is: a checkpoint and its signature are there together or not at all. Several machines that share a folder share a
key file, named by the environment variable NMM_KEY_FILE.
"""

import argparse
import hashlib
import hmac
import os
import secrets
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

KEY_FILE = "NMM_KEY_FILE"       # environment variable: a key file shared by several machines
MARK = b"nmm-signed-1"
KEY_BYTES, MAC_BYTES, NAME_BYTES = 32, 32, 8
TRAILER = len(MARK) + NAME_BYTES + MAC_BYTES
BLOCK = 1 << 20


class Unsigned(ValueError):
    """A whole checkpoint that bears no signature of ours, and is not read."""


class Damaged(ValueError):
    """A checkpoint that is cut, or is not what was signed."""


def key_file() -> Path:
    """Where the key is: what NMM_KEY_FILE says, else the user's state directory."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(os.environ.get(KEY_FILE) or Path(state) / "nmm" / "checkpoint.key").expanduser()


@cache
def _key(path: Path) -> bytes:
    """The key in a file, which is made if it is not there; several processes may do so at once."""
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise OSError(f"cannot read or make the key {path}, which checkpoints are signed with ({error.strerror}): "
                      f"set {KEY_FILE} to a file of yours") from error
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key file {path} has {len(key)} bytes, a key has {KEY_BYTES}: delete it, and a new one is made")
    if path.stat().st_mode & 0o077:
        raise ValueError(f"the key file {path} can be read by others: chmod 600 {path}")
    return key


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        os.fsync(file.fileno())
    try:
        os.link(partial, path)      # fails where another process was first, and overwrites nothing
    except FileExistsError:
        pass
    finally:
        partial.unlink()


@contextmanager
def signing(path: Path) -> Iterator[BinaryIO]:
    """A file to write a checkpoint to, one byte after the other; when the block ends it is signed and becomes `path`."""
    key = _key(key_file())
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        writer = _Writer(file, hmac.new(key, digestmod=hashlib.sha256))
        yield writer
        file.write(MARK + _name(key) + writer.mac.digest())
    os.replace(partial, path)


class _Writer:
    """A file that keeps count of what is written."""

    def __init__(self, file: BinaryIO, mac: hmac.HMAC) -> None:
        self.file, self.mac = file, mac

    def write(self, data: bytes) -> int:
        """Write at the end."""
        self.mac.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        """Hand what is written to the system."""
        self.file.flush()


def require(path: Path) -> None:
    """Let a checkpoint pass that we have signed.

    Raises:
        Unsigned: it is another's, or of an earlier version.
        Damaged: it is cut, or was changed since.
        OSError: it cannot be read.
    """
    key = _key(key_file())
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - TRAILER))
        trailer = file.read()
        if not trailer.startswith(MARK) or len(trailer) != TRAILER:
            if zipfile.is_zipfile(path):
                raise Unsigned(_refusal(path, "bears no signature, so this machine did not write it"))
            raise Damaged(f"the checkpoint {path} is cut")
        if trailer[len(MARK):-MAC_BYTES] != _name(key):
            raise Unsigned(_refusal(path, f"was signed with another key than {key_file()}"))
        file.seek(0)
        mac, left = hmac.new(key, digestmod=hashlib.sha256), size - TRAILER
        while left and (data := file.read(min(BLOCK, left))):
            mac.update(data)
            left -= len(data)
    if not hmac.compare_digest(mac.digest(), trailer[-MAC_BYTES:]):
        raise Damaged(f"the checkpoint {path} is damaged: it is not what was signed")


def _refusal(path: Path, why: str) -> str:
    return (
        f"the checkpoint {path} {why}; it could run any code, and is not read. Delete {path.parent} to train this run from its start. "
        f"If it is yours, of another machine: set {KEY_FILE} to that machine's key file; of an earlier version: "
        f"python -m nmm.training.signatures {path.parent}"
    )


def _name(key: bytes) -> bytes:
    """What tells keys apart without telling them."""
    return hashlib.sha256(b"nmm key " + key).digest()[:NAME_BYTES]


def sign(path: Path) -> None:
    """Sign a checkpoint as it is, whatever is in it."""
    data = path.read_bytes()
    if data[-TRAILER:].startswith(MARK):
        data = data[:-TRAILER]
    with signing(path) as file:
        file.write(data)


def main(argv: list[str] | None = None) -> int:
    """Sign the checkpoints below folders; exit status 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m nmm.training.signatures",
                                     description="Sign checkpoints that you trust: reading one runs whatever code is in it.")
    parser.add_argument("folders", nargs="+", type=Path, help="folders of checkpoints, such as RUNS/.scratch")
    for folder in parser.parse_args(argv).folders:
        if not folder.is_dir():
            print(f"nmm.training.signatures: no folder {folder}", file=sys.stderr)
            return 2
        found = [path for path in sorted(folder.rglob("*ba*-rank0.pt")) if path.is_file() and not path.is_symlink()]
        for path in found:
            sign(path)
        print(f"{folder}: {len(found)} checkpoints signed with {key_file()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
