"""Images as tokens: a patch of an image becomes one of a few hundred codes, and a code a patch. No torch here.

Two kinds of image tokenizer. "fsq": an encoder, a layer of rounding and a decoder, trained together, see
`nmm.models.image_tokenizer`. "kmeans": the nearest of some means. Both see one patch at a time, so that a code stands where its
patch stood, and what a code says of a generated patch can be counted exactly.

Source: finite scalar quantisation, Mentzer et al. 2023 (arXiv 2309.15505), App. A.1.
"""

import hashlib
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy.cluster.vq import kmeans2

from nmm.data.files import whole

KINDS = ("fsq", "kmeans")
LEVELS = (8, 6, 5)      # 240 codes
ROUNDS = 12             # of Lloyd's algorithm
ROWS = 1 << 14          # patches encoded at once: bounds the memory
SLACK = 1e-3            # keeps the outermost levels within reach of the hyperbolic tangent


def bounds(levels: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half width, offset and shift of each dimension, such that `half * tanh(z + shift) - offset` rounds to so many whole numbers.

    An even number of levels lies off zero by a half, and z = 0 is to stay at 0.
    """
    levels = np.asarray(levels, np.float64)
    half, offset = (levels - 1) * (1 + SLACK) / 2, np.where(levels % 2, 0.0, 0.5)
    return half, offset, np.arctanh(offset / half)


@dataclass(frozen=True)
class ImageTokenizer:
    """Patches to codes and back.

    Attributes:
        kind: "fsq" or "kmeans".
        levels: of "fsq", whole numbers that each dimension can take; of "kmeans", the number of means alone.
        weights: its arrays by name, float32.
        trained: what it was trained on, for people: the hash of a corpus, steps, seed.
    """

    kind: str
    levels: tuple[int, ...]
    weights: Mapping[str, np.ndarray]
    trained: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of image tokenizer {self.kind!r}: known are {', '.join(KINDS)}")
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"levels {self.levels}: one or more whole numbers, each at least 2")

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return math.prod(self.levels)

    @property
    def patch_dim(self) -> int:
        """Numbers in a patch."""
        return self.weights["means" if self.kind == "kmeans" else "encoder.0"].shape[-1]

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits of all that decides its codes."""
        state = hashlib.blake2b(json.dumps([self.kind, *self.levels]).encode(), digest_size=8)
        for name in sorted(self.weights):
            state.update(name.encode() + np.ascontiguousarray(self.weights[name], "<f4").tobytes())
        return state.hexdigest()

    def encode(self, patches: np.ndarray) -> np.ndarray:
        """Codes of patches, int64.

        Args:
            patches: (..., patch_dim), as the decoders of `nmm.data.corpus.formats` give them.
        Raises:
            ValueError: they have another number of numbers than the patches it was trained on.
        """
        if patches.shape[-1] != self.patch_dim:
            raise ValueError(
                f"patches of {patches.shape[-1]} numbers, and the image tokenizer {self.hash} takes {self.patch_dim}: train one on this "
                "corpus"
            )
        flat = patches.reshape(-1, self.patch_dim)
        found = [self._encode(flat[first:first + ROWS]) for first in range(0, len(flat), ROWS)]
        return self._settled[np.concatenate([np.zeros(0, np.int64), *found])].reshape(patches.shape[:-1])

    @cached_property
    def _settled(self) -> np.ndarray:
        """Of every code, the one that stays the same however often it is decoded and encoded again: pictures must not drift.

        Most codes are such; the others lead to one, or into a ring of which the lowest stands for all.
        """
        after = self._encode(self._patches)
        settled = np.arange(self.codes)
        for _ in range(self.codes):
            settled = after[settled]
        lowest, at = settled.copy(), settled
        for _ in range(self.codes):
            at = after[at]
            lowest = np.minimum(lowest, at)
        return lowest

    def _encode(self, patches: np.ndarray) -> np.ndarray:
        if self.kind == "kmeans":
            means = self.weights["means"]
            return np.argmin((means**2).sum(1) - 2 * patches @ means.T, axis=1).astype(np.int64)
        half, offset, shift = bounds(self.levels)
        whole = np.round(half * np.tanh(_layers(self.weights, "encoder", patches) + shift) - offset).astype(np.int64)
        return (whole + np.array(self.levels) // 2) @ self._places

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Patches of codes, float32 (..., patch_dim).

        Raises:
            ValueError: a code is out of range.
        """
        codes = np.asarray(codes)
        if codes.size and not 0 <= codes.min() <= codes.max() < self.codes:
            raise ValueError(f"codes from {codes.min()} to {codes.max()}: the image tokenizer {self.hash} has codes from 0 to "
                             f"{self.codes - 1}")
        return self._patches[codes]

    @cached_property
    def _places(self) -> np.ndarray:
        """What one step of each dimension adds to a code."""
        return np.cumprod([1, *self.levels[:-1]])

    @cached_property
    def _patches(self) -> np.ndarray:
        """The patch of every code, (codes, patch_dim)."""
        if self.kind == "kmeans":
            return self.weights["means"]
        levels = np.array(self.levels)
        whole = np.arange(self.codes)[:, None] // self._places % levels - levels // 2
        return _layers(self.weights, "decoder", (whole / (levels // 2)).astype(np.float32)).astype(np.float32)

    def write(self, path: str | Path) -> Path:
        """Write a safetensors file that `read` reads."""
        trained = {f"trained.{name}": value for name, value in self.trained.items()}
        about = {"kind": self.kind, "levels": json.dumps(self.levels), "hash": self.hash, **trained}
        arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in self.weights.items()}
        with whole(Path(path)) as partial:
            partial.write_bytes(save(arrays, about))
        return Path(path)

    @classmethod
    def read(cls, path: str | Path) -> "ImageTokenizer":
        """Read a file of `write`.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is not an image tokenizer, or damaged.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no image tokenizer {path}: train one, as `nmm.models.image_tokenizer.train` does")
        try:
            with safe_open(str(path), "np") as file:
                about = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}
            trained = {name.removeprefix("trained."): value for name, value in about.items() if name.startswith("trained.")}
            found = cls(about["kind"], tuple(json.loads(about["levels"])), weights, trained)
            if found.hash != about["hash"]:
                raise ValueError(f"its weights hash to {found.hash}, the file says {about['hash']}")
            return found
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no image tokenizer ({error}): train it again") from error


def _layers(weights: Mapping[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    """Two linear layers with a rectifier between."""
    hidden = np.maximum(x @ weights[f"{name}.0"].T + weights[f"{name}.0.bias"], 0)
    return hidden @ weights[f"{name}.1"].T + weights[f"{name}.1.bias"]


def fit_means(patches: np.ndarray, codes: int, seed: int = 0, trained: Mapping[str, str] | None = None) -> ImageTokenizer:
    """The baseline: Lloyd's means of patches, from as many different patches.

    Args:
        patches: (n, patch_dim), at least as many different ones as codes.
    Raises:
        ValueError: fewer different patches than codes.
    """
    different = np.unique(patches, axis=0)
    if len(different) < codes:
        raise ValueError(f"{codes} means of {len(different)} different patches: ask for fewer codes, or give more images")
    first = different[np.random.default_rng(seed).choice(len(different), codes, replace=False)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One of the clusters is empty")      # its mean stays where it was
        means, _ = kmeans2(patches.astype(np.float64), first.astype(np.float64), iter=ROUNDS, minit="matrix")
    return ImageTokenizer("kmeans", (codes,), {"means": means.astype(np.float32)}, trained or {})


@dataclass(frozen=True)
class Quality:
    """How well an image tokenizer keeps patches it was not trained on."""

    codes: int              # that there are
    used: int               # that occur at least once
    perplexity: float       # exp of the entropy of their frequencies
    error: float            # squared error of the patches decoded again, against their variance


def quality(tokenizer: ImageTokenizer, patches: np.ndarray) -> Quality:
    """Encode patches, decode them, and compare.

    Args:
        patches: (..., patch_dim), held out.
    """
    codes = tokenizer.encode(patches)
    again = tokenizer.decode(codes)
    count = np.bincount(codes.ravel(), minlength=tokenizer.codes)
    share = count[count > 0] / count.sum()
    return Quality(
        codes=tokenizer.codes, used=int((count > 0).sum()), perplexity=float(np.exp(-(share * np.log(share)).sum())),
        error=float(np.square(again - patches).mean() / patches.reshape(-1, tokenizer.patch_dim).var(0).mean()),
    )
