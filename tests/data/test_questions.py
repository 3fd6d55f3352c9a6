"""Questions about generated images: every answer is exact, and withheld pairs are shown nowhere."""

import numpy as np
import pytest

from nmm.config import TASKS
from nmm.data.batches.loader import IGNORE, collate
from nmm.data.batches.turns import answers_only
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.generated.draws import eighth_of_pairs
from nmm.data.generated.questions import COUNTS, SORTS, Questions
from nmm.data.generated.words import COLOURS, PLACES, SHAPES
from nmm.data.generated.world import World

WORLD = World(withheld=True)
WEIGHTS = {**dict.fromkeys(TASKS, 1.0), "conversation": 1.0}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    return embedded_corpus(tmp_path_factory.mktemp("asked"), tokens=20_000, weights=WEIGHTS, kinds=(*TASKS, "conversation"))


def shown(data: bytes) -> np.ndarray:
    """Cell, colour, shape and texture of the four objects of a scene, (4, 4)."""
    return np.frombuffer(data, np.uint8).reshape(4, 4)


@pytest.mark.parametrize("unseen", [False, True])
def test_every_answer_is_exact(unseen):
    questions = Questions(WORLD)
    found = questions.asked(60, 0, unseen=unseen)
    assert [question.sort for question in found] == [sort for sort in SORTS for _ in range(60)]
    for question in found:
        objects, words = shown(question.image.data), question.words.split()
        assert eighth_of_pairs(16, 24)[objects[:, 1], objects[:, 2]].tolist() == [unseen] * 4
        at = [PLACES.index(word) for word in words if word in PLACES]
        if question.sort == "colour":
            right = COLOURS[objects[at[0], 1]]
        elif question.sort == "name":
            right = questions.choices["name"][WORLD.kind_name[tuple(objects[at[0], 1:])]]
        elif question.sort == "count":
            right = COUNTS[int((objects[:, 1] == COLOURS.index(words[3])).sum())]
        elif question.sort == "where":
            right = PLACES[int(np.argmax(objects[:, 2] == SHAPES.index(words[3])))]
        else:
            right = "yes" if objects[at[0], 1] == objects[at[1], 1] else "no"
        assert question.answer == right and right in question.choices, question
    assert found == questions.asked(60, 0, unseen=unseen)


def test_no_answer_is_settled_beforehand():
    """No answer of a kind is right for much more than its share."""
    found = Questions(WORLD).asked(400, 0, unseen=False)
    for sort, most in {"colour": 0.12, "name": 0.2, "count": 0.4, "where": 0.4, "same": 0.6}.items():
        answers = [question.answer for question in found if question.sort == sort]
        assert max(answers.count(answer) for answer in set(answers)) / len(answers) < most, sort


def test_withheld_pairs_are_shown_nowhere(asked):
    pairs, free = eighth_of_pairs(16, 24), 0
    assert pairs.mean() == 1 / 8 and pairs.any(0).all() and pairs.any(1).all()
    for source in asked.sources.values():
        for number in range(min(20, len(source.train))):
            for data in source.train[number].data:
                objects = shown(data)
                assert not pairs[objects[:, 1], objects[:, 2]].any()
                free += 1
    assert free > 100
    usual = next(World().documents("caption", 100, 0))
    assert usual != next(WORLD.documents("caption", 100, 0)), "another world"


def test_the_vocabulary_is_the_worlds_and_the_words_of_questions(asked):
    questions = Questions(WORLD)
    assert [asked.tokenizer.inner.id_to_token(number) for number in range(asked.vocab_size)] == questions.vocabulary
    kinds = dict((kind, first) for first, kind in asked.token_kinds)
    assert questions.vocabulary[kinds["count"]] == "none" and questions.vocabulary[kinds["truth"]] == "yes"


def test_answers_alone_are_targets(asked):
    batch = collate([asked.sources["conversation"].train[number] for number in range(3)])
    labels, words = answers_only(batch, asked.tokenizer.end), Questions(WORLD).vocabulary
    possible = {answer for choices in Questions(WORLD).choices.values() for answer in choices} | {"<|endofdocument|>"}
    for row, documents in zip(labels, batch["document_ids"], strict=True):
        answers = [words[number] for number in row[row != IGNORE]]
        assert set(answers) <= possible
        assert answers[1::2] == ["<|endofdocument|>"] * (len(answers) // 2), "an answer of one word, and its end"
        assert len(answers) == 2 * len(SORTS) * (int(documents.max()) + 1)


@pytest.mark.parametrize("kind", TASKS)
def test_other_documents_keep_their_targets(asked, kind):
    batch = collate([asked.sources[kind].train[number] for number in range(3)])
    assert (answers_only(batch, asked.tokenizer.end) == batch["labels"]).all()


def test_conversations_stand_beside_short_documents_alone(tmp_path):
    with pytest.raises(ValueError, match="conversations stand beside caption, interleaved, text in short documents: got kinds"):
        embedded_corpus(tmp_path, tokens=1_000, weights={**WEIGHTS, "audio": 1.0}, kinds=(*TASKS, "audio", "conversation"))
