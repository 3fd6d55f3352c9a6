"""The embedded corpus: a seeded little world whose captions, stories and text have a known entropy.

Four objects stand in an image of 4 x 4 patches, one in each column; an image of another resolution shows them in so
many times more patches, one in each quarter of the columns. An object is a colour, a shape and a pattern; the three
make its kind. Each of the 24,576 kinds has a name, drawn once from a fixed list, and words that may be said of it.
Three data types:

- caption: the image, then colour, shape, pattern and name of every object, then words;
- interleaved: four times some words, an image, and what a caption says of its objects; then closing words;
- text: words alone. A word's eight possible successors depend on the last word; their order of likelihood is one of
  four, which depend on the last two words, and which of the four on the last three and on the last four. The first
  word after an image is one of eight that depend on the name of its last object, in an order of likelihood that depends
  on its kind.

What is seen is easy: each attribute is read by one linear layer and is named, and the words for the object in a column
stand as far from it in every column of every document. What is known, kinds and contexts of words, is many facts of
very unequal frequency. What an image shows, and the names, have entropy zero; words have the exact entropy of their
distribution. `World.entropy` gives the mean per target token: the floor under each data type's loss.
Audio, video and long documents, off by default, are in `nmm.data.generated.audio`, `nmm.data.generated.video` and
`nmm.data.generated.long`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.linalg import hadamard
from tokenizers import Tokenizer, models, pre_tokenizers

from nmm.data.documents import Document, Span, Text
from nmm.data.generated.draws import bit, different, eighth_of_pairs, invented
from nmm.data.generated.words import COLOURS, PATTERNS, PLACES, SHAPES

GRID = 4                    # patches along each side of an image
PATCH = 8                   # pixels along each side of a patch
PATCHES_PER_IMAGE = GRID * GRID
GRIDS = tuple(range(GRID, 33, GRID))    # resolutions that an image can have [patches along a side]
PATCH_DIM = 3 * PATCH * PATCH
CONTEXT = 176               # four captions, one interleaved document, or two texts, with nothing left over

TEXTURES = len(PATTERNS)
N_NAMES, N_WORDS, SUCCESSORS, ORDERS = 256, 389, 8, 16
TAIL, HEAD = 1.5, 15.0      # the kind of rank r = 0, 1, .. has a probability as (r + HEAD)^-TAIL
PAD, END, IMAGE = "<|padding|>", "<|endofdocument|>", "<|image|>"

SAID = 4                    # tokens about an object: colour, shape, pattern, name; as many as a column has patches
WORDS_PER_CAPTION, WORDS_PER_TEXT = 10, 87
SECTIONS, WORDS_PER_SECTION, CLOSING_WORDS = 4, 8, 11
WORDS_PER_STORY = SECTIONS * WORDS_PER_SECTION + CLOSING_WORDS
IMAGES = {"caption": 1, "interleaved": SECTIONS, "text": 0}        # of a document
WORDS = {"caption": WORDS_PER_CAPTION, "interleaved": WORDS_PER_STORY, "text": WORDS_PER_TEXT}     # of a document
LENGTHS = {                 # tokens of a document, the end of document included
    "caption": 1 + PATCHES_PER_IMAGE + SAID * GRID + WORDS_PER_CAPTION + 1,
    "interleaved": WORDS_PER_STORY + SECTIONS * (1 + PATCHES_PER_IMAGE + SAID * GRID) + 1,
    "text": WORDS_PER_TEXT + 1,
}


@lru_cache
def _patch_parts() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of colours (16, P), shapes (24, P), textures (64, P) and columns (4, P) that add up to an object's patch.

    Colour is the mean of each channel and a light from above or below, shape a zero-mean pattern of brightness or its
    negative, texture a Walsh function between red and green or its negative, the column a light between yellow and blue
    that falls on all that stands there: four orthogonal subspaces, so that one linear layer can read each. The sum has
    unit mean square, two fifths of it the texture's.
    """
    y, x = (np.mgrid[:PATCH, :PATCH] - (PATCH - 1) / 2) / (PATCH / 2)
    r = np.hypot(x, y)
    square = np.maximum(abs(x), abs(y))
    masks = np.stack([
        r < 0.8, (r > 0.45) & (r < 0.95), square < 0.4, square > 0.65, (abs(x) < 0.3) | (abs(y) < 0.3),
        (abs(x - y) < 0.3) | (abs(x + y) < 0.3), abs(y) < 0.4, abs(x) < 0.4, (y > -0.6) & (abs(x) < (y + 0.8) / 2),
        (x > -0.6) & (abs(y) < (x + 0.8) / 2), abs(x - y) < 0.5, abs(x + y) < 0.5,
    ]).reshape(len(SHAPES) // 2, -1).astype(float)
    masks -= masks.mean(1, keepdims=True)
    u, _, vt = np.linalg.svd(masks, full_matrices=False)        # the nearest orthonormal set to the drawn shapes
    glyph = (u @ vt) * PATCH
    walsh = hadamard(PATCH * PATCH)[:, :, None]
    red_green, yellow_blue = np.array([1.0, -1.0, 0.0]) * 1.5**0.5, np.array([0.5, 0.5, -1.0]) * 2**0.5
    bits = np.array([3, 2, 1, 0])[:, None, None, None]
    below, *channels = 2.0 * (np.arange(len(COLOURS))[:, None, None] >> bits & 1) - 1
    colour = (np.concatenate(channels, axis=-1) * 3**0.5 + below * walsh[32] * yellow_blue) / 2
    texture = np.concatenate([walsh[1:33], -walsh[1:33]]) * red_green
    column = walsh[1:GRID + 1] * yellow_blue
    part, double = 0.2**0.5, 0.4**0.5       # of the energy: patterns are the finest, and found last
    glyph = np.concatenate([glyph, -glyph])[:, :, None].repeat(3, 2)
    return tuple(
        (scale * values.reshape(len(values), -1)).astype(np.float32)
        for scale, values in ((part, colour), (part, glyph), (double, texture), (part, column))
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
    """Patches of four objects, one in each column, (..., 4, 192) float32, from values (..., 4)."""
    colours, glyphs, textures, columns = _patch_parts()
    return colours[colour] + glyphs[shape] + textures[texture] + columns


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
    """Patches of a square in column-major order, (g * g, 192), as RGB pixels for people, (8 g, 8 g, 3) uint8: clipped at two s.d."""
    grid = math.isqrt(len(patches))
    image = patches.reshape(grid, grid, PATCH, PATCH, 3).transpose(1, 2, 0, 3, 4)       # row, y, column, x, channel
    return np.round(np.clip(image.reshape(grid * PATCH, grid * PATCH, 3) / 4 + 0.5, 0, 1) * 255).astype(np.uint8)


def picture(scene: bytes, positions: int = PATCHES_PER_IMAGE) -> np.ndarray:
    """A scene as RGB pixels for people, (32, 32, 3) uint8 at the lowest resolution; see `pixels`."""
    return pixels(render([scene], math.isqrt(positions))[0])


def heavy_tail(shape: tuple[int, ...], seed: tuple[int, ...]) -> np.ndarray:
    """Probabilities of kinds: (rank + HEAD)^-TAIL with ranks shuffled, in an array of this shape."""
    p = (np.arange(math.prod(shape)) + HEAD) ** -TAIL
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


IDS = {         # how many ids each kind of token has
    "special": 3, "place": GRID, "colour": len(COLOURS), "shape": len(SHAPES), "pattern": len(PATTERNS),
    "name": N_NAMES, "word": N_WORDS,
}


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
    withheld: bool = False              # an eighth of the pairs of colour and shape is never shown

    def __post_init__(self) -> None:
        if not self.grids or len(set(self.grids)) < len(self.grids) or not set(self.grids) <= set(GRIDS):
            raise ValueError(f"grids {self.grids}: one or more different resolutions of {GRIDS}")

    @cached_property
    def vocabulary(self) -> list[str]:
        """Token strings in the order of their ids; 756 of them. Places are said of audio only."""
        rng = np.random.default_rng((self.seed, 0))
        names = [name.capitalize() for name in invented(rng, "bdgklmnprstvz", N_NAMES)]
        return [PAD, END, IMAGE, *PLACES, *COLOURS, *SHAPES, *PATTERNS, *names, *invented(rng, "fhjwyqc", N_WORDS)]

    @cached_property
    def _offsets(self) -> dict[str, int]:
        return {kind: first for first, kind in token_kinds()}

    def first_id(self, what: str) -> int:
        """Id of the first place, colour, shape, pattern, name or word."""
        return self._offsets[what]

    @cached_property
    def kind_probability(self) -> np.ndarray:
        """(colour, shape, texture) -> probability of the kind: (rank + HEAD)^-TAIL with ranks shuffled, 0 if withheld."""
        p = heavy_tail((len(COLOURS), len(SHAPES), TEXTURES), (self.seed, 1))
        shown = ~eighth_of_pairs(len(COLOURS), len(SHAPES))[:, :, None]
        return p * shown / p[shown[:, :, 0]].sum() if self.withheld else p

    @cached_property
    def kind_name(self) -> np.ndarray:
        """(colour, shape, texture) -> number of the name."""
        shape = (len(COLOURS), len(SHAPES), TEXTURES)
        return np.random.default_rng((self.seed, 2)).integers(0, N_NAMES, shape)

    @cached_property
    def _word_tables(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """First-word probabilities, successors (word, 8), four orders of two words (word, word, 4), orders (16, 8)."""
        rng = np.random.default_rng((self.seed, 3))
        unigram = 1 / (np.arange(N_WORDS) + 3.0)
        unigram /= unigram.sum()
        successors = different(rng, unigram, N_WORDS, SUCCESSORS)
        orders = np.argsort(rng.random((ORDERS, SUCCESSORS)), axis=1, kind="stable")
        return unigram, successors, rng.integers(0, ORDERS, (N_WORDS, N_WORDS, 4)), orders

    @cached_property
    def _remark_tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Words that may be said of a name (name, 8), and in which order of a kind (colour, shape, texture)."""
        rng = np.random.default_rng((self.seed, 7))
        words = different(rng, self._word_tables[0], N_NAMES, SUCCESSORS)
        return words, rng.integers(0, ORDERS, self.kind_name.shape)

    def likely_words(self, *context: np.ndarray) -> np.ndarray:
        """The eight successors of the last four words (n,) each, the likeliest first, (n, 8); without offset."""
        _, successors, order_of, orders = self._word_tables
        before, last = context[-2:]
        one_of_four = 2 * bit(context[1:], N_WORDS, self.seed) + bit(context, N_WORDS, self.seed)
        return np.take_along_axis(successors[last], orders[order_of[before, last, one_of_four]], axis=-1)

    def likely_remarks(self, colour: np.ndarray, shape: np.ndarray, texture: np.ndarray) -> np.ndarray:
        """The eight words that may be said of objects, the likeliest first, (..., 8); without offset."""
        words, order_of = self._remark_tables
        orders = self._word_tables[3]
        kind = colour, shape, texture
        return np.take_along_axis(words[self.kind_name[kind]], orders[order_of[kind]], axis=-1)

    @cached_property
    def _successor_probability(self) -> np.ndarray:
        p = 1 / (np.arange(SUCCESSORS) + 1.0) ** 2
        return p / p.sum()

    @property
    def word_entropy(self) -> float:
        """Entropy of a word, given the four before it, or the object it is said of [nats]."""
        p = self._successor_probability
        return float(-(p * np.log(p)).sum())

    def entropy(self) -> dict[str, float]:
        """The lowest possible loss of each data type [nats per target token].

        A target is a text token whose predecessor is in the same document. Only words are uncertain, and all as much as
        each other, but for the first word of a document, which is no target.
        """
        words = {**WORDS, "interleaved": WORDS_PER_STORY - 1, "text": WORDS_PER_TEXT - 1}
        targets = {
            "caption": SAID * GRID + WORDS_PER_CAPTION + 1,
            "interleaved": WORDS_PER_STORY + SECTIONS * (SAID * GRID + 1), "text": WORDS_PER_TEXT,
        }
        return {kind: self.word_entropy * words[kind] / targets[kind] for kind in words}

    @property
    def context(self) -> int:
        """The context that captions of these resolutions fill."""
        patches = sum(grid * grid for grid in self.grids) / len(self.grids)
        return math.ceil(GRID * (LENGTHS["caption"] - PATCHES_PER_IMAGE + patches))

    def length(self, kind: str) -> float:
        """Tokens of a document of one data type on average, the end of document included."""
        patches = sum(grid * grid for grid in self.grids) / len(self.grids)
        return LENGTHS[kind] + IMAGES[kind] * (patches - PATCHES_PER_IMAGE)

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

    def _scenes(self, rng: np.random.Generator, n: int, first: int) -> tuple[list[Span], np.ndarray, np.ndarray]:
        """Images first, first + 1, ..., each of four objects; what they show; and a word to go on."""
        kinds = draw_kinds(self.kind_probability, rng, n)
        cell = rng.integers(0, GRID, (n, GRID))
        patches = np.array(self.grids)[np.arange(first, first + n) % len(self.grids)] ** 2
        if self.grids != (GRID,):
            cell = (cell + rng.random((n, GRID))) * patches[:, None] // PATCHES_PER_IMAGE
        values = np.stack([cell, *kinds], axis=-1).astype(np.uint8)
        spans = [Span(scene.tobytes(), "scene", length) for scene, length in zip(values, patches.tolist())]
        return spans, self.describe(*kinds), self.remark(rng, *(kind[:, -1] for kind in kinds))

    def describe(self, colour: np.ndarray, shape: np.ndarray, texture: np.ndarray) -> np.ndarray:
        """Token ids (n, 4, 4) that say colour, shape, pattern and name of four objects, given as (n, 4) each."""
        at = self._offsets
        name = self.kind_name[colour, shape, texture]
        ids = [at["colour"] + colour, at["shape"] + shape, at["pattern"] + texture, at["name"] + name]
        return np.stack(ids, axis=-1)

    def remark(self, rng: np.random.Generator, *kind: np.ndarray) -> np.ndarray:
        """Id of a word about each object, (n,), given its colour, shape and texture."""
        rank = self._ranks(rng, kind[0].shape)[:, None]
        return self._offsets["word"] + np.take_along_axis(self.likely_remarks(*kind), rank, axis=1)[:, 0]

    def chains(self, rng: np.random.Generator, n: int, length: int, first: np.ndarray | None = None) -> np.ndarray:
        """Word ids (n, length), each drawn by the four before; word 0 stands before the first.

        Args:
            first: ids of the first words, (n,); None: drawn by their frequency.
        """
        words = np.zeros((n, length + 3), np.int64)
        if first is None:
            unigram = self._word_tables[0]
            words[:, 3] = np.searchsorted(np.cumsum(unigram), rng.random(n), side="right").clip(max=N_WORDS - 1)
        else:
            words[:, 3] = first - self._offsets["word"]
        for t in range(4, length + 3):
            likely = self.likely_words(*words[:, t - 4:t].T)
            words[:, t] = np.take_along_axis(likely, self._ranks(rng, (n,))[:, None], axis=1)[:, 0]
        return words[:, 3:] + self._offsets["word"]

    def _ranks(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """How likely the words drawn are, 0 for the likeliest of the eight."""
        steps = np.cumsum(self._successor_probability)
        return np.searchsorted(steps, rng.random(shape), side="right").clip(max=SUCCESSORS - 1)

    def _captions(self, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        scenes, said, remark = self._scenes(rng, n, first)
        words = self.chains(rng, n, WORDS_PER_CAPTION, first=remark)
        for i in range(n):
            ids = np.concatenate([said[i].reshape(-1), words[i]])
            yield Document(segments=(scenes[i], Text(ids=ids)), name=f"caption-{first + i}")

    def _stories(self, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        scenes, said, remark = self._scenes(rng, n * SECTIONS, first * SECTIONS)
        opening = self.chains(rng, n, WORDS_PER_SECTION)
        lengths = (*(WORDS_PER_SECTION,) * (SECTIONS - 1), CLOSING_WORDS)
        words = [self.chains(rng, n, length, first=remark[j::SECTIONS]) for j, length in enumerate(lengths)]
        for i in range(n):
            segments = [Text(ids=opening[i])]
            for j in range(SECTIONS):
                k = i * SECTIONS + j
                segments += [scenes[k], Text(ids=np.concatenate([said[k].reshape(-1), words[j][i]]))]
            yield Document(segments=tuple(segments), name=f"interleaved-{first + i}")

    def _texts(self, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        for i, words in enumerate(self.chains(rng, n, WORDS_PER_TEXT)):
            yield Document(segments=(Text(ids=words),), name=f"text-{first + i}")
