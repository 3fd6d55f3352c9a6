"""The order in which training sequences of several sources are read.

The order is a function of the corpus, the weights and the seed; a longer run sees a shorter one's sequences first.
"""

import zlib
from collections.abc import Mapping

import numpy as np

from nmm.config import KINDS, TASKS
from nmm.data.corpus.store import Corpus

# Image-caption, interleaved, text; the study's four mixtures (Shukor et al. 2025, Sec. 3.3 and Table 2) [share of
# tokens].
MIXTURES: dict[str, dict[str, float]] = {
    name: {kind: int(percent) / 100 for kind, percent in zip(TASKS, name.split("-"), strict=True)}
    for name in ("45-45-10", "40-20-40", "30-30-40", "20-40-40")
}

def image_share(corpus: Corpus, realised: Mapping[str, Mapping[str, float]]) -> float:
    """rho: the image tokens among all that are of either modality. Markers and ends of documents are of neither.

    So it is 0 for text alone and 1 for images alone.

    Args:
        realised: of every source, see `Mixture.realised`.
    """
    images = words = 0.0
    for name, row in realised.items():
        counted = corpus.description["sources"][name]["train"]
        of_neither = (counted["documents"] + counted["images"]) / counted["text_tokens"]
        images += row["image_tokens"]
        words += row["text_tokens"] * (1 - of_neither)
    return images / (images + words)


WINDOW = 1 << 16  # sequences shuffled together
BLOCK = 1 << 12   # neighbours that stay in one window [sequences]

Weights = Mapping[str, "float | Weights"]


def resolve(weights: Weights | str, corpus: Corpus) -> dict[str, float]:
    """The share of each source, adding up to 1, from nested weights or the name of a preset.

    A name is a source's, or a kind's: a number for a kind is shared among its sources in proportion to their training
    tokens. A nested mapping lists sources of one group, each with its own weight, as Table 5 does:
    `{"caption": {"dfn": 27, "coyo": 11.25, "hqitp": 6.75}, "interleaved": 45, "text": 10}`.

    Raises:
        ValueError: an unknown preset or name, a name given twice or under another kind than its own, an empty group, a
            weight that is negative, or all weights zero.
    """
    if isinstance(weights, str):
        if weights not in MIXTURES:
            raise ValueError(f"unknown mixture {weights!r}: one of {', '.join(MIXTURES)}, or weights by source")
        weights = MIXTURES[weights]
    shares: dict[str, float] = {}

    def add(name: str, weight: "float | Weights") -> None:
        if isinstance(weight, Mapping):
            if not weight:
                raise ValueError(f"the mixture's group {name!r} is empty: list its sources with their weights")
            for inner, value in weight.items():
                if name in KINDS and inner in corpus.sources and corpus.sources[inner].kind != name:
                    raise ValueError(
                        f"the mixture lists source {inner!r} under {name!r}: it is {corpus.sources[inner].kind}"
                    )
                add(inner, value)
            return
        if not (np.isfinite(weight) and weight >= 0):
            raise ValueError(f"weight of {name!r} is {weight}: it must be a finite number, zero or more")
        named = [corpus.sources[name]] if name in corpus.sources else corpus.of_kind(name)
        if not named:
            raise ValueError(f"the mixture names {name!r}, but the corpus has the sources "
                             + ", ".join(f"{s.name} ({s.kind})" for s in corpus.sources.values()))
        totals = [float(s.train.tokens.sum()) if len(named) > 1 else 1.0 for s in named]
        for source, total in zip(named, totals):
            if source.name in shares:
                raise ValueError(f"the mixture names source {source.name!r} twice")
            shares[source.name] = weight * total / sum(totals)

    for name, weight in weights.items():
        add(name, weight)
    total = sum(shares.values())
    if not total > 0:
        raise ValueError(f"the mixture's weights are all zero: {dict(weights)}")
    return {name: share / total for name, share in shares.items() if share > 0}


def shuffled(n: int, random: np.random.Generator) -> np.ndarray:
    """A permutation of n sequences that a disk or an object store can follow.

    Up to `WINDOW` sequences: any permutation. More: blocks of neighbours in random order, shuffled together in windows,
    so that at any time only one window's shards are read.
    """
    if n <= WINDOW:
        return random.permutation(n)
    blocks = random.permutation(-(-n // BLOCK))
    per_window = WINDOW // BLOCK
    windows = (blocks[k:k + per_window] for k in range(0, len(blocks), per_window))
    return np.concatenate([
        random.permutation(np.concatenate([np.arange(b * BLOCK, min(n, (b + 1) * BLOCK)) for b in window]))
        for window in windows
    ])


class Mixture:
    """The deterministic order of a corpus's training sequences under weights that count tokens.

    Each source is read in a seeded permutation (see `shuffled`), another one every epoch. Sources take turns so that
    after every sequence each one's share of tokens (padding left out) is as near its weight as whole sequences allow:
    sequence k of source i has its turn at (tokens of i before it + half its own) / weight of i.

    Args:
        corpus: an opened corpus.
        weights: see `resolve`.
        seed: of the permutations.
        max_epochs: how often a source may be repeated at most.
        backwards: each permutation is read from its end, so that two runs, one in each direction, have no sequence of a source in common
            while they read no more of it than there is.
    Raises:
        ValueError: bad weights, a source without training sequences, or `max_epochs` below 1.
    """

    def __init__(self, corpus: Corpus, weights: Weights | str, seed: int, max_epochs: int = 1, *, backwards: bool = False) -> None:
        if max_epochs < 1:
            raise ValueError(f"max_epochs is {max_epochs}: at least 1")
        self.corpus, self.seed, self.max_epochs, self.backwards = corpus, seed, max_epochs, backwards
        self.weights = resolve(weights, corpus)
        self.names = sorted(self.weights)  # the order does not depend on how the weights were written down
        self.splits = [corpus.sources[name].train for name in self.names]
        for name, split in zip(self.names, self.splits):
            if not len(split):
                raise ValueError(f"source {name!r} has no training sequences: leave it out of the mixture")
        totals = np.array([float(split.tokens.sum()) for split in self.splits])
        shares = np.array([self.weights[name] for name in self.names])
        # The first source to run out ends the mixture: what follows could not keep the weights.
        self._end = float((max_epochs * totals / shares).min())

    def _permutation(self, source: int, epoch: int) -> np.ndarray:
        name = zlib.crc32(self.names[source].encode())
        order = shuffled(len(self.splits[source]), np.random.default_rng([self.seed, name, epoch]))
        return order[::-1] if self.backwards else order

    def order(self, n: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The first `n` sequences (None: all) as arrays: number of the source in `names`, index, epoch.

        Raises:
            ValueError: the corpus is too small, see `require`.
        """
        stop = self._end
        if n is not None:
            # A sequence has at most `context` tokens and turns are spread evenly, so this horizon holds more than n
            # unless sequences are much emptier than that; then the whole order is made.
            mean = sum(self.weights[name] * 1.0 / split.tokens.mean() for name, split in zip(self.names, self.splits))
            stop = min(self._end, 1.1 * n / mean + len(self.names) * self.corpus.context / min(self.weights.values()))
        turns = self._turns(stop)
        if n is not None and len(turns[0]) < n and stop < self._end:
            turns = self._turns(self._end)
        if n is not None and len(turns[0]) < n:
            self._refuse(n, len(turns[0]))
        return tuple(column[:n] for column in turns)

    def _turns(self, stop: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        columns = []
        for source, (name, split) in enumerate(zip(self.names, self.splits)):
            before, epoch = 0, 0
            while epoch < self.max_epochs and before / self.weights[name] < stop:
                index = self._permutation(source, epoch)
                tokens = split.tokens[index]
                ends = before + np.cumsum(tokens)
                turn = (ends - 0.5 * tokens) / self.weights[name]
                keep = turn < stop
                columns.append((turn[keep], np.full(keep.sum(), source), index[keep], np.full(keep.sum(), epoch)))
                before, epoch = int(ends[-1]), epoch + 1
        turn, source, index, epoch = (np.concatenate(c) for c in zip(*columns))
        by_turn = np.lexsort((source, turn))
        return source[by_turn], index[by_turn], epoch[by_turn]

    def require(self, tokens: int) -> int:
        """The number of sequences for a budget of `tokens` positions (padding counts: it costs compute).

        Raises:
            ValueError: the corpus is too small for the budget.
        """
        n = -(-int(tokens) // self.corpus.context)
        self.order(n)
        return n

    def _refuse(self, n: int, available: int) -> None:
        context = self.corpus.context
        needed = -(-n * self.max_epochs // max(available, 1))
        raise ValueError(
            f"the corpus {self.corpus.folder} is too small: {n * context:,} tokens are needed, {available * context:,} "
            f"are available in this mixture with max_epochs={self.max_epochs}. Prepare a larger corpus, lower the "
            f"budget, or allow repetition with max_epochs={max(needed, self.max_epochs + 1)}"
        )

    def realised(self, n: int) -> dict[str, dict[str, float]]:
        """What the first `n` sequences hold, per source: share of tokens, tokens by modality, padding, epochs begun."""
        source, index, epoch = self.order(n)
        rows = {}
        for number, (name, split) in enumerate(zip(self.names, self.splits)):
            mine = source == number
            tokens = int(split.tokens[index[mine]].sum())
            spans = {f"{modality}_tokens": int(split.tokens_of(modality)[index[mine]].sum())
                     for modality in self.corpus.geometry.modalities}
            rows[name] = {"tokens": tokens, "text_tokens": tokens - sum(spans.values()), **spans,
                          "padding": int(mine.sum()) * self.corpus.context - tokens,
                          "epochs": int(epoch[mine].max(initial=-1)) + 1}
        total = sum(row["tokens"] for row in rows.values())
        return {name: {"share": row["tokens"] / total, **row} for name, row in rows.items()}
