"""What a model answers to questions about generated images: of each kind of question, and of what it was never shown."""

from collections import defaultdict
from typing import Any

import numpy as np
from composer.utils import dist
from torch import nn

from nmm.data.corpus.store import Corpus
from nmm.data.generated.questions import Question, Questions, standard_questions
from nmm.data.generated.world import World
from nmm.models.answering import Answering
from nmm.training.probes.probe import Asking, predicts_tokens

QUOTED = 8          # of each, whose answers are kept in the record
SEEN = {False: "shown", True: "withheld"}
KIND = "conversation"


class AnswersGiven(Asking):
    """By kind of question, and whether pairs of colour and shape were shown or withheld, as `RunRecord.answered`:

    `exact`, the share of answers that are the likeliest of all words; `chosen`, the share that are the likeliest of the possible
    answers; `nats`, minus the mean log-probability of the true answer among all words, and `nats_of_choices` among the possible ones.
    The likeliest words for the first questions of each are in `RunRecord.quoted`. One process alone measures it.

    Args:
        model: the model itself, within whatever the Trainer wraps it in.
    """

    field = "answered"

    def __init__(self, model: nn.Module, corpus: Corpus) -> None:
        super().__init__()
        self.asked = Answering(model, corpus.tokenizer, corpus.geometry, corpus.context)

    @classmethod
    def of(cls, module: nn.Module, corpus: Corpus) -> "AnswersGiven | None":
        ids = corpus.tokenizer.inner.id_to_token
        known = corpus.of_kind(KIND) and all(ids(number) == word for number, word in enumerate(Questions(World()).vocabulary))
        return cls(module, corpus) if known and predicts_tokens(module) and dist.get_world_size() == 1 else None

    def ask(self, label: str) -> dict[str, Any] | None:
        if label != KIND:
            return None
        answered, quoted = defaultdict(dict), defaultdict(dict)
        for unseen, name in SEEN.items():
            by_sort = defaultdict(list)
            for question in standard_questions(unseen):
                by_sort[question.sort].append(question)
            for sort, questions in by_sort.items():
                answered[sort][name], quoted[sort][name] = self._judge(questions)
        return {self.field: dict(answered), "quoted": dict(quoted)}

    def _judge(self, questions: list[Question]) -> tuple[dict[str, float], list[str]]:
        token = self.asked.tokenizer.inner.token_to_id
        log_p = self.asked.first_words([(question.image, question.words) for question in questions]).astype(float)
        choices = np.array([token(choice) for choice in questions[0].choices])
        true = np.array([token(question.answer) for question in questions])
        among = log_p[:, choices] - np.logaddexp.reduce(log_p[:, choices], axis=1, keepdims=True)
        own, chosen = log_p.argmax(1), choices[among.argmax(1)]
        found = {
            "asked": len(questions), "exact": float((own == true).mean()), "chosen": float((chosen == true).mean()),
            "nats": float(-np.take_along_axis(log_p, true[:, None], 1).mean()),
            "nats_of_choices": float(-among[choices == true[:, None]].mean()),
        }
        return found, [self.asked.tokenizer.inner.id_to_token(int(number)) for number in own[:QUOTED]]
