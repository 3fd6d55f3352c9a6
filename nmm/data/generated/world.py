"""The embedded corpus: a seeded little world whose captions, stories and text have a known entropy.

Four objects stand in an image of 4 x 4 patches, one in each column; an image of another resolution shows them in so
many times more patches, one in each quarter of the columns. An object is a colour, a shape and a
texture; the three name its kind, and each of the 12,288 kinds has a name, drawn once from a fixed list. Kinds
are heavy-tailed, so that rare names keep the loss falling over decades of compute. Three data types:

- caption: the image, then place, colour, shape and name of every object;
- interleaved: four times some words, an image, and the objects in its last two columns; then closing words;
- text: words alone. A word's eight possible successors depend on the last word, their order of
  likelihood on the last two.

Everything that is described can be read from the image, so its entropy is zero; words have the exact entropy of
their successors. `World.entropy` gives both per target token: the floor under each data type's loss.
Audio and video, off by default, are in `nmm.data.generated.audio` and `nmm.data.generated.video`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from nmm.data.documents import Document, Span, Text

GRID = 4                    # patches along each side of an image
PATCH = 8                   # pixels along each side of a patch
PATCHES_PER_IMAGE = GRID * GRID
GRIDS = tuple(range(GRID, 33, GRID))    # resolutions that an image can have [patches along a side]
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


def fields(items: Sequence[bytes], what: str, limits: dict[str, int]) -> np.ndarray:
    """The values of items that are four objects with one byte for each property, (property, item, object).

    Raises:
        ValueError: an item has another length, or a value is out of range.
    """
    size = GRID * len(limits)
    if any(len(item) != size for item in items):
        raise ValueError(f"a {what} is {size} bytes: got lengths {sorted({len(item) for item in items})}")
    values = np.frombuffer(b"".join(items), np.uint8).reshape(-1, GRID, len(limits)).transpose(2, 0, 1)
    for (name, limit), own in zip(limits.items(), values):
        if own.size and own.max() >= limit:
            raise ValueError(f"{name} {own.max()} in a {what}: it must be below {limit}")
    return values


def draw_objects(colour: np.ndarray, shape: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """Patches of objects, (..., 192) float32."""
    colours, glyphs, textures = _patch_parts()
    return colours[colour] + glyphs[shape] + textures[texture]


def render(scenes: Sequence[bytes], grid: int = GRID) -> np.ndarray:
    """Draw scenes as patches in column-major order.

    Args:
        scenes: 16 bytes each: cell, colour, shape and texture of every object. An object's cells are the patches of its
            quarter of the columns in reading order; at the lowest resolution a quarter is one column and the cell is
            the row.
        grid: resolution, one of `GRIDS` [patches along a side].
    Returns:
        (n, grid * grid, 192) float32; empty places are zero.
    Raises:
        ValueError: a scene is not 16 bytes, a value is out of range, or there is no such resolution.
    """
    if grid not in GRIDS:
        raise ValueError(f"no scene has a resolution of {grid} patches: it is one of {', '.join(map(str, GRIDS))}")
    cells = grid * grid // GRID
    limits = {"row" if grid == GRID else "cell": cells,
              "colour": len(COLOURS), "shape": len(SHAPES), "texture": TEXTURES}
    cell, colour, shape, texture = fields(scenes, "scene", limits)
    patches = np.zeros((len(scenes), grid * grid, PATCH_DIM), np.float32)
    patches[np.arange(len(scenes))[:, None], np.arange(GRID) * cells + cell] = draw_objects(colour, shape, texture)
    return patches


def pixels(patches: np.ndarray) -> np.ndarray:
    """Patches of a square in column-major order, (g * g, 192), as RGB pixels for people, (8 g, 8 g, 3) uint8.

    The background is grey, values are clipped at two deviations.
    """
    grid = math.isqrt(len(patches))
    image = patches.reshape(grid, grid, PATCH, PATCH, 3).transpose(1, 2, 0, 3, 4)       # row, y, column, x, channel
    return np.round(np.clip(image.reshape(grid * PATCH, grid * PATCH, 3) / 4 + 0.5, 0, 1) * 255).astype(np.uint8)


def picture(scene: bytes, positions: int = PATCHES_PER_IMAGE) -> np.ndarray:
    """A scene as RGB pixels for people, (32, 32, 3) uint8 at the lowest resolution; see `pixels`."""
    return pixels(render([scene], math.isqrt(positions))[0])


def heavy_tail(shape: tuple[int, ...], seed: tuple[int, ...]) -> np.ndarray:
    """Probabilities of kinds: (rank + 15)^-1.5 with ranks shuffled, in an array of this shape."""
    p = (np.arange(math.prod(shape)) + 15.0) ** -1.5
    return (p / p.sum())[np.random.default_rng(seed).permutation(p.size)].reshape(shape)


def draw_kinds(probability: np.ndarray, rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
    """Properties of the four objects of n items, each (n, 4), drawn with the probability of their kind."""
    cumulative = np.cumsum(probability.reshape(-1))
    kind = np.searchsorted(cumulative, rng.random((n, GRID)) * cumulative[-1], side="right")
    return np.unravel_index(np.minimum(kind, cumulative.size - 1), probability.shape)


def stream(
    make: Callable[[np.random.Generator, int, int], Iterator[Document]], tokens: int, seed: tuple[int, ...]
) -> Iterator[Document]:
    """Documents until they hold `tokens` tokens; the first do not depend on `tokens`.

    Args:
        make: gives so many documents from a generator of random numbers, counted from a number.
    """
    chunk, made, held = 1000, 0, 0
    while held < tokens:
        for document in make(np.random.default_rng((*seed, made // chunk)), chunk, made):
            if held >= tokens:
                return
            made += 1
            held += 1 + sum(
                1 + segment.positions if isinstance(segment, Span) else len(segment.ids)
                for segment in document.segments
            )
            yield document


def _words(rng: np.random.Generator, consonants: str, n: int) -> list[str]:
    syllables = [c + v for c in consonants for v in "aeiou"]
    pairs = rng.permutation(len(syllables) ** 2)[:n]
    return [syllables[p // len(syllables)] + syllables[p % len(syllables)] for p in pairs]


# How many ids there are of each kind
IDS = {"special": 3, "place": GRID, "colour": len(COLOURS), "shape": len(SHAPES), "name": N_NAMES, "word": N_WORDS}


def token_kinds() -> list[tuple[int, str]]:
    """First id of each kind of token, in the order of `World.vocabulary`."""
    return list(zip(map(int, np.cumsum([0, *IDS.values()])), IDS, strict=False))


@dataclass(frozen=True)
class World:
    """The tables of one world: which kinds there are, how they are called, and how words follow each other.

    With several resolutions, images take turns.
    """

    seed: int = 0
    grids: tuple[int, ...] = (GRID,)    # resolutions of images [patches along a side]

    def __post_init__(self) -> None:
        if not self.grids or len(set(self.grids)) < len(self.grids) or not set(self.grids) <= set(GRIDS):
            raise ValueError(f"grids {self.grids}: one or more different resolutions of {GRIDS}")

    @cached_property
    def vocabulary(self) -> list[str]:
        """Token strings in the order of their ids; 512 of them."""
        rng = np.random.default_rng((self.seed, 0))
        names = [name.capitalize() for name in _words(rng, "bdgklmnprstvz", N_NAMES)]
        return [PAD, END, IMAGE, *PLACES, *COLOURS, *SHAPES, *names, *_words(rng, "fhjwyqc", N_WORDS)]

    @cached_property
    def _offsets(self) -> dict[str, int]:
        return {kind: first for first, kind in token_kinds()}

    def first_id(self, what: str) -> int:
        """Id of the first place, colour, shape, name or word."""
        return self._offsets[what]

    @cached_property
    def kind_probability(self) -> np.ndarray:
        """(colour, shape, texture) -> probability of the kind: (rank + 15)^-1.5 with ranks shuffled."""
        return heavy_tail((len(COLOURS), len(SHAPES), TEXTURES), (self.seed, 1))

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
        keys = rng.random((N_WORDS, N_WORDS)) ** (1 / unigram)  # the largest keys: a weighted draw without replacement
        successors = np.argsort(-keys, axis=1, kind="stable")[:, :SUCCESSORS]
        orders = np.argsort(rng.random((ORDERS, SUCCESSORS)), axis=1, kind="stable")
        return unigram, successors, rng.integers(0, ORDERS, (N_WORDS, N_WORDS)), orders

    @cached_property
    def _successor_probability(self) -> np.ndarray:
        p = 1 / (np.arange(SUCCESSORS) + 1.0) ** 2
        return p / p.sum()

    @property
    def word_entropy(self) -> float:
        """Entropy of a word, given the two before it [nats]."""
        p = self._successor_probability
        return float(-(p * np.log(p)).sum())

    def entropy(self) -> dict[str, float]:
        """The lowest possible loss of each data type [nats per target token].

        A target is a text token whose predecessor is in the same document. Only words are uncertain: the first
        word of a document is no target, the second is drawn by the order of a fixed first pair, the rest by the last
        two.
        """
        words = {"caption": 0, "interleaved": WORDS_PER_STORY - 1, "text": WORDS_PER_TEXT - 1}
        targets = {"caption": 17, "interleaved": WORDS_PER_STORY + SECTIONS * 9, "text": WORDS_PER_TEXT}
        return {kind: self.word_entropy * words[kind] / targets[kind] for kind in words}

    @property
    def context(self) -> int:
        """The context that captions of these resolutions fill."""
        patches = sum(grid * grid for grid in self.grids) / len(self.grids)
        return math.ceil(GRID * (LENGTHS["caption"] - PATCHES_PER_IMAGE + patches))

    def length(self, kind: str) -> float:
        """Tokens of a document of one data type on average, the end of document included."""
        images = {"caption": 1, "interleaved": SECTIONS, "text": 0}[kind]
        return LENGTHS[kind] + images * (sum(grid * grid for grid in self.grids) / len(self.grids) - PATCHES_PER_IMAGE)

    def tokenizer(self, more: tuple[str, ...] = ()) -> Tokenizer:
        """A word-level tokenizer of the vocabulary and of more words, for showing samples and for text typed by
        hand.
        """
        vocabulary = {word: i for i, word in enumerate((*self.vocabulary, *more))}
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
        yield from stream(makers[kind], tokens, (self.seed, 4, seed, list(makers).index(kind)))

    def _scenes(self, rng: np.random.Generator, n: int, first: int) -> tuple[list[Span], np.ndarray]:
        """Images first, first + 1, ..., each with cell, colour, shape and texture of its objects; and what they
        show.
        """
        kinds = draw_kinds(self.kind_probability, rng, n)
        cell = rng.integers(0, GRID, (n, GRID))
        patches = np.array(self.grids)[np.arange(first, first + n) % len(self.grids)] ** 2
        if self.grids != (GRID,):
            cell = (cell + rng.random((n, GRID))) * patches[:, None] // PATCHES_PER_IMAGE
        values = np.stack([cell, *kinds], axis=-1).astype(np.uint8)
        return [
            Span(scene.tobytes(), "scene", length) for scene, length in zip(values, patches.tolist())
        ], self.describe(*kinds)

    def describe(self, colour: np.ndarray, shape: np.ndarray, texture: np.ndarray) -> np.ndarray:
        """Token ids (n, 4, 4) that say place, colour, shape and name of four objects, given as (n, 4) each."""
        at = self._offsets
        place = np.broadcast_to(at["place"] + np.arange(GRID), colour.shape)
        ids = [place, at["colour"] + colour, at["shape"] + shape, at["name"] + self.kind_name[colour, shape, texture]]
        return np.stack(ids, axis=-1)

    def chains(self, rng: np.random.Generator, n: int, length: int) -> np.ndarray:
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
        scenes, said = self._scenes(rng, n, first)
        for i in range(n):
            yield Document(segments=(scenes[i], Text(ids=said[i].reshape(-1))), name=f"caption-{first + i}")

    def _stories(self, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        scenes, said = self._scenes(rng, n * SECTIONS, first * SECTIONS)
        words = self.chains(rng, n, WORDS_PER_STORY)
        for i in range(n):
            sections = np.split(words[i], np.arange(1, SECTIONS + 1) * WORDS_PER_SECTION)
            segments = []
            for j, before in enumerate(sections[:-1], start=i * SECTIONS):
                segments += [Text(ids=before), scenes[j], Text(ids=said[j, 2:].reshape(-1))]
            segments.append(Text(ids=sections[-1]))
            yield Document(segments=tuple(segments), name=f"interleaved-{first + i}")

    def _texts(self, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        for i, words in enumerate(self.chains(rng, n, WORDS_PER_TEXT)):
            yield Document(segments=(Text(ids=words),), name=f"text-{first + i}")
