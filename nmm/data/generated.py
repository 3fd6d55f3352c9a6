"""The embedded corpus: a seeded little world whose captions, stories and text have a known entropy.

Four objects stand in an image of 4 x 4 patches, one in each column. An object is a colour, a shape and a
texture; the three name its kind, and each of the 12,288 kinds has a name, drawn once from a fixed list. Kinds
are heavy-tailed, so that rare names keep the loss falling over decades of compute. Three data types:

- caption: the image, then place, colour, shape and name of every object;
- interleaved: four times some words, an image, and the objects in its last two columns; then closing words;
- text: words alone. A word's eight possible successors depend on the last word, their order of
  likelihood on the last two.

Everything that is described can be read from the image, so its entropy is zero; words have the exact entropy of
their successors. `World.entropy` gives both per target token: the floor under each data type's loss.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from nmm.data.documents import Document, Span, Text

GRID = 4                    # patches along each side of an image
PATCH = 8                   # pixels along each side of a patch
PATCHES_PER_IMAGE = GRID * GRID
PATCH_DIM = 3 * PATCH * PATCH
CONTEXT = 136               # four captions, one interleaved document, or two texts, with nothing left over

PLACES = ("first", "second", "third", "fourth")        # the columns
COLOURS = ("black", "blue", "green", "cyan", "red", "magenta", "yellow", "white")
SHAPES = (
    "disc", "ring", "square", "frame", "cross", "saltire", "bar", "pole", "triangle", "wedge", "slash", "backslash",
)
TEXTURES = 128
N_NAMES, N_WORDS, SUCCESSORS, ORDERS = 256, 229, 8, 16
PAD, END, IMAGE = "<|padding|>", "<|endofdocument|>", "<|image|>"

SECTIONS, WORDS_PER_SECTION, CLOSING_WORDS, WORDS_PER_TEXT = 4, 6, 11, 67
WORDS_PER_STORY = SECTIONS * WORDS_PER_SECTION + CLOSING_WORDS
LENGTHS = {                 # tokens of a document, the end of document included
    "caption": 1 + PATCHES_PER_IMAGE + 4 * GRID + 1,
    "interleaved": WORDS_PER_STORY + SECTIONS * (1 + PATCHES_PER_IMAGE + 8) + 1,
    "text": WORDS_PER_TEXT + 1,
}


@lru_cache
def _patch_parts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of colours (8, P), shapes (12, P) and textures (128, P) that add up to an object's patch.

    Colour is the mean of each channel, shape a zero-mean pattern of brightness, texture a sign code between red
    and green: three subspaces, so that one linear layer can read each. The sum has unit mean square.
    """
    y, x = (np.mgrid[:PATCH, :PATCH] - (PATCH - 1) / 2) / (PATCH / 2)
    r = np.hypot(x, y)
    square = np.maximum(abs(x), abs(y))
    masks = np.stack([
        r < 0.8, (r > 0.45) & (r < 0.95), square < 0.65, square > 0.65, (abs(x) < 0.3) | (abs(y) < 0.3),
        (abs(x - y) < 0.3) | (abs(x + y) < 0.3), abs(y) < 0.4, abs(x) < 0.4, (y > -0.6) & (abs(x) < (y + 0.8) / 2),
        (x > -0.6) & (abs(y) < (x + 0.8) / 2), abs(x - y) < 0.5, abs(x + y) < 0.5,
    ]).reshape(len(SHAPES), -1).astype(float)
    masks -= masks.mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(masks, full_matrices=False)        # the nearest orthonormal set to the drawn shapes
    glyph = (u @ vt) * PATCH
    colour = np.array([[(c >> 2) & 1, (c >> 1) & 1, c & 1] for c in range(len(COLOURS))]) * 2.0 - 1
    signs = np.sign(np.random.default_rng(20250410).random((TEXTURES, PATCH * PATCH)) - 0.5)
    texture = 1.4 * signs[:, :, None] * np.array([1.0, -1.0, 0.0])
    scale = (1 + 1 + 1.4**2 * 2 / 3) ** -0.5
    pixels = PATCH * PATCH
    return (
        (scale * np.repeat(colour[:, None, :], pixels, 1).reshape(len(COLOURS), -1)).astype(np.float32),
        (scale * np.repeat(glyph[:, :, None], 3, 2).reshape(len(SHAPES), -1)).astype(np.float32),
        (scale * texture.reshape(TEXTURES, -1)).astype(np.float32),
    )


def render(scenes: list[bytes]) -> np.ndarray:
    """Draw scenes as patches in column-major order.

    Args:
        scenes: 16 bytes each: row, colour, shape and texture of the object in every column.
    Returns:
        (n, 16, 192) float32; empty places are zero.
    Raises:
        ValueError: a scene is not 16 bytes or a value is out of range.
    """
    joined = b"".join(scenes)
    if any(len(scene) != 4 * GRID for scene in scenes):
        raise ValueError(f"a scene is {4 * GRID} bytes: got lengths {sorted({len(scene) for scene in scenes})}")
    row, colour, shape, texture = np.frombuffer(joined, np.uint8).reshape(-1, GRID, 4).transpose(2, 0, 1)
    limits = (("row", row, GRID), ("colour", colour, len(COLOURS)), ("shape", shape, len(SHAPES)), ("texture", texture, TEXTURES))
    for name, values, limit in limits:
        if values.size and values.max() >= limit:
            raise ValueError(f"{name} {values.max()} in a scene: it must be below {limit}")
    colours, glyphs, textures = _patch_parts()
    patches = np.zeros((len(scenes), PATCHES_PER_IMAGE, PATCH_DIM), np.float32)
    place = np.arange(GRID) * GRID + row
    patches[np.arange(len(scenes))[:, None], place] = colours[colour] + glyphs[shape] + textures[texture]
    return patches


def picture(scene: bytes) -> np.ndarray:
    """A scene as RGB pixels for people, (32, 32, 3) uint8: grey background, values clipped at two deviations."""
    patches = render([scene])[0].reshape(GRID, GRID, PATCH, PATCH, 3)       # column, row, y, x, channel
    image = patches.transpose(1, 2, 0, 3, 4).reshape(GRID * PATCH, GRID * PATCH, 3)
    return np.round(np.clip(image / 4 + 0.5, 0, 1) * 255).astype(np.uint8)


def _words(rng: np.random.Generator, consonants: str, n: int) -> list[str]:
    syllables = [c + v for c in consonants for v in "aeiou"]
    pairs = rng.permutation(len(syllables) ** 2)[:n]
    return [syllables[p // len(syllables)] + syllables[p % len(syllables)] for p in pairs]


@dataclass(frozen=True)
class World:
    """The tables of one world: which kinds there are, how they are called, and how words follow each other."""

    seed: int = 0

    @cached_property
    def vocabulary(self) -> list[str]:
        """Token strings in the order of their ids; 512 of them."""
        rng = np.random.default_rng((self.seed, 0))
        names = [name.capitalize() for name in _words(rng, "bdgklmnprstvz", N_NAMES)]
        return [PAD, END, IMAGE, *PLACES, *COLOURS, *SHAPES, *names, *_words(rng, "fhjwyqc", N_WORDS)]

    @cached_property
    def _offsets(self) -> dict[str, int]:
        sizes = {"special": 3, "place": GRID, "colour": len(COLOURS), "shape": len(SHAPES), "name": N_NAMES, "word": N_WORDS}
        starts = np.cumsum([0, *sizes.values()])
        return dict(zip(sizes, map(int, starts), strict=False))

    @cached_property
    def kind_probability(self) -> np.ndarray:
        """(colour, shape, texture) -> probability of the kind: (rank + 15)^-1.5 with ranks shuffled."""
        n = len(COLOURS) * len(SHAPES) * TEXTURES
        p = (np.arange(n) + 15.0) ** -1.5
        return (p / p.sum())[np.random.default_rng((self.seed, 1)).permutation(n)].reshape(len(COLOURS), len(SHAPES), TEXTURES)

    @cached_property
    def kind_name(self) -> np.ndarray:
        """(colour, shape, texture) -> number of the name."""
        shape = (len(COLOURS), len(SHAPES), TEXTURES)
        return np.random.default_rng((self.seed, 2)).integers(0, N_NAMES, shape)

    @cached_property
    def _word_tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """First-word probabilities, successors (word, 8), order of two words (word, word), orders (16, 8)."""
        rng = np.random.default_rng((self.seed, 3))
        unigram = 1 / (np.arange(N_WORDS) + 3.0)
        unigram /= unigram.sum()
        keys = rng.random((N_WORDS, N_WORDS)) ** (1 / unigram)          # the largest keys: a weighted draw without replacement
        successors = np.argsort(-keys, axis=1, kind="stable")[:, :SUCCESSORS]
        orders = np.argsort(rng.random((ORDERS, SUCCESSORS)), axis=1, kind="stable")
        return unigram, successors, rng.integers(0, ORDERS, (N_WORDS, N_WORDS)), orders

    @cached_property
    def _successor_probability(self) -> np.ndarray:
        p = 1 / (np.arange(SUCCESSORS) + 1.0) ** 2
        return p / p.sum()

    def entropy(self) -> dict[str, float]:
        """The lowest possible loss of each data type [nats per target token].

        A target is a text token whose predecessor is in the same document. Only words are uncertain: the first
        word of a document is no target, the second is drawn by the order of a fixed first pair, the rest by the last two.
        """
        p = self._successor_probability
        per_word = float(-(p * np.log(p)).sum())
        words = {"caption": 0, "interleaved": WORDS_PER_STORY - 1, "text": WORDS_PER_TEXT - 1}
        targets = {"caption": 17, "interleaved": WORDS_PER_STORY + SECTIONS * 9, "text": WORDS_PER_TEXT}
        return {kind: per_word * words[kind] / targets[kind] for kind in words}

    def tokenizer(self) -> Tokenizer:
        """A word-level tokenizer of the vocabulary, for showing samples and for text typed by hand."""
        vocabulary = {word: i for i, word in enumerate(self.vocabulary)}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return tokenizer

    def documents(self, kind: str, tokens: int, seed: int) -> Iterator[Document]:
        """Documents of one data type, at least `tokens` tokens in all.

        The first documents do not depend on `tokens`: a longer corpus begins with the shorter one.

        Raises:
            ValueError: an unknown data type.
        """
        makers = {"caption": self._captions, "interleaved": self._stories, "text": self._texts}
        if kind not in makers:
            raise ValueError(f"unknown data type {kind!r}: the generated corpus has {', '.join(makers)}")
        make, length = makers[kind], LENGTHS[kind]
        chunk, made = 1000, 0
        while made * length < tokens:
            rng = np.random.default_rng((self.seed, 4, seed, list(makers).index(kind), made // chunk))
            for document in make(rng, chunk, made):
                if made * length >= tokens:
                    return
                made += 1
                yield document

    def _scenes(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """(n, column, 4) uint8: row, colour, shape, texture of every object."""
        cumulative = np.cumsum(self.kind_probability.reshape(-1))
        kind = np.searchsorted(cumulative, rng.random((n, GRID)) * cumulative[-1], side="right")
        colour, shape, texture = np.unravel_index(np.minimum(kind, cumulative.size - 1), self.kind_probability.shape)
        return np.stack([rng.integers(0, GRID, (n, GRID)), colour, shape, texture], axis=-1).astype(np.uint8)

    def _describe(self, scenes: np.ndarray, columns: slice) -> np.ndarray:
        """Token ids (n, 4 columns) that say place, colour, shape and name of the objects in some columns."""
        _, colour, shape, texture = scenes[:, columns].transpose(2, 0, 1).astype(np.int64)
        at = self._offsets
        place = np.broadcast_to(at["place"] + np.arange(GRID)[columns], colour.shape)
        ids = [place, at["colour"] + colour, at["shape"] + shape, at["name"] + self.kind_name[colour, shape, texture]]
        return np.stack(ids, axis=-1).reshape(len(scenes), -1)

    def _chains(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
        """Word ids (n, length). Before the first word stands word 0, for the order of the second."""
        unigram, successors, order_of, orders = self._word_tables
        words = np.empty((n, length), np.int64)
        words[:, 0] = np.searchsorted(np.cumsum(unigram), rng.random(n), side="right").clip(max=N_WORDS - 1)
        likelihood = np.cumsum(self._successor_probability)
        before = np.zeros(n, np.int64)
        for t in range(1, length):
            last = words[:, t - 1]
            rank = np.searchsorted(likelihood, rng.random(n), side="right").clip(max=SUCCESSORS - 1)
            words[:, t] = successors[last, orders[order_of[before, last], rank]]
            before = last
        return words + self._offsets["word"]

    def _captions(self, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        scenes = self._scenes(rng, n)
        said = self._describe(scenes, slice(0, GRID))
        for i in range(n):
            segments = (Span(data=scenes[i].tobytes(), format="scene"), Text(ids=said[i]))
            yield Document(segments=segments, name=f"caption-{first + i}")

    def _stories(self, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        scenes = self._scenes(rng, n * SECTIONS)
        said = self._describe(scenes, slice(2, 4))
        words = self._chains(rng, n, WORDS_PER_STORY)
        for i in range(n):
            sections = np.split(words[i], np.arange(1, SECTIONS + 1) * WORDS_PER_SECTION)
            segments = []
            for j, before in enumerate(sections[:-1], start=i * SECTIONS):
                segments += [Text(ids=before), Span(data=scenes[j].tobytes(), format="scene"), Text(ids=said[j])]
            segments.append(Text(ids=sections[-1]))
            yield Document(segments=tuple(segments), name=f"interleaved-{first + i}")

    def _texts(self, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        for i, words in enumerate(self._chains(rng, n, WORDS_PER_TEXT)):
            yield Document(segments=(Text(ids=words),), name=f"text-{first + i}")
