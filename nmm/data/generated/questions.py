"""Questions about images of the generated world, with exact answers of one word.

| kind | question | answers |
|---|---|---|
| colour | colour of the second ? | 16 colours |
| name | name of the third ? | 256 names |
| count | how many are red ? | none, one, two, three, four |
| where | where is the disc ? | first, second, third, fourth |
| same | same colour first third ? | yes, no |

A conversation is an image and a question of each kind about it, in any order, with their answers. Its objects have one of two
colours, each with probability 1/2, so that counts and comparisons are seldom settled beforehand; shape and pattern are drawn
as everywhere in the world, given the colour. A world that withholds pairs of colour and shape (`World.withheld`) shows them in no document
and no conversation, and `Questions.asked(.., unseen=True)` asks about images in which every object is of such a pair.
What is asked is drawn alike for all; names of unseen objects nobody can know.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nmm.data.documents import Document, Span, Text
from nmm.data.generated.draws import eighth_of_pairs
from nmm.data.generated.words import COLOURS, PLACES, SHAPES
from nmm.data.generated.world import GRID, N_NAMES, PATCHES_PER_IMAGE, World, heavy_tail, stream

COUNTS = ("none", "one", "two", "three", "four")
WORDS = (*COUNTS, "yes", "no", "colour", "name", "of", "is", "how", "many", "are", "where", "same", "the", "?")
FIRST = 756                 # id of the first of them, after the words of the world
TOKEN_KINDS = [(FIRST, "count"), (FIRST + len(COUNTS), "truth"), (FIRST + len(COUNTS) + 2, "question")]
SORTS = ("colour", "name", "count", "where", "same")
ASKED, ASKED_SEED = 200, 1      # standard questions of each kind, about shown pairs and again about withheld ones
ELSE = 0.2                  # of questions how many: of a colour that the image need not have
LENGTH = 1 + PATCHES_PER_IMAGE + 40     # tokens of a conversation: three fill a context


@dataclass(frozen=True)
class Question:
    """One question about an image, its answer, and all answers of its kind, in words."""

    sort: str               # one of SORTS
    unseen: bool            # whether the image has pairs of colour and shape that were withheld
    image: Span
    words: str
    answer: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Questions:
    """Questions about the images of a world."""

    world: World

    @cached_property
    def vocabulary(self) -> list[str]:
        """Token strings in the order of their ids: the world's, and the words of questions."""
        return [*self.world.vocabulary, *WORDS]

    @cached_property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """All answers of each kind of question."""
        first = self.world.first_id("name")
        names = tuple(self.world.vocabulary[first:first + N_NAMES])
        return {"colour": COLOURS, "name": names, "count": COUNTS, "where": PLACES, "same": ("yes", "no")}

    def documents(self, tokens: int, seed: int) -> Iterator[Document]:
        """Conversations, at least `tokens` tokens in all; the first do not depend on `tokens`."""
        yield from stream(self._conversations, tokens, (self.world.seed, 31, seed))

    def asked(self, n: int, seed: int, *, unseen: bool) -> list[Question]:
        """So many questions of each kind, each about an image of its own.

        Args:
            seed: of the images and the questions; conversations of no seed are about the same draws.
            unseen: every object is of a pair that a world may withhold; else none is.
        """
        rng = np.random.default_rng((self.world.seed, 32, seed, unseen))
        found = []
        for sort in SORTS:
            cells, *kinds = self._scenes(rng, n, unseen)
            for image, objects in zip(_spans(cells, kinds), np.stack(kinds, axis=-1), strict=True):
                words, answer = self._ask(sort, objects, rng)
                found.append(Question(sort, unseen, image, words, answer, self.choices[sort]))
        return found

    def _scenes(self, rng: np.random.Generator, n: int, unseen: bool) -> tuple[np.ndarray, ...]:
        """Cell, colour, shape and texture of the four objects of n images, each (n, 4)."""
        palette = np.stack([rng.permutation(len(COLOURS))[:2] for _ in range(n)])
        colour = np.take_along_axis(palette, rng.integers(0, 2, (n, GRID)), axis=1)
        cumulative = self._rest_of_kind(unseen)[colour]
        rest = (cumulative < rng.random((n, GRID, 1)) * cumulative[..., -1:]).sum(-1)
        return rng.integers(0, GRID, (n, GRID)), colour, *np.divmod(rest, cumulative.shape[-1] // len(SHAPES))

    def _rest_of_kind(self, unseen: bool) -> np.ndarray:
        """Cumulative probability of shape and texture, given the colour, (colour, shape * texture); withheld pairs alone, or none."""
        pairs = eighth_of_pairs(len(COLOURS), len(SHAPES))
        p = heavy_tail(self.world.kind_name.shape, (self.world.seed, 1)) * (pairs if unseen else ~pairs)[:, :, None]
        return p.reshape(len(COLOURS), -1).cumsum(1)

    def _ask(self, sort: str, objects: np.ndarray, rng: np.random.Generator) -> tuple[str, str]:
        """A question about four objects, (4, 3) colour, shape and texture; and its answer."""
        at = int(rng.integers(GRID))
        colours = objects[:, 0]
        if sort == "colour":
            return f"colour of the {PLACES[at]} ?", COLOURS[colours[at]]
        if sort == "name":
            return f"name of the {PLACES[at]} ?", self.choices["name"][self.world.kind_name[tuple(objects[at])]]
        if sort == "count":
            colour = int(rng.integers(len(COLOURS))) if rng.random() < ELSE else colours[at]
            return f"how many are {COLOURS[colour]} ?", COUNTS[int((colours == colour).sum())]
        if sort == "where":
            shapes = objects[:, 1]
            alone = [place for place in range(GRID) if (shapes == shapes[place]).sum() == 1] or [int(np.argmax(shapes == shapes[at]))]
            at = int(rng.choice(alone))
            return f"where is the {SHAPES[shapes[at]]} ?", PLACES[at]
        one, two = np.sort(rng.permutation(GRID)[:2])
        return f"same colour {PLACES[one]} {PLACES[two]} ?", "yes" if colours[one] == colours[two] else "no"

    def _conversations(self, rng: np.random.Generator, n: int, first: int) -> Iterator[Document]:
        number = {word: i for i, word in enumerate(self.vocabulary)}
        cells, *kinds = self._scenes(rng, n, unseen=False)
        for i, (image, objects) in enumerate(zip(_spans(cells, kinds), np.stack(kinds, axis=-1), strict=True)):
            said = [words for sort in rng.permutation(SORTS) for words in self._ask(str(sort), objects, rng)]
            turns = [np.array([number[word] for word in words.split()]) for words in said]
            texts = [Text(ids=ids, turn=True) for ids in turns[:-1]]
            yield Document(segments=(image, *texts, Text(ids=turns[-1])), name=f"conversation-{first + i}")


def _spans(cells: np.ndarray, kinds: list[np.ndarray]) -> list[Span]:
    """Images of four objects each."""
    return [Span(scene.tobytes(), "scene", PATCHES_PER_IMAGE) for scene in np.stack([cells, *kinds], axis=-1).astype(np.uint8)]


def standard_questions(unseen: bool) -> list[Question]:
    """The questions that every model of the generated world is asked, `ASKED` of each kind, kind by kind.

    Args:
        unseen: about images of withheld pairs, or of shown ones.
    """
    return Questions(World(withheld=True)).asked(ASKED, ASKED_SEED, unseen=unseen)


def commonest(unseen: bool) -> dict[str, float]:
    """Share of the standard questions of each kind that whoever does not look has right by the answer that is right most often.

    It is more than one over the number of answers: answers are not equally frequent, and two hundred questions have their luck.
    """
    answers: dict[str, Counter] = {sort: Counter() for sort in SORTS}
    for question in standard_questions(unseen):
        answers[question.sort][question.answer] += 1
    return {sort: max(counts.values()) / counts.total() for sort, counts in answers.items()}


def elsewhere(unseen: bool) -> dict[str, float]:
    """Share of the standard questions that whoever looks at the image, but not where the question says, has right, where that helps.

    A colour or a name: the one that the image has most of, any of them where several are as frequent. A count: "none" where the colour
    is nowhere in the image, else the count that is right most often.
    """
    world, right, counts = World(withheld=True), {"colour": 0.0, "name": 0.0, "count": 0.0}, Counter()
    names = Questions(world).choices["name"]
    for question in standard_questions(unseen):
        objects = np.frombuffer(question.image.data, np.uint8).reshape(GRID, 4)[:, 1:]
        if question.sort in ("colour", "name"):
            said = Counter(COLOURS[colour] if question.sort == "colour" else names[world.kind_name[colour, shape, texture]]
                           for colour, shape, texture in objects.tolist())
            most = [word for word, times in said.items() if times == max(said.values())]
            right[question.sort] += (question.answer in most) / len(most) / ASKED
        elif question.sort == "count":
            counts[question.answer] += 1
    return {**right, "count": (counts["none"] + max(counts[word] for word in COUNTS[1:])) / ASKED}
