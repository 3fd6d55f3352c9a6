"""A document: text and images in reading order. What every reader makes and every packer takes."""

import hashlib
from dataclasses import dataclass

import numpy as np

KINDS = ("caption", "interleaved", "text")


@dataclass(frozen=True, slots=True)
class Text:
    """A run of text: a string (real data) or token ids (a generated corpus). Exactly one of the two is set."""

    text: str | None = None
    ids: np.ndarray | None = None  # (T,) integers

    def __post_init__(self) -> None:
        if (self.text is None) == (self.ids is None):
            raise ValueError("a Text segment has either text or ids: got both or neither")


@dataclass(frozen=True, slots=True)
class Image:
    """One image as bytes. `format` names the decoder that turns them into patches (`nmm.data.formats`)."""

    data: bytes
    format: str


@dataclass(frozen=True, slots=True)
class Document:
    """Segments in reading order. `name` appears in reports of rejected samples only."""

    segments: tuple[Text | Image, ...]
    name: str
    origin: bytes | None = None  # digest of the document as it was found, where it has been changed since

    def digest(self) -> bytes:
        """16 bytes that depend on the content as found, so that equal documents fall into the same split."""
        if self.origin is not None:
            return self.origin
        state = hashlib.blake2b(digest_size=16)
        for segment in self.segments:
            if isinstance(segment, Image):
                kind, data = b"i", segment.data
            elif segment.text is not None:
                kind, data = b"t", segment.text.encode("utf-8", "surrogatepass")
            else:
                kind, data = b"n", np.ascontiguousarray(segment.ids, dtype="<i4").tobytes()
            state.update(kind + len(data).to_bytes(8, "little"))
            state.update(data)
        return state.digest()
