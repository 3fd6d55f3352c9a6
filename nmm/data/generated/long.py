"""Long documents of the generated world, in which what was said far back is worth remembering.

A chronicle is about characters. The world knows `CAST` of them by their patterns. In every document each has a colour and a shape,
drawn anew and kept to its end. By the colour it is called one of `CHOICES` names that it alone has, by the shape one of as many words
is said of it. A line says a character's pattern, its name and its word: `LINE` tokens. So whoever knows where in the document a
character was met last knows two of them, and no table of the world tells what the document does. In interleaved documents an image
comes before every `LINES` lines, of four characters: a patch shows pattern, colour and shape, all that lines say, in one position.

Who comes next, in a line or in an image, is drawn by a frequency that the world gives each character: (rank + 1)^-`TAIL`. The
frequent ones are met again at once and the rare ones after hundreds of lines, so that references point back over all distances, from
a line to the whole document. A name and a word can only be guessed where their character was not met before, which is the rarer the
later: so the best possible loss falls with the position, and `Chronicles.by_position` has it exactly.

That names and words are their character's own is what makes all this quick to learn (runs/LOG.md): first which belong to whom, then
which of them are about in this document, then, ever farther back, who wears them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, pairwise

import numpy as np

from nmm.data.documents import Document, Span, Text
from nmm.data.generated.world import GRID, N_NAMES, N_WORDS, PATCHES_PER_IMAGE, TEXTURES, World, stream

KINDS = ("interleaved", "text")
CAST = 32                       # characters
TAIL = 1.25                     # of their frequencies, see above
CHOICES = 4                     # names that a character may have in a document, and words that may be said of it
LINE = 3                        # pattern, name, word [tokens]
LINES = 16                      # after each image
IMAGE = 1 + PATCHES_PER_IMAGE   # an image with its marker [tokens]
SHORTEST = IMAGE + LINE + 1     # a document with one image and one line [tokens]


@dataclass(frozen=True)
class Chronicles:
    """Long documents of one world, all of one length.

    Args:
        world: whose patterns, names and words they are about; its images have the lowest resolution.
        length: of every document, its end included [tokens].
    """

    world: World
    length: int

    def __post_init__(self) -> None:
        if self.length < SHORTEST:
            raise ValueError(f"long documents have at least {SHORTEST} tokens, an image and a line: got {self.length}")

    @cached_property
    def frequency(self) -> np.ndarray:
        """Probability of each character to be the next one, the most frequent first, (CAST,)."""
        weights = (np.arange(CAST) + 1.0) ** -TAIL
        return weights / weights.sum()

    @cached_property
    def tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pattern of each character, (CAST,), its names, (CAST, CHOICES), and its words, (CAST, CHOICES); numbers without offset."""
        rng = np.random.default_rng((self.world.seed, 9))
        names, words = (rng.permutation(n)[:CAST * CHOICES].reshape(CAST, CHOICES) for n in (N_NAMES, N_WORDS))
        return rng.permutation(TEXTURES)[:CAST], names, words

    def documents(self, kind: str, tokens: int, seed: int) -> Iterator[Document]:
        """Documents of one data type, at least `tokens` tokens in all; a longer corpus begins with the shorter one.

        Raises:
            ValueError: a data type that has no long documents.
        """
        yield from stream(partial(self._make, known(kind)), tokens, (self.world.seed, 8, seed, KINDS.index(kind)))

    def entropy(self) -> dict[str, float]:
        """The lowest possible loss of each data type [nats per target token]."""
        found = {}
        for kind in KINDS:
            targets, nats = self.by_position(kind)
            found[kind] = float(nats.sum() / targets.sum())
        return found

    def by_position(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """At each position of a document whether a target stands there, (length,) of 0 and 1, and how many nats it holds on average, 0
        where there is no target, (length,): the floor of the loss at some positions is the sum of these over the sum of those.

        Exact: characters are drawn independently, so that one of frequency f is new after m were met with probability f (1 - f)^m.
        """
        part, met = self._layout(known(kind))
        f = self.frequency
        new = (f * (1 - f) ** met[:, None]).sum(1)
        nats = np.select([part == 0, part > 0], [-(f * np.log(f)).sum(), new * np.log(CHOICES)], 0.0)
        targets = (part != _PATCH).astype(float)
        targets[0] = nats[0] = 0.0                  # the first token is no target
        return targets, nats

    def _texts(self, kind: str) -> list[int]:
        """Tokens of each stretch of lines: of a text there is one, and in an interleaved document an image stands before each."""
        room = self.length - 1                      # the end comes after
        if kind == "text":
            return [room]
        starts = range(0, room - IMAGE - LINE + 1, IMAGE + LINES * LINE)
        return [end - start - IMAGE for start, end in pairwise([*starts, room])]

    def _layout(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """What stands at each position, (length,): the place in a line, `_PATCH`, or `_FIXED` of markers and the end, which come where
        they always do; and how many characters were met before its line, (length,).
        """
        image = [_FIXED] + [_PATCH] * PATCHES_PER_IMAGE if kind == "interleaved" else []
        part = np.array([*chain.from_iterable([*image, *(np.arange(tokens) % LINE)] for tokens in self._texts(kind)), _FIXED])
        return part, np.cumsum(part == 0) - 1 + GRID * np.cumsum(part == _FIXED)

    def _make(self, kind: str, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        for number in range(first, first + n):
            yield Document(segments=self._segments(kind, rng), name=f"{kind}-{number}")

    def _segments(self, kind: str, rng: np.random.Generator) -> tuple[Span | Text, ...]:
        pattern, names, words = self.tables
        colour, shape = rng.integers(0, CHOICES, (2, CAST))
        who, first_id = np.arange(CAST), self.world.first_id
        said = np.column_stack([first_id("pattern") + pattern, first_id("name") + names[who, colour], first_id("word") + words[who, shape]])
        segments: list[Span | Text] = []
        for tokens in self._texts(kind):
            if kind == "interleaved":
                shown, rows = self._draw(rng, GRID), rng.integers(0, GRID, GRID)
                scene = np.stack([rows, colour[shown], shape[shown], pattern[shown]], axis=-1).astype(np.uint8)
                segments.append(Span(scene.tobytes(), "scene", PATCHES_PER_IMAGE))
            segments.append(Text(ids=said[self._draw(rng, -(-tokens // LINE))].reshape(-1)[:tokens]))
        return tuple(segments)

    def _draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Who comes next, n times, (n,)."""
        return np.searchsorted(np.cumsum(self.frequency), rng.random(n), side="right").clip(max=CAST - 1)


_PATCH, _FIXED = -2, -1


def known(kind: str) -> str:
    """The data type itself.

    Raises:
        ValueError: it has no long documents.
    """
    if kind not in KINDS:
        raise ValueError(f"long documents are of data type {' or '.join(KINDS)}: got {kind!r}")
    return kind
