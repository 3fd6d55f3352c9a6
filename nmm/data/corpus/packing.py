"""From documents to sequences of exactly `context` positions.

Captions are packed whole, by best-fit decreasing over a bounded window (Johnson et al. 1974; for language models Ding
et al. 2024, "Fewer Truncations Improve Language Modeling"). Interleaved and text documents are concatenated and cut at
the context, never inside an image; what an image leaves free is filled with the text of later documents.
"""

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nmm.data.corpus.formats import known
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.documents import WHOLE, Document, Span, Text

WINDOW = 1024     # documents sorted together [documents]
OPEN = 8          # sequences with room kept for later documents [sequences]
SHORTEST = 1 / 64  # no piece of a cut document is shorter, and less room than this is left empty [contexts]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document, or a piece of one, in token positions. Positions of an image, a clip or a video (a span) hold 0."""

    tokens: np.ndarray         # (T,) int32
    starts: np.ndarray         # (M,) int64: first position of each span; its marker, as `<|image|>`, is the one before
    lengths: np.ndarray        # (M,) int64: positions of each span
    spans: tuple[Span, ...]    # M of them

    def __len__(self) -> int:
        return len(self.tokens)

    def cut(self, room: int) -> int:
        """The largest number of positions <= `room` that ends inside no span; a whole span counts its marker."""
        if room >= len(self.tokens):
            return len(self.tokens)
        last = int(np.searchsorted(self.starts - 1, room)) - 1  # the last span whose marker is before `room`
        if last >= 0 and room < self.starts[last] + self.lengths[last]:
            return int(self.starts[last]) - 1
        return room

    def split(self, at: int) -> tuple["Encoded", "Encoded"]:
        """The first `at` positions and the rest; `at` comes from `cut`."""
        k = int(np.searchsorted(self.starts, at))
        return (Encoded(self.tokens[:at], self.starts[:k], self.lengths[:k], self.spans[:k]),
                Encoded(self.tokens[at:], self.starts[k:] - at, self.lengths[k:], self.spans[k:]))


def encode(documents: Sequence[Document], tokenizer: Tokenizer, patches_per_image: int | None) -> list[Encoded | None]:
    """Token positions of documents: text as it is, a marker and zeros for each span, `<|endofdocument|>` at the end,
    and where one who speaks gives way to another. None for a document of whose text the tokenizer would lose a character.

    Args:
        patches_per_image: positions of a span that does not say how many it has; None: each must say so.
    Raises:
        ValueError: a document carries ids outside the vocabulary, or a span of unknown length or without a marker.
    """
    texts = [s.text for d in documents for s in d.segments if not isinstance(s, Span) and s.text is not None]
    encoded_texts = iter(tokenizer.encode(texts) if texts else ())
    end = np.array([tokenizer.end], np.int32)
    result = []
    for document in documents:
        parts, starts, lengths, spans, position = [], [], [], [], 0
        for segment in document.segments:
            if isinstance(segment, Span):
                length = segment.positions or patches_per_image
                if length is None:
                    raise ValueError(
                        f"document {document.name}: an image without its number of patches, in a corpus with "
                        "images of several sizes"
                    )
                part = np.zeros(1 + length, np.int32)
                part[0] = tokenizer.marker(known(segment.format).modality)
                starts.append(position + 1)
                lengths.append(length)
                spans.append(segment)
            elif segment.text is not None:
                part = next(encoded_texts)
            else:
                part = np.asarray(segment.ids, np.int32)
                if part.size and not 0 <= part.min() <= part.max() < tokenizer.vocab_size:
                    raise ValueError(f"document {document.name}: token ids from {part.min()} to {part.max()}, but the "
                                     f"tokenizer has ids from 0 to {tokenizer.vocab_size - 1}")
            turns = end if isinstance(segment, Text) and segment.turn else end[:0]
            parts.append(part if part is None else np.concatenate((part, turns)))
            position += 0 if part is None else len(part) + len(turns)
        parts.append(end)
        result.append(None if any(part is None for part in parts) else
            Encoded(np.concatenate(parts), np.array(starts, np.int64), np.array(lengths, np.int64), tuple(spans))
        )
    return result


class WholePacker:
    """Sequences of whole documents, by best-fit decreasing over windows of `window` documents.

    Documents keep their order inside a sequence. A sequence less than half full is taken apart and its documents go
    into the next window.
    """

    def __init__(self, context: int, window: int = WINDOW) -> None:
        self.context, self.window = context, window
        self._held: list[Encoded] = []

    def add(self, document: Encoded) -> Iterator[list[Encoded]]:
        """Take one document; gives the sequences that are finished, each a list of documents.

        Raises:
            ValueError: the document is longer than the context.
        """
        if len(document) > self.context:
            raise ValueError(f"a document of {len(document)} positions does not fit the context of {self.context}")
        self._held.append(document)
        if len(self._held) >= self.window:
            bins = _pack(self._held, self.context)
            self._held = [d for b in bins if 2 * sum(map(len, b)) < self.context for d in b]
            yield from (b for b in bins if 2 * sum(map(len, b)) >= self.context)

    def finish(self) -> Iterator[list[Encoded]]:
        """The sequences still open."""
        yield from _pack(self._held, self.context)
        self._held = []


class SplitPacker:
    """Sequences of documents concatenated and cut at the context, never inside an image.

    A few sequences with room stay open. A document goes whole where it fits best; else its beginning fills up the
    fullest open sequence that it can fill; else it starts a new sequence.
    """

    def __init__(self, context: int) -> None:
        self.context, self.shortest = context, max(1, int(context * SHORTEST))
        self._open: list[tuple[int, list[Encoded]]] = []  # (room, pieces)

    def add(self, document: Encoded) -> Iterator[list[Encoded]]:
        """Take one document; gives the sequences that are finished, each a list of pieces.

        Raises:
            ValueError: an image does not fit the context.
        """
        rest = document
        while len(rest):
            chosen = self._choose(rest)
            if chosen is not None:
                room, pieces = self._open.pop(chosen)
            else:
                room, pieces = self.context, []
                if len(self._open) >= OPEN:
                    yield self._open.pop(min(range(OPEN), key=lambda n: self._open[n][0]))[1]
            at = rest.cut(room)
            if at == 0:
                raise ValueError(f"an image of {int(rest.lengths[0])} patches does not fit the context of "
                                 f"{self.context} positions: raise the context, or lower the image size")
            piece, rest = rest.split(at)
            pieces.append(piece)
            room -= at
            if room < self.shortest:
                yield pieces
            else:
                self._open.append((room, pieces))

    def _choose(self, rest: Encoded) -> int | None:
        """The open sequence that takes the next piece of a document; None: a new one."""
        whole = [(room, n) for n, (room, _) in enumerate(self._open) if room >= len(rest)]
        if whole:
            return min(whole)[1]
        left = [(room - cut, n) for n, (room, _) in enumerate(self._open) if (cut := rest.cut(room)) >= self.shortest]
        if left and (min(left)[0] < self.shortest or len(self._open) >= OPEN):
            return min(left)[1]
        return None

    def finish(self) -> Iterator[list[Encoded]]:
        """What is still open, packed once more, so that the end of a corpus wastes little."""
        yield from _pack([piece for _, pieces in self._open for piece in pieces], self.context)
        self._open = []


def packer(kind: str, context: int) -> WholePacker | SplitPacker:
    """The packer of a kind of source: captioned images, clips and videos stay whole, other documents are cut."""
    return WholePacker(context) if kind in WHOLE else SplitPacker(context)


def best_fit_decreasing(lengths: Sequence[int], context: int) -> list[list[int]]:
    """Numbers of the documents in each sequence: the longest first, each where it leaves the least room."""
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (room, bin), sorted: the first with enough room is the best fit
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        place = bisect.bisect_left(rooms, (lengths[number], -1))
        if place < len(rooms):
            room, chosen = rooms.pop(place)
        else:
            room, chosen = context, len(bins)
            bins.append([])
        bins[chosen].append(number)
        if room > lengths[number]:
            bisect.insort(rooms, (room - lengths[number], chosen))
    return [sorted(b) for b in bins]


def _pack(documents: Sequence[Encoded], context: int) -> list[list[Encoded]]:
    return [[documents[n] for n in b] for b in best_fit_decreasing(list(map(len, documents)), context)]


def better_context(lengths: Sequence[int], context: int, waste: float) -> tuple[int, float] | None:
    """The context nearest to `context` in which whole documents waste less than `waste`, and what they waste there.

    Looks as far as one mean length away, at a sample of `WINDOW` documents. None: there is no such context.
    """
    sample = [lengths[len(lengths) * k // min(len(lengths), WINDOW)] for k in range(min(len(lengths), WINDOW))]
    step = max(1, context // 64)
    reach = int(sum(sample) / len(sample)) // step + 1
    for distance in range(1, reach + 1):
        for candidate in (context - distance * step, context + distance * step):
            if candidate >= max(sample):
                found = 1 - sum(sample) / (candidate * len(best_fit_decreasing(sample, candidate)))
                if found < waste:
                    return candidate, found
    return None
