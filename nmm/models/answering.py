"""What a model answers to a question about an image: greedily in its own words, or the likeliest of some choices.

    asked = Answering(model, corpus.tokenizer, corpus.geometry, corpus.context)
    asked.answer("photo.jpg", "What is this?", ("cat", "dog"))

Any evaluation can be put on `answer`: it takes an image and words, and gives words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from nmm.data.batches.loader import IGNORE, collate
from nmm.data.batches.turns import answers_only
from nmm.data.corpus.packing import encode
from nmm.data.corpus.sequence import to_sequence
from nmm.data.corpus.store import Corpus
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.documents import Document, Span, Text
from nmm.data.geometry import Geometry
from nmm.data.images import BadImage, check
from nmm.models.io import weights
from nmm.models.registry import build

AT_ONCE = 128           # documents computed together
LONGEST = 32            # tokens of an answer, where nobody says otherwise

Image = Span | bytes | str | Path | None


@dataclass(frozen=True)
class Answering:
    """A trained model with what its corpus says of text and images."""

    model: nn.Module
    tokenizer: Tokenizer
    geometry: Geometry
    context: int        # the longest document that it was trained on [tokens]

    @classmethod
    def load(cls, file: str | Path, corpus: Corpus) -> Self:
        """The model of a weights file that a run left (`nmm.models.io.weights.save`), for images and text as a corpus has them.

        Raises:
            ValueError: the file is no model of nmm, or has another vocabulary or other patches than the corpus.
            OSError: it cannot be read.
        """
        config, tensors = weights.load(file)
        differing = [f"{name}: {getattr(config, name)} in the file, {getattr(corpus, name)} in the corpus"
                     for name in ("vocab_size", "patch_dim") if getattr(config, name) != getattr(corpus, name)]
        if differing:
            raise ValueError(f"{file} was not trained on text and images as those of {corpus.folder}:\n  " + "\n  ".join(differing))
        model = build(config)
        model.load_state_dict(tensors)
        return cls(model, corpus.tokenizer, corpus.geometry, corpus.context)

    def answer(self, image: Image, question: str, choices: Sequence[str] | None = None) -> str:
        """The answer to a question.

        Args:
            image: a file's path or bytes (JPEG, PNG, WebP), or a stored span; None: the question is about none.
            choices: answers to choose the likeliest from, each with the end of the answer; None: the model's own words, the
                likeliest token after token, up to the end or to `LONGEST` tokens.
        Raises:
            ValueError: no choices, an image or words that cannot be used, or question and answer are longer than the context.
            OSError: the image file cannot be read.
        """
        if choices is None:
            return self.write([(image, question)])[0]
        if not choices:
            raise ValueError("choices is empty: give the answers to choose from, or None for the model's own words")
        return choices[int(np.argmax(self.log_likelihoods(image, question, choices)))]

    @torch.inference_mode()
    def log_likelihoods(self, image: Image, question: str, choices: Sequence[str]) -> np.ndarray:
        """Log-probability of each answer, its end included, (n,) [nats]; errors as for `answer`."""
        span, found = self._span(image), []
        for first in range(0, len(choices), AT_ONCE):
            batch = self._batch([self._document(span, question, choice) for choice in choices[first:first + AT_ONCE]])
            batch["labels"] = answers_only(batch, self.tokenizer.end)
            asked = batch["labels"] != IGNORE
            of_target = self._run(batch).log_softmax(-1).gather(1, batch["labels"][asked][:, None])[:, 0]
            found.append(torch.zeros(asked.shape, dtype=of_target.dtype).masked_scatter(asked, of_target).double().sum(1))
        return torch.cat(found).numpy()

    @torch.inference_mode()
    def first_words(self, asked: Sequence[tuple[Image, str]]) -> np.ndarray:
        """Log-probability of every token as the first of the answer to each question, (n, V) [nats]; errors as for `answer`."""
        found = []
        for first in range(0, len(asked), AT_ONCE):
            batch = self._batch([self._document(self._span(image), words) for image, words in asked[first:first + AT_ONCE]])
            found.append(self._next(batch).log_softmax(-1))
        return torch.cat(found).numpy()

    @torch.inference_mode()
    def write(self, asked: Sequence[tuple[Image, str]], longest: int = LONGEST) -> list[str]:
        """The model's own answers to some questions, the likeliest token after token; errors as for `answer`."""
        said: list[list[int]] = [[] for _ in asked]
        open_, spans = list(range(len(asked))), [self._span(image) for image, _ in asked]
        for _ in range(longest):
            for first in range(0, len(open_), AT_ONCE):
                mine = open_[first:first + AT_ONCE]
                batch = self._batch([self._document(spans[n], asked[n][1], np.array(said[n], np.int64)) for n in mine])
                for n, token in zip(mine, self._next(batch).argmax(-1).tolist(), strict=True):
                    said[n].append(token)
            open_ = [n for n in open_ if said[n][-1] != self.tokenizer.end]
            if not open_:
                break
        return [self.tokenizer.decode([token for token in ids if token != self.tokenizer.end]).strip() for ids in said]

    def _span(self, image: Image) -> Span | None:
        if image is None or isinstance(image, Span):
            return image
        data = image if isinstance(image, bytes) else Path(image).read_bytes()
        try:
            data, name, size = check(data, self.geometry)
        except BadImage as error:
            raise ValueError(f"the image {image if not isinstance(image, bytes) else ''} cannot be used: {error}") from error
        return Span(data, name, self.geometry.patches(min(size)))

    def _document(self, image: Span | None, question: str, answer: str | np.ndarray = "") -> Document:
        if not question.strip():
            raise ValueError(f"the question is empty ({question!r}): ask something")
        said = Text(answer) if isinstance(answer, str) else Text(ids=answer)
        return Document((*([image] if image is not None else []), Text(question, turn=True), said), question)

    def _batch(self, documents: Sequence[Document]) -> dict[str, Tensor]:
        encoded = encode(documents, self.tokenizer, self.geometry.patches_per_image)
        for document, own in zip(documents, encoded, strict=True):
            if own is None:
                raise ValueError(f"question {document.name!r} or its answer has characters that the tokenizer has no token for")
            if len(own) > self.context:
                raise ValueError(f"question {document.name!r} and its answer take {len(own)} tokens with the image, and the context has "
                                 f"{self.context}: shorten them, or train with a longer context")
        length = min(self.context, -(-max(map(len, encoded)) // 16) * 16)
        return collate([to_sequence([own], length, self.tokenizer.pad, self.geometry) for own in encoded])

    def _next(self, batch: dict[str, Tensor]) -> Tensor:
        """Logits of the token in place of each document's end, (n, V)."""
        last_B = (batch["document_ids"] >= 0).sum(1) - 2        # the position before
        batch["labels"] = torch.full_like(batch["labels"], IGNORE).scatter(1, last_B[:, None], self.tokenizer.end)
        return self._run(batch)

    def _run(self, batch: dict[str, Tensor]) -> Tensor:
        device, training = next(self.model.parameters()).device, self.model.training
        self.model.eval()
        logits = self.model({name: tensor.to(device) for name, tensor in batch.items()}).float().cpu()
        self.model.train(training)
        return logits
