"""Long documents of the generated world, in which what was said far back is worth remembering.

A chronicle is about characters. Each has a name and is an object of the world, a colour, a shape and a pattern, with
three words that are said of it: `LINE` tokens. All of this belongs to one document: no other one tells it, and names are
given anew. Four characters enter together in a scene. In interleaved documents an image shows them, then a line is said of each;
in text a word begins the scene, and the four lines follow. All else are returns: the line of a character that has entered is said
again, word for word. So whoever knows where in the document a name was said last knows the six tokens after it.

Which character returns is drawn by how recently it was last mentioned: rank r = 0, 1, .. has a weight as
(r + 1)^-RECENCY. With an exponent of a half references point back over all distances, from a line to the whole document, about as
often in each octave. The more have entered, the rarer scenes become: after m characters the next event is one with
probability FRESH / (FRESH + m). So the best possible loss falls with the position, and `Chronicles.by_position` has it exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from nmm.data.documents import Document, Span, Text
from nmm.data.generated.world import GRID, N_NAMES, PATCHES_PER_IMAGE, World, draw_kinds, stream

KINDS = ("interleaved", "text")
SAYING = 3                      # words said of a character
LINE = 4 + SAYING               # name, colour, shape, pattern, words [tokens]
CAST = GRID                     # characters that enter together
FRESH = 2.0                     # the next event is a scene with probability FRESH / (FRESH + characters)
RECENCY = 0.5                   # of the character that returns, see above
SCENE = {"interleaved": 1 + PATCHES_PER_IMAGE + CAST * LINE, "text": 1 + CAST * LINE}      # [tokens]
SHORTEST = max(SCENE.values()) + LINE + 1       # a document with one scene and one return [tokens]


def enters(characters: np.ndarray | int, room: np.ndarray | int, kind: str) -> np.ndarray:
    """Probability that the next event is a scene.

    Args:
        characters: that have entered.
        room: tokens until the document's end, the last one left out.
        kind: of the document.
    """
    fits = (np.asarray(characters) + CAST <= N_NAMES) & (np.asarray(room) >= SCENE[kind])
    return np.where(fits, FRESH / (FRESH + np.asarray(characters)), 0.0)


def recency(characters: int) -> np.ndarray:
    """Probability of each character to be the one that returns, the one mentioned last first, (characters,)."""
    weights = (np.arange(characters) + 1.0) ** -RECENCY
    return weights / weights.sum()


@dataclass(frozen=True)
class Chronicles:
    """Long documents of one world, all of one length.

    Args:
        world: whose objects and words they are about; its images have the lowest resolution.
        length: of every document, its end included [tokens].
    """

    world: World
    length: int

    def __post_init__(self) -> None:
        if self.length < SHORTEST:
            raise ValueError(f"long documents have at least {SHORTEST} tokens, a scene and a return: got {self.length}")

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
        """At each position of a document the probability that a target stands there, (length,), and how many nats it holds on
        average, 0 where there is no target, (length,): the floor of the loss at some positions is the sum of these over the sum of
        those.

        Exact: how many characters have entered when an event begins is all that its entropy depends on, so that their
        distribution is carried from event to event.
        """
        scene, last = SCENE[known(kind)], self.length - 1
        reached = np.zeros((last + scene + LINE, N_NAMES + CAST + 1))       # an event begins here, after so many characters
        reached[0, 0] = 1.0
        targets, nats = np.zeros((2, last + scene + LINE))
        characters = np.arange(N_NAMES + CAST + 1)
        again = np.array([0.0, *(_entropy(recency(m)) for m in characters[1:])])
        told, seen = self._told(kind), np.array([kind == "text" or at not in range(1, 1 + PATCHES_PER_IMAGE) for at in range(scene)])
        for at in range(last):
            here = reached[at]
            if not here.any():
                continue
            p = enters(characters, last - at, kind)
            new, old = here * p, here * (1 - p)
            reached[at + scene, CAST:] += new[:-CAST]
            reached[at + LINE] += old
            targets[at:at + scene] += new.sum() * seen
            targets[at:at + LINE] += old.sum()
            nats[at] += (here * _binary_entropy(p)).sum() + (old * again).sum()
            nats[at:at + scene] += new.sum() * told
            for j in range(CAST):
                free = np.log(np.maximum(N_NAMES - characters - j, 1))
                nats[at + scene - (CAST - j) * LINE] += (new * free).sum()
        targets, nats = targets[:self.length].copy(), nats[:self.length].copy()
        targets[0], nats[0] = 0.0, 0.0              # the first token is no target
        targets[last], nats[last] = 1.0, 0.0        # the end comes where it always does
        return targets, nats

    def _told(self, kind: str) -> np.ndarray:
        """Entropy of each token of a scene but the names' [nats]: what an image shows has none."""
        p = self.world.kind_probability
        joint = [_entropy(p.sum((1, 2))), _entropy(p.sum(2)), _entropy(p)]
        shown = np.diff([0.0, *joint]) if kind == "text" else np.zeros(3)
        line = np.concatenate([[0.0], shown, np.full(SAYING, self.world.word_entropy)])
        return np.concatenate([np.zeros(SCENE[kind] - CAST * LINE), np.tile(line, CAST)])

    @cached_property
    def _recency_steps(self) -> list[np.ndarray]:
        """Cumulative `recency` after m characters."""
        return [np.cumsum(recency(m)) for m in range(N_NAMES + 1)]

    def _make(self, kind: str, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        for number in range(first, first + n):
            yield Document(segments=self._segments(kind, rng), name=f"{kind}-{number}")

    def _segments(self, kind: str, rng: np.random.Generator) -> tuple[Span | Text, ...]:
        world, last = self.world, self.length - 1
        scenes = min(N_NAMES // CAST, last // SCENE[kind])      # as many as can be needed
        kinds = draw_kinds(world.kind_probability, rng, scenes)
        images = np.stack([rng.integers(0, GRID, (scenes, GRID)), *kinds], axis=-1).astype(np.uint8)
        lines = self._lines(rng, kinds)
        opening = [world.first_id("place")] if kind == "text" else []
        segments: list[Span | Text] = []
        ids: list[int] = []
        recent: list[int] = []      # characters, the one mentioned last first
        chance = iter(rng.random(2 * (last // LINE + 1)).tolist())
        scene = enters(np.arange(N_NAMES + 1), self.length, kind).tolist()
        at = 0
        while at < last:
            entered = len(recent)
            if next(chance) < scene[entered] and last - at >= SCENE[kind]:
                if kind == "interleaved":
                    if ids:
                        segments.append(Text(ids=np.array(ids)))
                    segments.append(Span(images[entered // CAST].tobytes(), "scene", PATCHES_PER_IMAGE))
                    ids = []
                ids += opening
                for character in range(entered, entered + CAST):
                    ids += lines[character]
                    recent.insert(0, character)
                at += SCENE[kind]
            else:
                rank = int(np.searchsorted(self._recency_steps[entered], next(chance), side="right"))
                recent.insert(0, recent.pop(min(rank, entered - 1)))
                ids += lines[recent[0]]
                at += LINE
        return *segments, Text(ids=np.array(ids[:len(ids) + last - at]))

    def _lines(self, rng: np.random.Generator, kinds: tuple[np.ndarray, ...]) -> list[list[int]]:
        """What is said of every character, `LINE` tokens each."""
        colour, shape, texture = (values.reshape(-1) for values in kinds)
        words = self.world.chains(rng, len(colour), SAYING, first=self.world.remark(rng, colour, shape, texture))
        first_id = self.world.first_id
        names = first_id("name") + rng.permutation(N_NAMES)[:len(colour)]
        said = [names, first_id("colour") + colour, first_id("shape") + shape, first_id("pattern") + texture]
        return np.column_stack([*said, words]).tolist()


def known(kind: str) -> str:
    """The data type itself.

    Raises:
        ValueError: it has no long documents.
    """
    if kind not in KINDS:
        raise ValueError(f"long documents are of data type {' or '.join(KINDS)}: got {kind!r}")
    return kind


def _entropy(p: np.ndarray) -> float:
    """-sum p ln p [nats]."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _binary_entropy(p: np.ndarray) -> np.ndarray:
    inside = np.clip(p, 1e-300, 1 - 1e-16)
    return np.where((p > 0) & (p < 1), -inside * np.log(inside) - (1 - inside) * np.log1p(-inside), 0.0)

