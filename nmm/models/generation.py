"""What a model of text and images writes: images from texts, texts from images, and what is missing in the middle.

Documents of one length are written together; everything before is computed anew for each token, which models this small can afford.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nmm.data.batches.infilling import SENTINELS, Span, rotate
from nmm.data.corpus.store import Corpus

AT_ONCE = 64            # documents written together
NOTHING = -100          # label of a position whose logits nobody asks for


@dataclass(frozen=True)
class Vocabulary:
    """Where a corpus of codes has what: text, image marker, sentinels, codes.

    Raises:
        ValueError: its images are patches.
    """

    corpus: Corpus

    def __post_init__(self) -> None:
        if not self.corpus.geometry.codes:
            raise ValueError(f"the images of {self.corpus.folder} are patches: a model cannot write them; make a corpus of codes")

    @property
    def first_code(self) -> int:
        return self.corpus.vocab_size - self.corpus.geometry.all_codes

    @property
    def sentinel(self) -> int:
        """Id of the first sentinel."""
        return self.first_code - SENTINELS

    @property
    def marker(self) -> int:
        """Id of the token before an image."""
        return self.corpus.tokenizer.markers["image"]

    def only(self, *what: str) -> Tensor:
        """Which ids are of "text" (the marker and the end of a document are not), "codes" or "sentinels", (V,) bool."""
        ids = torch.arange(self.corpus.vocab_size)
        special = [self.corpus.tokenizer.end, self.corpus.tokenizer.pad, *filter(None, self.corpus.tokenizer.markers.values())]
        of = {
            "text": (ids < self.sentinel) & ~torch.isin(ids, torch.tensor(special)),
            "sentinels": (ids >= self.sentinel) & (ids < self.first_code), "codes": ids >= self.first_code,
        }
        return torch.stack([of[name] for name in what]).any(0)


@torch.inference_mode()
def write(
    model: nn.Module, prompts: np.ndarray, length: int, allowed: Tensor, *, temperature: float = 0.0, seed: int = 0,
    context: int | None = None,
) -> np.ndarray:
    """The tokens that follow some prompts, (n, length).

    Args:
        prompts: (n, p) token ids.
        allowed: ids that may be written, (V,) bool.
        temperature: 0 takes the likeliest token; else one is drawn with the probabilities at this temperature.
        seed: of the draws.
        context: positions that the model was trained on; None: any number will do.
    Raises:
        ValueError: an id out of range, nothing allowed, a negative temperature, or prompt and answer are longer than the context.
    """
    prompts = np.atleast_2d(np.asarray(prompts, np.int64))
    vocabulary = model.config.vocab_size
    if prompts.size and not 0 <= prompts.min() <= prompts.max() < vocabulary:
        raise ValueError(f"ids from {prompts.min()} to {prompts.max()} in a prompt: the model has ids from 0 to {vocabulary - 1}")
    if not allowed.any() or not temperature >= 0:
        raise ValueError(f"allow at least one id, at a temperature of 0 or more: got {int(allowed.sum())} ids, temperature {temperature}")
    if context is not None and prompts.shape[1] + length > context:
        raise ValueError(f"a prompt of {prompts.shape[1]} tokens and {length} more do not fit the context of {context}: write fewer")
    training = model.training
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    written = []
    for first in range(0, len(prompts), AT_ONCE):
        ids = torch.from_numpy(prompts[first:first + AT_ONCE])
        for _ in range(length):
            logits = _next(model, ids).float().masked_fill(~allowed, -torch.inf)
            if temperature:
                token = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)
            else:
                token = logits.argmax(-1, keepdim=True)
            ids = torch.cat((ids, token), dim=1)
        written.append(ids[:, prompts.shape[1]:])
    model.train(training)
    return torch.cat(written).numpy() if written else np.zeros((0, length), np.int64)


def _next(model: nn.Module, ids: Tensor) -> Tensor:
    """Logits of the token after each row, (n, V)."""
    labels = torch.full_like(ids, NOTHING)
    labels[:, -1] = 0
    zeros = torch.zeros_like(ids)
    return model({"input_ids": ids, "labels": labels, "document_ids": zeros, "span_ids": zeros - 1, "modality": zeros})


def images_of_texts(model: nn.Module, corpus: Corpus, texts: np.ndarray, **how: float) -> np.ndarray:
    """Codes of an image for each text, (n, codes of an image), from 0; `how` as for `write`."""
    own = Vocabulary(corpus)
    prompts = np.concatenate([texts, np.full((len(texts), 1), own.marker)], axis=1)
    return write(model, prompts, corpus.patches_per_image, own.only("codes"), **how) - own.first_code


def texts_of_images(model: nn.Module, corpus: Corpus, codes: np.ndarray, length: int, **how: float) -> np.ndarray:
    """Token ids of a text for each image, (n, length); codes count from 0; `how` as for `write`.

    Raises:
        ValueError: a code is out of range.
    """
    own = Vocabulary(corpus)
    if codes.size and not 0 <= codes.min() <= codes.max() < corpus.geometry.codes:
        raise ValueError(f"codes from {codes.min()} to {codes.max()}: the corpus has codes from 0 to {corpus.geometry.codes - 1}")
    prompts = np.concatenate([np.full((len(codes), 1), own.marker), own.first_code + codes], axis=1)
    return write(model, prompts, length, own.only("text"), **how)


def filled(model: nn.Module, corpus: Corpus, documents: Sequence[np.ndarray], spans: Sequence[Span], **how: float) -> np.ndarray:
    """What a model trained with infilling puts where a span of each document is missing, (n, length of the span).

    Args:
        documents: ids of documents of one length, each with what is to be found out in its place.
        spans: one a document, all of one length.
    Raises:
        ValueError: spans or documents of several lengths, or a document that is longer than the context once its span is moved.
    """
    own = Vocabulary(corpus)
    lengths = {len(ids) for ids in documents}, {end - begin for begin, end in spans}
    if any(len(each) != 1 for each in lengths):
        raise ValueError(f"documents of {sorted(lengths[0])} tokens and spans of {sorted(lengths[1])}: give those of one length together")
    (length,) = lengths[1]
    prompts = [
        rotate(ids, [span], own.sentinel, corpus.context).ids[:-length - 1] for ids, span in zip(documents, spans, strict=True)
    ]
    codes = [bool((np.asarray(ids)[begin:end] >= own.first_code).all()) for ids, (begin, end) in zip(documents, spans, strict=True)]
    allowed = own.only("codes") if all(codes) else own.only("text") if not any(codes) else own.only("text", "codes")
    return write(model, np.stack(prompts), length, allowed, **how)
