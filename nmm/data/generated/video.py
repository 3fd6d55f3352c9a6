"""Video of the generated corpus: objects that move, seen as tubelets, between words, and a caption that says what is
seen.

A film has four frames of 4 x 4 patches. As in images, an object of the world stands in each column at a random row. It
rests, or moves along its column by half a patch or a whole one a frame, up or down, and comes in again on the other
side. A tubelet is one patch over two frames; tubelets are read frames first, then column by column. A document is some
words, the film, then colour, shape, pattern, name and motion of every object, then more words. What is seen has entropy
zero, words have that of their successors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nmm.data.documents import Document, Span, Text
from nmm.data.generated import audio as generated_audio
from nmm.data.generated.world import (
    COLOURS,
    GRID,
    PATCH_DIM,
    SHAPES,
    TEXTURES,
    World,
    draw_kinds,
    draw_objects,
    fields,
    pixels,
    stream,
)

FRAMES = 4
DEPTH = 2                       # frames of a tubelet
POSITIONS = FRAMES // DEPTH * GRID * GRID
VIDEO_DIM = DEPTH * PATCH_DIM
MOTIONS = {"rests": 0, "rises": -1, "sinks": 1, "soars": -2, "drops": 2}        # half patches a frame, down is positive
LIMITS = {"row": GRID, "colour": len(COLOURS), "shape": len(SHAPES), "texture": TEXTURES, "motion": len(MOTIONS)}

WORDS = ("<|video|>", *MOTIONS)
FIRST = generated_audio.FIRST + len(generated_audio.WORDS)      # id of the first of them
TOKEN_KINDS = [(FIRST, "special"), (FIRST + 1, "motion")]
OPENING, CLOSING = 6, 28        # words before and after: two documents fill a context
LENGTH = OPENING + 1 + POSITIONS + 5 * GRID + CLOSING + 1
TARGETS = LENGTH - 1 - POSITIONS        # the marker is one, the first word is not


def patches(films: Sequence[bytes]) -> np.ndarray:
    """Patches of every frame, (n, FRAMES, column, row, PATCH_DIM) float32; empty places are zero.

    Args:
        films: 20 bytes each: row, colour, shape, texture and motion of the object in every column.
    Raises:
        ValueError: a film is not 20 bytes, or a value is out of range.
    """
    row, colour, shape, texture, motion = fields(films, "film", LIMITS)
    halves = draw_objects(colour, shape, texture).reshape(-1, 1, GRID, 2, PATCH_DIM // 2)
    speed = np.array(list(MOTIONS.values()))[motion]
    # A column is a ring of half patches; an object covers two that follow each other.
    top = (2 * row.astype(np.int64) + speed)[:, None] + speed[:, None] * (np.arange(FRAMES)[:, None] - 1)
    out = np.zeros((len(films), FRAMES, GRID, 2 * GRID, PATCH_DIM // 2), np.float32)
    film, frame, column = np.ogrid[:len(films), :FRAMES, :GRID]
    for half in range(2):
        out[film, frame, column, (top + half) % (2 * GRID)] = halves[:, :, :, half]
    return out.reshape(-1, FRAMES, GRID, GRID, PATCH_DIM)


def render(films: Sequence[bytes]) -> np.ndarray:
    """Tubelets of films, one film after the other, (n * POSITIONS, VIDEO_DIM) float32; arguments as for `patches`."""
    tubelets = patches(films).reshape(-1, FRAMES // DEPTH, DEPTH, GRID * GRID, PATCH_DIM)
    return np.ascontiguousarray(tubelets.transpose(0, 1, 3, 2, 4)).reshape(-1, VIDEO_DIM)


def frames(film: bytes) -> np.ndarray:
    """A film as RGB pixels for people, (FRAMES, 32, 32, 3) uint8."""
    return np.stack([pixels(frame.reshape(GRID * GRID, PATCH_DIM)) for frame in patches([film])[0]])


@dataclass(frozen=True)
class Films:
    """Video of one world, with its objects, their names and its words."""

    world: World

    def entropy(self) -> float:
        """The lowest possible loss [nats per target token]: what words have, but the first, which is no target."""
        return self.world.word_entropy * (OPENING + CLOSING - 1) / TARGETS

    def documents(self, tokens: int, seed: int) -> Iterator[Document]:
        """Films between words, at least `tokens` tokens in all; a longer corpus begins with the shorter one."""
        yield from stream(self._films, tokens, (self.world.seed, 4, seed, 4))

    def _films(self, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        kinds = draw_kinds(self.world.kind_probability, rng, n)
        row, motion = rng.integers(0, GRID, (n, GRID)), rng.integers(0, len(MOTIONS), (n, GRID))
        films = np.stack([row, *kinds, motion], axis=-1).astype(np.uint8)
        said = np.concatenate([self.world.describe(*kinds), FIRST + 1 + motion[..., None]], axis=-1).reshape(n, -1)
        words = self.world.chains(rng, n, OPENING + CLOSING)
        for k, film in enumerate(films):
            segments = (Text(ids=words[k, :OPENING]), Span(film.tobytes(), "film", POSITIONS),
                        Text(ids=np.concatenate([said[k], words[k, OPENING:]])))
            yield Document(segments=segments, name=f"video-{first + k}")
