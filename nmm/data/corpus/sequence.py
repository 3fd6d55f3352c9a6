"""The one sample type: a packed multimodal sequence of exactly `context` positions."""

import hashlib
from collections.abc import Iterable
from collections.abc import Sequence as SequenceABC
from dataclasses import dataclass

import numpy as np

from nmm.data.corpus.packing import Encoded
from nmm.data.geometry import Geometry


@dataclass(slots=True)
class Sequence:
    """One packed sequence. `key` identifies it in the corpus; `draw` seeds its augmentation (None: none)."""

    tokens: np.ndarray             # (context,) int32
    documents: np.ndarray          # (context,) int16
    starts: np.ndarray             # (M,) int32, first position of each span (image, clip, video)
    lengths: np.ndarray            # (M,) int32, positions of each span
    formats: SequenceABC[str]      # M, see `nmm.data.corpus.formats`
    data: SequenceABC[bytes]       # M
    geometry: Geometry
    draw: tuple[int, ...] | None = None


def to_sequence(pieces: list[Encoded], context: int, pad: int, geometry: Geometry) -> Sequence:
    """Pieces of documents laid one after the other and padded to `context` positions."""
    tokens = np.full(context, pad, np.int32)
    documents = np.full(context, -1, np.int16)
    position, starts = 0, []
    for number, piece in enumerate(pieces):
        tokens[position:position + len(piece)] = piece.tokens
        documents[position:position + len(piece)] = number
        starts.append(piece.starts + position)
        position += len(piece)
    spans = [span for piece in pieces for span in piece.spans]
    return Sequence(tokens, documents, np.concatenate(starts).astype(np.int32),
                    np.concatenate([piece.lengths for piece in pieces]).astype(np.int32),
                    [span.format for span in spans], [span.data for span in spans], geometry)


def content_hash(rows: Iterable[Sequence]) -> str:
    """Hash of what the rows say, not of Arrow's bytes, which may change with its version."""
    state = hashlib.blake2b(digest_size=8)
    for row in rows:
        for array in (row.tokens, row.documents, row.starts, row.lengths):
            state.update(np.ascontiguousarray(array).tobytes())
        for name, data in zip(row.formats, row.data):
            state.update(name.encode() + len(data).to_bytes(8, "little"))
            state.update(data)
    return state.hexdigest()
