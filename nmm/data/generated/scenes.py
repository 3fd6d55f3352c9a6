"""Scenes shown and scenes told: the generated world for models that read and write text and images.

An image shows four objects, one in each column, each at one of four rows. A text tells of four objects, column by column: row, colour,
shape, pattern, name. Three data types:

- text: a text alone;
- caption: an image and a text. The objects of the first columns are the same in both, as many as the setting `shared` says; of the other
  columns the text tells of other objects;
- image: an image alone.

All objects, shown or told, are drawn from one table of kinds with a heavy tail. So texts teach which kinds there are and images do, but
what is a colour in one and a code in the other only captions teach, and with `shared` = 0 nothing does. What an image and its text share
is known: `Scenes.shared_information`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from nmm.data.codes import ImageTokenizer
from nmm.data.documents import Document, Span, Text
from nmm.data.generated.draws import invented
from nmm.data.generated.words import COLOURS, PATTERNS, PLACES, SHAPES
from nmm.data.generated.world import (
    END,
    GRID,
    IMAGE,
    PAD,
    PATCHES_PER_IMAGE,
    _patch_parts,
    draw_kinds,
    draw_objects,
    heavy_tail,
    render,
    stream,
)

PALETTE = (16, 12, 8)       # colours, shapes and patterns in use: 1536 kinds
N_NAMES = 128
TOLD = 5                    # tokens of an object: row, colour, shape, pattern, name
WORDS = GRID * TOLD         # of a text
KINDS = ("text", "caption", "image")
CODES = {"text": 0, "caption": PATCHES_PER_IMAGE, "image": PATCHES_PER_IMAGE}       # image tokens of a document
SAID = {"text": WORDS, "caption": WORDS, "image": 0}                                # words of a document
LENGTHS = {kind: CODES[kind] + (CODES[kind] > 0) + SAID[kind] + 1 for kind in KINDS}
CONTEXT = 190               # nine texts, five captions or ten images, with little left over


@dataclass(frozen=True)
class Scenes:
    """One world of scenes.

    Attributes:
        seed: of its tables.
        shared: share of an image's objects that its text tells of: 0, 0.25, 0.5, 0.75 or 1.
    """

    seed: int = 0
    shared: float = 1.0

    def __post_init__(self) -> None:
        if self.shared * GRID not in range(GRID + 1):
            raise ValueError(f"shared is {self.shared}: the share of {GRID} objects, 0, 0.25, 0.5, 0.75 or 1")

    @cached_property
    def kind_probability(self) -> np.ndarray:
        """(colour, shape, pattern) -> probability of the kind."""
        return heavy_tail(PALETTE, (self.seed, 20))

    @cached_property
    def kind_name(self) -> np.ndarray:
        """(colour, shape, pattern) -> number of the name."""
        return np.random.default_rng((self.seed, 21)).integers(0, N_NAMES, PALETTE)

    @cached_property
    def vocabulary(self) -> list[str]:
        """Token strings in the order of their ids."""
        names = [name.capitalize() for name in invented(np.random.default_rng((self.seed, 22)), "bdgklmnprstvz", N_NAMES)]
        colours, shapes, patterns = PALETTE
        return [PAD, END, IMAGE, *PLACES, *COLOURS[:colours], *SHAPES[:shapes], *PATTERNS[:patterns], *names]

    @cached_property
    def token_kinds(self) -> list[tuple[int, str]]:
        """First id of each kind of token, in order."""
        counts = {"special": 3, "place": GRID, **dict(zip(("colour", "shape", "pattern"), PALETTE, strict=True)), "name": N_NAMES}
        return list(zip(map(int, np.cumsum([0, *counts.values()])), counts, strict=False))

    def tokenizer(self) -> Tokenizer:
        """A word-level tokenizer of the vocabulary."""
        tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(self.vocabulary)}, unk_token=PAD))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return tokenizer

    @property
    def object_entropy(self) -> float:
        """Entropy of an object, its row and its kind [nats]."""
        p = self.kind_probability.reshape(-1)
        return math.log(GRID) - float((p * np.log(p)).sum())

    def shared_information(self) -> float:
        """Mutual information of an image and its text [nats]."""
        return self.shared * GRID * self.object_entropy

    def code_entropy(self, images: ImageTokenizer) -> np.ndarray:
        """Entropy of the codes of each column, (4,): what an image still tells once its patches are codes [nats]."""
        of_code, unseen, _ = self._columns(images)
        places = np.repeat(of_code / GRID, GRID, axis=1)
        return -(_x_log_x(places).sum(axis=1) + _x_log_x(unseen))

    def _columns(self, images: ImageTokenizer) -> tuple[np.ndarray, np.ndarray, int]:
        """How often an object of each column has each code, (4, codes), how often it looks like nothing, (4,), and nothing's code."""
        index = np.indices(PALETTE).reshape(3, -1)
        p = self.kind_probability.reshape(-1)
        patches = draw_objects(*(np.repeat(values[:, None], GRID, axis=1) for values in index))        # (kinds, columns, 192)
        codes, empty = images.encode(patches), int(images.encode(np.zeros((1, patches.shape[-1]), np.float32))[0])
        of_code = np.stack([np.bincount(column, weights=p, minlength=images.codes) for column in codes.T])
        unseen, of_code[:, empty] = of_code[:, empty].copy(), 0.0        # an object that looks like nothing is nowhere
        return of_code, unseen, empty

    def entropy(self, images: ImageTokenizer) -> dict[str, float]:
        """The lowest possible loss of each data type under next-token prediction of all [nats per target token].

        The first token of a document is no target: of a text that is a row.
        """
        codes, told = self.code_entropy(images), int(self.shared * GRID)
        text, image = GRID * self.object_entropy - math.log(GRID), float(codes.sum())
        caption = text + math.log(GRID) / 2 + float(codes[told:].sum())     # every second one begins with a row
        nats = {"text": text, "caption": caption, "image": image}
        return {kind: nats[kind] / (LENGTHS[kind] - 1) for kind in KINDS}

    def floors(self, images: ImageTokenizer) -> dict[str, float]:
        """The lowest possible loss on the words of a text alone, and on the codes of an image alone [nats/token].

        The first word is a row and no target.
        """
        text = (GRID * self.object_entropy - math.log(GRID)) / (WORDS - 1)
        return {"text": text, "image": float(self.code_entropy(images).sum()) / PATCHES_PER_IMAGE}

    def floors_of(self, objects: Mapping[str, np.ndarray], images: ImageTokenizer) -> dict[str, float]:
        """The same of these scenes alone: the loss on them of whoever knows all that generated them [nats/token].

        `floors` is its mean over all scenes. A loss measured on a thousand of them has their luck in it, and so has this.

        Args:
            objects: of the texts, "text", and of the images, "image", (n, 4, 4) each, see `held_out`.
        """
        told, shown = objects["text"], objects["image"]
        kinds = -np.log(self.kind_probability[tuple(told[:, :, 1:].transpose(2, 0, 1))]).sum(axis=1)
        text = float(kinds.mean()) + (GRID - 1) * math.log(GRID)
        of_code, unseen, empty = self._columns(images)
        codes = images.encode(render([scene.tobytes() for scene in shown])).reshape(len(shown), GRID, GRID)     # image, column, row
        there = codes != empty
        code = np.take_along_axis(codes, there.argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
        columns = np.arange(GRID)
        share = np.where(there.any(axis=2), of_code[columns, code] / GRID, unseen[columns])
        return {"text": text / (WORDS - 1), "image": float(-np.log(share).sum(axis=1).mean()) / PATCHES_PER_IMAGE}

    def held_out(self, sequences: int) -> dict[str, np.ndarray]:
        """Objects of the texts and images in the first sequences that a corpus holds out: documents of one length fill them in order."""
        found = {}
        for kind in ("text", "image"):
            n = sequences * (CONTEXT // LENGTHS[kind])
            first = [document.segments[0] for document in islice(self.documents(kind, n * LENGTHS[kind], self.seed), n)]
            found[kind] = (self.heard(np.stack([text.ids for text in first]))[..., :-1] if kind == "text" else
                           np.stack([np.frombuffer(image.data, np.uint8).reshape(GRID, GRID) for image in first]))
        return found

    def documents(self, kind: str, tokens: int, seed: int) -> Iterator[Document]:
        """Documents of one data type, at least `tokens` tokens in all; the first do not depend on `tokens`.

        Raises:
            ValueError: an unknown data type.
        """
        if kind not in KINDS:
            raise ValueError(f"unknown data type {kind!r}: scenes have {', '.join(KINDS)}")

        def make(rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
            shown, told = self.objects(rng, n), self.objects(rng, n)
            same = int(self.shared * GRID)
            told[:, :same] = shown[:, :same]
            texts = self.tell(told)
            for number in range(n):
                segments = []
                if CODES[kind]:
                    segments.append(Span(shown[number].tobytes(), "scene", PATCHES_PER_IMAGE))
                if SAID[kind]:
                    segments.append(Text(ids=texts[number]))
                yield Document(segments=tuple(segments), name=f"{kind}-{first + number}")

        yield from stream(make, tokens, (self.seed, 23, seed, KINDS.index(kind)))

    def objects(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Row, colour, shape and pattern of four objects of n scenes, (n, 4, 4) uint8; a scene's bytes are what `world.render` takes."""
        kinds = draw_kinds(self.kind_probability, rng, n)
        return np.stack([rng.integers(0, GRID, (n, GRID)), *kinds], axis=-1).astype(np.uint8)

    def tell(self, objects: np.ndarray) -> np.ndarray:
        """Token ids of the text of objects (n, 4, 4), (n, 20)."""
        row, *kind = objects.transpose(2, 0, 1).astype(np.int64)
        first = {name: number for number, name in self.token_kinds}
        parts = {"place": row, "colour": kind[0], "shape": kind[1], "pattern": kind[2], "name": self.kind_name[tuple(kind)]}
        return np.stack([first[name] + values for name, values in parts.items()], axis=-1).reshape(len(objects), -1)

    def heard(self, texts: np.ndarray) -> np.ndarray:
        """What texts of 20 tokens tell of objects, (n, 4, 5): row, colour, shape, pattern, name; -1 where a word of another kind stands."""
        first = dict((name, number) for number, name in self.token_kinds)
        sizes = {"place": GRID, **dict(zip(("colour", "shape", "pattern"), PALETTE, strict=True)), "name": N_NAMES}
        told = np.asarray(texts).reshape(-1, GRID, TOLD) - np.array([first[name] for name in sizes])
        return np.where((told >= 0) & (told < np.array(list(sizes.values()))), told, -1)

    def seen(self, patches: np.ndarray) -> np.ndarray:
        """What images show, (n, 4, 4): of each column the row with the most in it, and the colour, shape and pattern nearest to that.

        Args:
            patches: (n, 16, 192), drawn by an image tokenizer perhaps.
        """
        columns = patches.reshape(-1, GRID, GRID, patches.shape[-1])        # column-major: column, row
        row = np.square(columns).mean(-1).argmax(-1)
        shown = np.take_along_axis(columns, row[:, :, None, None], axis=2)[:, :, 0]
        traits = [(shown @ table[:count].T).argmax(-1) for table, count in zip(_patch_parts()[:3], PALETTE, strict=True)]
        return np.stack([row, *traits], axis=-1)


def _x_log_x(p: np.ndarray) -> np.ndarray:
    return np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0)


TRAITS = ("place", "colour", "shape", "pattern", "name")


def right(found: np.ndarray, objects: np.ndarray, names: np.ndarray | None = None) -> dict[str, float]:
    """Share of the objects whose row, colour, shape, pattern (and name) are found.

    Args:
        found: (n, 4, 4 or 5), as `Scenes.heard` and `Scenes.seen` give it; objects: the truth, (n, 4, 4).
        names: number of the name of each, (n, 4); needed for five.
    """
    truth = objects if names is None else np.concatenate([objects, names[:, :, None]], axis=-1)
    return dict(zip(TRAITS, (found == truth).mean((0, 1)).tolist(), strict=False))


def mixture(rho: float) -> dict[str, float]:
    """Shares of tokens by data type with which image tokens are a share `rho` of all that are of either modality.

    Every image has a text as long as there is text enough; beyond that the others stand alone. Of two modalities the scarcer is
    always in captions.

    Raises:
        ValueError: rho is outside 0 to 1.
    """
    if not 0 <= rho <= 1:
        raise ValueError(f"rho is the share of image tokens, between 0 and 1: got {rho}")
    even = CODES["caption"] / (CODES["caption"] + SAID["caption"])
    paired = rho / even if rho < even else (1 - rho) / (1 - even)
    content: Mapping[str, float] = {"text": (1 - paired) * (rho < even), "caption": paired, "image": (1 - paired) * (rho >= even)}
    tokens = {kind: share * LENGTHS[kind] / (CODES[kind] + SAID[kind]) for kind, share in content.items()}
    total = sum(tokens.values())
    return {kind: share / total for kind, share in tokens.items() if share > 1e-9}
