"""A tar read to its end, compressed or not, or an error that names the place.

`tarfile` ends in silence at the first header that it cannot read, and at zeros. Here zeros end an archive only where,
and as many as, writers put there; another archive may follow them (concatenated tars), whatever else does is
damage.
"""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from nmm.data.readers.detect import DAMAGED, bad_shard, codec_of, open_stream

MAX_MEMBER = 64 << 20   # larger members are passed over unread [bytes]
EXPECTED = "a whole WebDataset tar"
_BLOCK, _RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
_PADDING = _RECORD // _BLOCK + 1    # zero blocks at most behind a tar: its mark, and up to a whole record
# what the parsing of a damaged header raises besides tarfile's own
_BROKEN = (tarfile.TarError, EOFError, ValueError, ArithmeticError, LookupError, TypeError, RecursionError)


def members(path: Path) -> Iterator[tuple[tarfile.TarInfo, Callable[[], bytes]]]:
    """Each member and what reads its content, to be called before the next member is asked for, if at all.

    Raises:
        BadShard: a header is damaged, the file is cut, or zeros stand where members should be; with the offset.
        OSError: the file cannot be read.
    """
    with open_stream(path) as stream:
        file = _Forwards(path, stream, codec_of(path) is None)
        try:
            archive = tarfile.TarFile(fileobj=file, mode="r")
            member = archive.next()
        except _BROKEN as error:
            raise _damaged(path, 0, error) from None
        begins, zeros = 0, 0 if member else 1
        while True:
            if member is None:      # a block of zeros
                archive.offset = file.tell()
            else:
                if member.size < 0:
                    raise _damaged(path, member.offset, "a size below zero")
                if zeros and not _ends(zeros, archive_bytes=member.offset - begins):
                    raise _zeros(path, member.offset, zeros)
                if zeros:
                    begins, zeros = member.offset, 0
                yield member, lambda: file.content(member)
            offset = archive.offset
            file.seek(offset)
            try:
                member = tarfile.TarInfo.fromtarfile(archive)
            except tarfile.EOFHeaderError:
                member, zeros = None, zeros + 1
            except tarfile.EmptyHeaderError:
                break
            except _BROKEN as error:
                raise (_zeros(path, offset, zeros) if zeros == 1 else _damaged(path, offset, error)) from None
        if not zeros:
            raise bad_shard(path, f"ends at byte {offset} without the mark of its end, so it was cut", EXPECTED)
        if zeros > _PADDING:
            raise _zeros(path, offset, zeros)


def _ends(zeros: int, archive_bytes: int) -> bool:
    """Whether zero blocks are the end of one of several tars in a file: the bare mark, or filled up to a record."""
    return zeros == 2 or (2 < zeros <= _PADDING and archive_bytes % _RECORD == 0)


def _damaged(path: Path, offset: int, error: object) -> Exception:
    return bad_shard(path, f"damaged or cut at byte {offset} ({error})", EXPECTED)


def _zeros(path: Path, end: int, blocks: int) -> Exception:
    size = blocks * _BLOCK
    what = f"holds {size} zero bytes from byte {end - size}, where members should be (an unfinished download?)"
    return bad_shard(path, what, EXPECTED)


class _Forwards:
    """A stream as `tarfile` wants it: it goes forwards only, and no read is large, whatever a header says."""

    def __init__(self, path: Path, stream, seekable: bool) -> None:
        self.path, self.stream, self.seekable, self.position = path, stream, seekable, 0

    def tell(self) -> int:
        return self.position

    def read(self, size: int) -> bytes:
        """Up to `size` bytes: fewer at the end of the file alone."""
        if size > MAX_MEMBER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        try:
            data = self.stream.read(size)
        except DAMAGED as error:
            raise bad_shard(self.path, f"cannot be read beyond byte {self.position} ({error})", EXPECTED) from None
        self.position += len(data)
        return data

    def seek(self, offset: int) -> None:
        """Go to an offset at or after this one.

        Raises:
            BadShard: the file ends before it.
        """
        if self.seekable and offset > self.position:
            self.stream.seek(offset - 1)
            self.position = offset - 1
        while self.position < offset:
            if not self.read(min(offset - self.position, 1 << 20)):
                raise bad_shard(self.path, f"ends inside a member, before byte {offset}, so it was cut", EXPECTED)

    def content(self, member: tarfile.TarInfo) -> bytes:
        """The bytes of the member whose header was read last."""
        self.seek(member.offset_data)
        data = self.read(member.size)
        if len(data) != member.size:
            raise bad_shard(self.path, f"ends inside {member.name}", EXPECTED)
        return data
