"""What a run reads of a corpus, in which order, checked before anything is trained. No torch here."""

import math

import numpy as np

from nmm.config import TASKS, RunConfig
from nmm.data.mixture import Mixture
from nmm.data.store import Corpus, Source


def plan(config: RunConfig, corpus: Corpus) -> tuple[Mixture, np.ndarray]:
    """The order of training sequences, and the tokens seen after each step, (steps,); the last reaches `config.tokens`.

    Padding does not count.

    Raises:
        ValueError: the corpus is not the configuration's, lacks a data type, or is too small.
    """
    if corpus.hash != config.data.corpus_id:
        raise ValueError(f"the run was configured for corpus {config.data.corpus_id}, but {corpus.folder} is {corpus.hash}")
    validation_sources(corpus)
    mixture = Mixture(corpus, config.data.weights, config.seed, config.data.max_epochs)
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


def validation_sources(corpus: Corpus) -> dict[str, Source]:
    """The source whose held-out sequences measure each data type's loss.

    Raises:
        ValueError: a data type has no source, or more than one.
    """
    sources = {}
    for task in TASKS:
        found = corpus.of_kind(task)
        if len(found) != 1:
            names = ", ".join(source.name for source in found) or "none"
            raise ValueError(f"the corpus {corpus.folder} must have one source of data type {task!r}: it has {names}")
        sources[task] = found[0]
    return sources
