"""A document: text, images, audio and video in reading order. What every reader makes and every packer takes."""

import hashlib
from dataclasses import dataclass

import numpy as np

WHOLE = ("caption", "audio", "video", "image", "conversation")  # documents of these kinds are never cut
MAX_TEXT = 16 << 20     # a longer text is passed over: its tokens would fill the memory [bytes]


@dataclass(frozen=True, slots=True)
class Text:
    """A run of text: a string (real data) or token ids (a generated corpus). Exactly one of the two is set."""

    text: str | None = None
    ids: np.ndarray | None = None  # (T,) integers
    turn: bool = False             # somebody else speaks next: the text ends as a document does, see `nmm.data.batches.turns`

    def __post_init__(self) -> None:
        if (self.text is None) == (self.ids is None):
            raise ValueError("a Text segment has either text or ids: got both or neither")


@dataclass(frozen=True, slots=True)
class Span:
    """An image, a clip of audio or a video, as bytes.

    `format` names the decoder that turns them into what the model sees, and so the modality
    (`nmm.data.corpus.formats`).
    """

    data: bytes
    format: str
    positions: int | None = None  # in a sequence; None: an image, where a corpus has images of one size


@dataclass(frozen=True, slots=True)
class Document:
    """Segments in reading order. `name` appears in reports of rejected samples only."""

    segments: tuple[Text | Span, ...]
    name: str
    origin: bytes | None = None  # digest of the document as it was found, where it has been changed since

    def digest(self) -> bytes:
        """16 bytes that depend on the content as found, so that equal documents fall into the same split."""
        if self.origin is not None:
            return self.origin
        state = hashlib.blake2b(digest_size=16)
        for segment in self.segments:
            if isinstance(segment, Span):
                kind, data = b"i", segment.data
            elif segment.text is not None:
                kind, data = b"t", segment.text.encode("utf-8", "surrogatepass")
            else:
                kind, data = b"n", np.ascontiguousarray(segment.ids, dtype="<i4").tobytes()
            state.update(kind + len(data).to_bytes(8, "little"))
            state.update(data)
            if isinstance(segment, Text) and segment.turn:
                state.update(b"|")
        return state.digest()
