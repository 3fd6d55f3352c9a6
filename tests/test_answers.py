"""Finetuning on answers, and what a model answers: by its own words, by choices, and as a record tells of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nmm import record as records
from nmm.config import TASKS
from nmm.data.batches.loader import collate
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.documents import Span
from nmm.data.generated.questions import ASKED, SORTS, standard_questions
from nmm.models import build
from nmm.models.answering import Answering
from nmm.models.io import weights
from nmm.training.objectives import objective
from nmm.training.objectives.answers import Exact
from nmm.training.probes import answers as probe
from nmm.training.run import train

WEIGHTS = {**dict.fromkeys(TASKS, 0.1), "conversation": 1.0}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    return embedded_corpus(tmp_path_factory.mktemp("asked"), tokens=40_000, weights=WEIGHTS, kinds=(*TASKS, "conversation"))


@pytest.fixture
def finetuning(tiny, asked):
    arms = (replace(tiny.arms[0], objective="answers"),)
    own = replace(tiny, mixtures={"questions": {"conversation": 1.0}}, budgets=(20_000,), arms=arms)
    return next(iter(own.grid(asked).values()))


@pytest.fixture
def answering(finetuning, asked):
    torch.manual_seed(0)
    return Answering(build(finetuning.model), asked.tokenizer, asked.geometry, asked.context)


@pytest.fixture
def questions():
    return standard_questions(unseen=False)[:6]


def test_choices_are_weighed_as_written_out(answering, questions):
    """The log-likelihood of an answer is that of its tokens one after the other, and of choices the likeliest is taken."""
    one = questions[0]
    choices = ["red", "red plum", "blue"]
    found = answering.log_likelihoods(one.image, one.words, choices)
    words = answering.tokenizer.inner.token_to_id
    first = answering.first_words([(one.image, one.words)])[0]
    assert first.shape == (answering.model.config.vocab_size,) and np.isclose(np.exp(first).sum(), 1, atol=1e-4)
    after = {choice: found[place] - first[words(choice.split()[0])] for place, choice in enumerate(choices)}
    assert all(rest < 0 for rest in after.values()), "the end of an answer is a part of it"
    assert answering.answer(one.image, one.words, choices) == choices[int(found.argmax())]
    with torch.no_grad():
        tail = answering._batch([answering._document(one.image, one.words, "red")])      # noqa: SLF001
        tail["labels"][:] = -100
        tail["labels"][0, (tail["document_ids"][0] >= 0).sum() - 2] = 0
        end = answering.model(tail).log_softmax(-1)[0, answering.tokenizer.end]
    assert np.isclose(after["red"], float(end), atol=1e-4)


def test_own_words_are_the_likeliest_and_end(answering, questions):
    said = answering.write([(one.image, one.words) for one in questions], longest=3)
    assert len(said) == 6 and all(len(words.split()) <= 3 for words in said)
    first = answering.first_words([(one.image, one.words) for one in questions]).argmax(1)
    for words, number in zip(said, first, strict=True):
        expected = answering.tokenizer.inner.id_to_token(int(number))
        assert words.split()[:1] == ([] if number == answering.tokenizer.end else [expected])
    alone = answering.write([(questions[0].image, questions[0].words)], longest=3)
    assert alone == said[:1], "others asked with it change nothing"


@pytest.mark.parametrize(("ask", "message"), [
    (lambda one, q: one.answer(q.image, q.words, []), "choices is empty"),
    (lambda one, q: one.answer(q.image, " "), "the question is empty"),
    (lambda one, q: one.answer(b"no image", q.words), "cannot be used: not a JPEG, PNG or WebP image"),
    (lambda one, q: one.answer(q.image, q.words, ["red " * 200]), r"take 22\d tokens with the image, and the context has 176"),
])
def test_what_cannot_be_asked_is_named(answering, questions, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(answering, questions[0])


def test_a_file_of_another_vocabulary_lists_what_differs(answering, asked, corpus, tmp_path):
    weights.save(answering.model, tmp_path / "model.safetensors", answering.model.config)
    with pytest.raises(ValueError, match="vocab_size: 77. in the file, 756 in the corpus"):
        Answering.load(tmp_path / "model.safetensors", corpus)
    again = Answering.load(tmp_path / "model.safetensors", asked)
    one = standard_questions(unseen=True)[0]
    assert (again.first_words([(one.image, one.words)]) == answering.first_words([(one.image, one.words)])).all()


def test_exact_answers_are_counted_by_their_ends():
    targets = torch.tensor([5, 1, 6, 7, 1, 8, 1, 9])        # three answers, and a rest without an end
    logits = torch.nn.functional.one_hot(targets, 12).float()
    logits[3] = 0
    metric = Exact(end=1)
    metric.update(logits, targets)
    assert float(metric.compute()) == pytest.approx(2 / 3)
    metric.update(logits[:2], targets[:2])
    assert float(metric.compute()) == pytest.approx(3 / 4)
    metric.update(logits[:0], targets[:0])
    assert float(metric.compute()) == pytest.approx(3 / 4)


def test_the_objective_trains_on_answers_alone(asked, corpus):
    goal = objective("answers").on(asked)
    batch = collate([asked.sources["conversation"].train[0]])
    assert 0 < int((goal.prepare(batch)["labels"] >= 0).sum()) < int((batch["labels"] >= 0).sum()) / 2
    with pytest.raises(ValueError, match="no conversations among its sources .caption, interleaved, text"):
        objective("answers").on(corpus)


def test_a_record_says_what_was_answered(finetuning, asked, tmp_path, one_thread):
    record = train(finetuning, asked)
    assert record.status == "finished", record.reason
    assert record.curve[-1][1] < 0.7 * record.curve[0][1]
    assert 0 < record.metrics["exact"]["conversation"] < 1 and record.tokens["target"] < 0.25 * record.D
    assert list(record.answered) == list(SORTS) and all(set(by) == {"shown", "withheld"} for by in record.answered.values())
    same = record.answered["same"]["shown"]
    assert same["asked"] == ASKED and same["nats_of_choices"] < same["nats"] and same["chosen"] >= same["exact"]
    assert same["exact"] > 0.3, "which words are answers is learned first"
    assert len(record.quoted["colour"]["withheld"]) == probe.QUOTED
    assert records.read(records.write(record, tmp_path)) == record


def test_images_are_files_or_spans(answering, questions):
    assert isinstance(questions[0].image, Span)
    assert isinstance(answering.answer(None, questions[0].words, ["red", "blue"]), str)
