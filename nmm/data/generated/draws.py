"""What a world draws its words from: invented words, weighted draws, and a bit for every three words; and what it may withhold."""

from collections.abc import Sequence

import numpy as np


def invented(rng: np.random.Generator, consonants: str, n: int) -> list[str]:
    syllables = [c + v for c in consonants for v in "aeiou"]
    pairs = rng.permutation(len(syllables) ** 2)[:n]
    return [syllables[p // len(syllables)] + syllables[p % len(syllables)] for p in pairs]


def different(rng: np.random.Generator, p: np.ndarray, n: int, k: int) -> np.ndarray:
    """For each of n, k different ones of a list: a weighted draw without replacement, (n, k)."""
    keys = rng.random((n, p.size)) ** (1 / p)           # the largest keys
    return np.argsort(-keys, axis=1, kind="stable")[:, :k]


def bit(words: Sequence[np.ndarray], n: int, seed: int) -> np.ndarray:
    """0 or 1 for each row of words out of n, as good as drawn: a table of all rows would be too large.

    Source: the finaliser of SplitMix64 (Steele et al. 2014).
    """
    key = np.zeros_like(words[0]) + seed + 1
    for word in words:
        key = key * n + word
    key = key.astype(np.uint64)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((key ^ (key >> np.uint64(31))) & np.uint64(1)).astype(np.int64)


def eighth_of_pairs(colours: int, shapes: int) -> np.ndarray:
    """(colour, shape) -> whether the pair is one of an eighth in which every colour and every shape is."""
    return (5 * np.arange(colours)[:, None] + np.arange(shapes)) % 8 == 0
