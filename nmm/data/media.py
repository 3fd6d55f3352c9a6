"""Containers of audio and video, opened and read to their end, or a reason why they cannot be.

A decoder says nothing of a file that was cut: it gives what is there. What the container itself says is asked: how long it is, and for
formats that mark their end, whether the mark is there.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import av

av.logging.set_level(av.logging.PANIC)     # a damaged file is counted by its reason, and says nothing else

Container = av.container.InputContainer
Stream = av.stream.Stream
# Demuxers that files may have: all others, as playlists that name other files, are refused
CONTAINERS = {
    "audio": {"wav", "w64", "flac", "ogg", "mp3", "aac", "mov", "matroska"},
    "video": {"mov", "mp4", "matroska", "webm", "gif", "ogg"},
}
SAID = {"audio": "not a WAV, FLAC, OGG or MP3 file", "video": "not an MP4, WebM or GIF file"}


class BadMedia(ValueError):
    """Audio or video that cannot be used; the message is the reason as reports count it."""


@contextmanager
def decoded(data: bytes, modality: str) -> Iterator[tuple[Container, Stream]]:
    """A file's container and its first stream of a modality, "audio" or "video".

    Raises:
        BadMedia: nothing in it, another format, damaged, or no such stream. Also of what goes wrong inside the block.
    """
    if not data:
        raise BadMedia(f"{modality} is empty")
    try:
        with av.open(io.BytesIO(data), "r", metadata_errors="replace") as container:
            if not set(container.format.name.split(",")) & CONTAINERS[modality]:
                raise BadMedia(SAID[modality])
            streams = getattr(container.streams, modality)
            if not any(stream.codec_context for stream in container.streams if stream.type in CONTAINERS):
                raise BadMedia(f"{modality} is damaged")        # its index is missing, so nothing says what is in it
            if not streams:
                raise BadMedia(f"no stream of {modality} in the file")
            yield container, streams[0]
    except av.error.InvalidDataError:
        raise BadMedia(f"{modality} is damaged" if _known(data) else SAID[modality]) from None
    except (av.FFmpegError, ValueError, OSError, EOFError, IndexError, OverflowError) as error:
        if isinstance(error, BadMedia):
            raise
        raise BadMedia(f"{modality} is damaged") from None


MAGIC = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\x1aE\xdf\xa3", b"GIF8")


def _known(data: bytes) -> bool:
    """Whether a file begins as one of the formats, however it goes on."""
    return data.startswith(MAGIC) or data[4:8] == b"ftyp"


def declared_seconds(container: Container, stream: Stream) -> float:
    """How long the file says that it is, 0 where it says nothing [s]."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else 0.0


def ends(data: bytes) -> bool:
    """Whether a file that marks its end has the mark: the last page of OGG, the trailer of GIF, the size in RIFF's header."""
    if data.startswith(b"OggS"):
        last = data.rfind(b"OggS")
        page = data[last:]
        if len(page) < 27 or len(page) < 27 + page[26]:
            return False
        return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(page[27:27 + page[26]])
    if data.startswith(b"GIF8"):
        return data.rstrip(b"\0").endswith(b";")
    if data.startswith(b"RIFF"):
        size = int.from_bytes(data[4:8], "little")
        return size in (0, 0xFFFFFFFF) or len(data) >= size + 8      # a stream's header has no size
    return True


