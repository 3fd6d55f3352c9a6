"""Where the images of interleaved documents are: a folder, tars, or both."""

import tarfile
from functools import cached_property
from pathlib import Path, PurePosixPath

from nmm.data.readers.detect import bad_shard, detect

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
        tars = sorted(self.path.glob("*.tar")) if self.path.is_dir() else [self.path]
        index = {}
        for path in tars:
            if detect(path) != "tar":
                raise bad_shard(path, "is no tar", "a tar of images, or a folder")
            try:
                with tarfile.open(path, "r:") as archive:
                    for member in archive:
                        if member.isfile():
                            index.setdefault(member.name.removeprefix("./"), (path, member.offset_data, member.size))
            except tarfile.TarError as error:
                raise bad_shard(path, f"damaged or cut ({error})", "a whole tar of images") from None
        return index

    def read(self, name: str) -> tuple[bytes | None, str]:
        """An image's bytes, or None and the reason."""
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\0" in name:
            return None, "image path outside the image root"
        if name in self._index:
            path, offset, size = self._index[name]
            if size > MAX_FILE:
                return None, f"image file above {MAX_FILE >> 20} MB"
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(size), ""
        file = self.path / name
        try:
            if not self.path.is_dir() or not file.is_file():
                return None, "missing image file"
            if not file.resolve().is_relative_to(self._root):
                return None, "image path outside the image root"
            if file.stat().st_size > MAX_FILE:
                return None, f"image file above {MAX_FILE >> 20} MB"
            return file.read_bytes(), ""
        except OSError as error:  # as a name too long for the file system
            return None, f"unreadable image file ({error.strerror})"
