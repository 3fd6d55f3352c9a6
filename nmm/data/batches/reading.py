"""What a run reads of a corpus, in which order, checked before anything is trained. No torch here."""

import math
from collections.abc import Sequence as SequenceABC

import numpy as np

from nmm.architectures import ModelConfig
from nmm.config import INPUTS, KINDS, Modality, RunConfig
from nmm.data.batches.mixture import Mixture
from nmm.data.corpus.store import Corpus, Sequence, Source, Split


def reading(config: RunConfig, corpus: Corpus) -> tuple[Mixture, np.ndarray]:
    """The order of training sequences, and the tokens seen after each step, (steps,); the last reaches `config.tokens`.

    Padding does not count.

    Raises:
        ValueError: the corpus is not the configuration's, lacks a source of the mixture, holds what the model cannot
            read, or is too small.
    """
    if corpus.hash != config.data.corpus_id:
        raise ValueError(
            f"the run was configured for corpus {config.data.corpus_id}, but {corpus.folder} is {corpus.hash}"
        )
    mixture = Mixture(corpus, config.data.weights, config.seed, config.data.max_epochs, backwards=config.data.backwards)
    if config.model.vocab_size != corpus.vocab_size:
        raise ValueError(
            f"the model has vocab_size = {config.model.vocab_size}, and the corpus {corpus.folder} {corpus.vocab_size}"
        )
    for name, split in zip(mixture.names, mixture.splits):
        if unread := _unread(config.model, corpus, split):
            width = unread[0].width
            raise ValueError(
                f"source {name!r} has {unread[0].name} tokens of {getattr(corpus, width)} numbers, and the model has "
                f"{width} = "
                f"{getattr(config.model, width)}: give {width} = {getattr(corpus, width)}, or a mixture without this "
                "source"
            )
    sequences = mixture.require(config.tokens)
    while True:
        sequences = -(-sequences // config.data.batch_sequences) * config.data.batch_sequences
        source, index, _ = mixture.order(sequences)
        tokens = np.zeros(sequences, np.int64)
        for number, split in enumerate(mixture.splits):
            mine = source == number
            tokens[mine] = split.tokens[index[mine]]
        seen = tokens.reshape(-1, config.data.batch_sequences).sum(1).cumsum()
        if seen[-1] >= config.tokens:
            return mixture, seen[: np.searchsorted(seen, config.tokens) + 1]
        sequences += math.ceil(1.1 * (config.tokens - seen[-1]) / config.data.context)


class HeldOut(SequenceABC):
    """The held-out sequences of several sources, in one order whose every beginning has them in proportion to their
    tokens.

    As in `Mixture`, sequence k of a source has its turn at (tokens of the source before it + half its own) / all tokens
    of the source. The order depends on the corpus alone, so it is the same for every run of a study, whatever its
    mixture.
    """

    def __init__(self, sources: SequenceABC[Source]) -> None:
        self.splits = [source.validation for source in sources]
        tokens = [split.tokens for split in self.splits]
        turns = np.concatenate([(np.cumsum(own) - 0.5 * own) / own.sum() for own in tokens])
        source = np.repeat(np.arange(len(tokens)), [len(own) for own in tokens])
        index = np.concatenate([np.arange(len(own)) for own in tokens])
        by_turn = np.lexsort((source, turns))
        self.source, self.index = source[by_turn], index[by_turn]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, number: int) -> Sequence:
        """The sequence, not augmented."""
        return self.splits[self.source[number]][int(self.index[number])]


def validation_sources(corpus: Corpus, model: ModelConfig | None = None) -> dict[str, SequenceABC[Sequence]]:
    """The held-out sequences that measure the loss of each data type the corpus has, and the model, if one is given,
    can read.

    A data type with several sources is measured on all of them: a run that reads the first n sequences has them spread
    over the sources, see `HeldOut`. A model without images (patch_dim = 0) is measured on text alone.
    """
    kinds = {kind: corpus.of_kind(kind) for kind in KINDS}
    readable = {
        kind: sources
        for kind, sources in kinds.items()
        if sources and (model is None or not any(_unread(model, corpus, source.validation) for source in sources))
    }
    return {
        kind: sources[0].validation if len(sources) == 1 else HeldOut(sources) for kind, sources in readable.items()
    }


def _unread(model: ModelConfig, corpus: Corpus, split: Split) -> list[Modality]:
    """Modalities of a split that a model has no input for, or one of another width."""
    return [entry for entry in INPUTS
            if getattr(model, entry.width) != getattr(corpus, entry.width) and split.tokens_of(entry.name).any()]
