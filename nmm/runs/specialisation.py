"""How far the experts of a mixture specialise in a modality, from counts of routed tokens (Sec. 4.4, App. E.2).

Counts are arrays (n_layers, E, 2): how many text tokens, and how many of all other kinds (in the study: image tokens),
each expert of each layer took. `RunRecord.routing` has them for held-out data, by data type. A token that takes several
experts counts for each of them.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmm.record import RunRecord

ROUTED = ("text", "image")       # the last axis of counts

Array = NDArray[np.float64]


def checked(counts: ArrayLike) -> Array:
    """Counts as an array of floats.

    Raises:
        ValueError: the shape is not (n_layers, E, 2), or a count is negative or not finite.
    """
    array = np.asarray(counts, dtype=np.float64)
    if array.ndim != 3 or array.shape[2] != len(ROUTED) or not array.size:
        raise ValueError(
            f"routing counts must have shape (n_layers, E, {len(ROUTED)}), for {' and '.join(ROUTED)}: "
            f"got {array.shape}"
        )
    if not (np.isfinite(array).all() and (array >= 0).all()):
        raise ValueError("routing counts must be finite and not negative: count tokens by layer, expert and kind")
    return array


def load(counts: ArrayLike) -> Array:
    """Share of all choices that fell on each expert, (n_layers, E); 1 / E where the load is even. NaN: no tokens."""
    tokens = checked(counts).sum(axis=2)
    return _ratio(tokens, tokens.sum(axis=1, keepdims=True))


def composition(counts: ArrayLike) -> Array:
    """Share of text and of image among the tokens of each expert, (n_layers, E, 2); NaN for an expert without tokens.

    Source: the bars of Fig. 13, each of which sums to 1.
    """
    array = checked(counts)
    return _ratio(array, array.sum(axis=2, keepdims=True))


def assignment(counts: ArrayLike) -> Array:
    """Share of each kind's tokens that go to each expert, (n_layers, E, 2); over the experts they sum to 1.

    NaN for a kind without tokens. Source: App. E.2, where these shares are held against 1 / E.
    """
    array = checked(counts)
    return _ratio(array, array.sum(axis=1, keepdims=True))


def entropy_score(counts: ArrayLike) -> Array:
    """Specialisation of each layer, (n_layers,): the mean over experts of 1 - H(p), H the binary entropy in bits.

    p is the share of text among an expert's tokens (`composition`). 1: every expert takes one kind alone; 0: every
    expert takes as many of one as of the other. Experts without tokens are left out of the mean, the others count alike
    whatever their load; NaN for a layer without tokens. Source: Sec. 4.4, Fig. 12, which says nothing of unused
    experts.

    Where one kind is rarer than the other, experts without any preference score more than 0: `indifferent_score`.
    """
    score = 1 - _binary_entropy(composition(counts)[..., 0])
    used = np.isfinite(score)
    return _ratio(np.where(used, score, 0.0).sum(axis=1), used.sum(axis=1))


def indifferent_score(counts: ArrayLike) -> float:
    """The `entropy_score` of a layer whose experts all take the two kinds in the data's own proportion.

    What a score of `entropy_score` is to be held against: the study's data sources differ in it (Fig. 12). Ours.
    """
    text, image = checked(counts).sum(axis=(0, 1))
    return float(1 - _binary_entropy(_ratio(text, text + image)))


def uniform_deviation(counts: ArrayLike) -> Array:
    """Mean over experts of |share of a kind's tokens - 1 / E|, (n_layers, 2), in per cent [%].

    0: every expert takes 1 / E of that kind. At most 200 (E - 1) / E^2, where one expert takes all: 21.9 % for 8
    experts. NaN for a kind without tokens. Source: App. E.2, Fig. 25; that its axis is in per cent is inferred from its
    range, 0 to 15.
    """
    share = assignment(counts)
    return 100 * np.abs(share - 1 / share.shape[1]).mean(axis=1)


def by_seed(records: Sequence[RunRecord], task: str, score: Callable[[ArrayLike], Array] = entropy_score) -> Array:
    """A score of the layers, mean over the runs of each seed, (seeds, n_layers).

    Args:
        records: of models of one depth, with routing.
        task: held-out data whose routing is scored.
        score: of counts, (n_layers,).
    Raises:
        ValueError: there is no record, one has no routing of the data, or they differ in layers.
    """
    if not records or any(task not in (record.routing or {}) for record in records):
        raise ValueError(f"scores by seed need records with routing of {task!r} data: {len(records)} records, not all of which have it")
    if len(depths := {record.config.model.n_layers for record in records}) > 1:
        raise ValueError(f"layers of models of {', '.join(map(str, sorted(depths)))} layers are not the same: give those of one depth")
    seeds: dict[int, list[Array]] = {}
    for record in records:
        seeds.setdefault(record.config.seed, []).append(score(record.routing[task]))
    return np.array([np.mean(seeds[seed], axis=0) for seed in sorted(seeds)])


def _binary_entropy(p: ArrayLike) -> Array:
    """-p log2 p - (1 - p) log2 (1 - p) in bits, 0 at both ends."""
    p = np.asarray(p, dtype=np.float64)
    parts = np.stack([p, 1 - p])
    return -(parts * np.log2(np.where(parts > 0, parts, 1.0))).sum(axis=0)


def _ratio(part: ArrayLike, whole: ArrayLike) -> Array:
    """part / whole, NaN where the whole is 0."""
    whole = np.asarray(whole, dtype=np.float64)
    return np.asarray(part) / np.where(whole > 0, whole, np.nan)
