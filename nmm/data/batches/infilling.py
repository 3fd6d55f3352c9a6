"""Causally masked documents: spans replaced by sentinels and moved behind the document, each after its sentinel. No torch here.

A document `a b c d e` with the spans `b` and `d` becomes `a <0> c <1> e <0> b <1> d <2>`: every span ends with the next sentinel. What
is to be filled in is read with all that surrounds it, from left to right.

Source: Aghajanyan et al. 2022, CM3 (arXiv 2201.07520), Sec. 2. Ours: a span may be the whole of an image, and the last sentinel says
that nothing more is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST = 16               # spans of a document
SENTINELS = MOST + 1    # ids: one for each span, and one to end the last
MEAN = 1.0              # of the Poisson distribution that the number of spans is clipped from
WHOLE_IMAGE = 0.5       # of the masked documents that have images: how many have one of them masked as a whole
MEAN_SPANS = MEAN + np.exp(-MEAN)       # of a masked document, as clipping at 1 leaves it

Span = tuple[int, int]      # first position, and the one after the last


@dataclass(frozen=True)
class Rotated:
    """A document with its spans moved to its end.

    Attributes:
        ids: token ids.
        source: position of each in the document; -1 for a sentinel.
        unforeseen: whether it is a sentinel where a span was, which nobody can foresee: no target.
    """

    ids: np.ndarray
    source: np.ndarray
    unforeseen: np.ndarray


def draw_spans(rng: np.random.Generator, length: int, images: Sequence[Span] = ()) -> list[Span]:
    """Spans of a document to mask, in order; none touches another or holds the first token. None of a document too short.

    Args:
        length: positions of the document.
        images: where its images are.
    """
    count = min(int(np.clip(rng.poisson(MEAN), 1, MOST)), (length - 1) // 2)
    if count < 1:
        return []
    edges = np.sort(1 + rng.choice(length, 2 * count, replace=False))
    spans = [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
    if images and rng.random() < WHOLE_IMAGE:
        begin, end = images[int(rng.integers(len(images)))]
        if begin > 0:
            spans = sorted([(begin, end), *((a, b) for a, b in spans if b < begin or a > end)])
    return spans


def rotate(ids: np.ndarray, spans: Sequence[Span], sentinel: int, context: int | None = None) -> Rotated:
    """Move spans of a document to its end.

    Args:
        ids: (n,) token ids.
        spans: in order, apart from each other, none with position 0.
        sentinel: id of the first sentinel; the others follow.
        context: positions that it may take; None: any number.
    Raises:
        ValueError: spans that are none, or too many; or the document is then longer than the context.
    """
    edges = [0, *(edge for span in spans for edge in span), len(ids)]
    if any(a >= b for a, b in zip(edges[:-1], edges[1:-1])) or edges[-2] > len(ids) or len(spans) > MOST:
        raise ValueError(f"spans {list(spans)} of a document of {len(ids)} tokens: at most {MOST}, in order, apart, after the first token")
    if not spans:
        return Rotated(np.asarray(ids), np.arange(len(ids)), np.zeros(len(ids), bool))
    longer = len(ids) + 2 * len(spans) + 1
    if context is not None and longer > context:
        raise ValueError(f"a document of {len(ids)} tokens takes {longer} with {len(spans)} spans masked, and the context is {context}: "
                         "mask fewer spans, or raise the context")
    positions = np.arange(len(ids))
    parts, marks = [], []           # positions, with -1 for a sentinel; and which sentinel
    after = 0
    for number, (begin, end) in enumerate(spans):
        parts += [positions[after:begin], [-1]]
        marks += [np.full(begin - after, -1), [number]]
        after = end
    parts.append(positions[after:])
    marks.append(np.full(len(ids) - after, -1))
    body = sum(map(len, parts))
    for number, (begin, end) in enumerate(spans):
        parts += [[-1], positions[begin:end]]
        marks += [[number], np.full(end - begin, -1)]
    source = np.concatenate([*parts, [-1]]).astype(np.int64)
    mark = np.concatenate([*marks, [len(spans)]]).astype(np.int64)
    rotated = np.where(source >= 0, np.asarray(ids)[source], sentinel + mark)
    return Rotated(rotated, source, (source < 0) & (np.arange(len(source)) < body))


def restore(ids: np.ndarray, sentinel: int) -> np.ndarray:
    """The document that `rotate` was given: spans put back where their sentinels stand.

    Raises:
        ValueError: a sentinel has no span, or there is a span without a place.
    """
    ids = np.asarray(ids)
    at = np.flatnonzero((ids >= sentinel) & (ids < sentinel + SENTINELS))
    if not len(at):
        return ids
    number, count = ids[at] - sentinel, len(at) // 2
    if not count or list(number) != [*range(count), *range(count), count]:
        raise ValueError(f"sentinels {number.tolist()}: each of 0 to {max(count - 1, 0)} twice, then {count} at the end")
    places, begins = at[:count], at[count:]
    parts, after = [], 0
    for n in range(count):
        parts += [ids[after:places[n]], ids[begins[n] + 1:begins[n + 1]]]
        after = places[n] + 1
    return np.concatenate([*parts, ids[after:begins[0]]])
