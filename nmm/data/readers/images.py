"""Where the images of interleaved documents are: a folder, tars, or both."""

from functools import cached_property
from pathlib import Path, PurePosixPath

from nmm.data.readers.archives import members
from nmm.data.readers.detect import bad_shard, codec_of, detect, ending

MAX_FILE = 64 << 20  # larger files are not read [bytes]


class ImageRoot:
    """Image bytes by name, from a folder and from the tars in it (or from one tar).

    Raises:
        OSError: the path does not exist.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(f"image root {path} does not exist: give the folder (or tar) that holds the images")
        self.path = path

    @cached_property
    def _root(self) -> Path:
        return self.path.resolve()

    @cached_property
    def _index(self) -> dict[str, tuple[Path, int, int]]:
        """Name of each tar member -> its tar, offset and size."""
        tars = sorted(p for p in self.path.iterdir() if ending(p) == ".tar") if self.path.is_dir() else [self.path]
        index = {}
        for path in tars:
            if detect(path) != "tar":
                raise bad_shard(path, "is no tar", "a tar of images, or a folder")
            if codec_of(path):
                raise bad_shard(path, "is compressed, and images are looked up by name", "a plain tar (decompress it)")
            for member, _ in members(path):
                if member.isfile():
                    index.setdefault(member.name.removeprefix("./"), (path, member.offset_data, member.size))
        return index

    def read(self, name: str, room: int) -> tuple[bytes | None, str]:
        """An image's bytes, or None and the reason; one of more than `room` bytes is not read."""
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\0" in name:
            return None, "image path outside the image root"
        if name in self._index:
            path, offset, size = self._index[name]
            if size > min(room, MAX_FILE):
                return None, too_large(size, room)
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(size), ""
        file = self.path / name
        try:
            if not self.path.is_dir() or not file.is_file():
                return None, "missing image file"
            if not file.resolve().is_relative_to(self._root):
                return None, "image path outside the image root"
            size = file.stat().st_size
            return (None, too_large(size, room)) if size > min(room, MAX_FILE) else (file.read_bytes(), "")
        except (OSError, ValueError) as error:  # as a name too long for the file system, or one that it cannot have
            return None, f"unreadable image file ({getattr(error, 'strerror', None) or 'bad name'})"


def too_large(size: int, room: int) -> str:
    """Why an image of so many bytes is not read where there is room for `room`."""
    if size > MAX_FILE:
        return f"image file above {MAX_FILE >> 20} MB"
    return "images of a document above the room for them"
