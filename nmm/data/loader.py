"""Batches for training and validation: the only module of the data layer that imports torch."""

from collections.abc import Iterator, Sequence as SequenceABC

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from nmm.data.formats import decoder
from nmm.data.mixture import Mixture
from nmm.data.store import Sequence, Source

IGNORE = -100  # label without a loss, as in torch's cross-entropy


def collate(sequences: SequenceABC[Sequence]) -> dict[str, torch.Tensor]:
    """One batch of B packed sequences of L positions.

    Returns:
        input_ids: (B, L) int64 token ids; 0 at image positions and on padding.
        labels: (B, L) int64, the next token where the next position is text of the same document, else -100.
        document_ids: (B, L) int64, number of the document within the sequence, -1 on padding.
        image_ids: (B, L) int64, number of the image within the sequence, -1 for text and padding.
        patches: (B, S, patch_dim) float32, S the largest number of image positions in a row, zeros after a row's own;
            image position k of a row, counted from 0 in reading order, has patch k.
    """
    B, L = len(sequences), len(sequences[0].tokens)
    geometry = sequences[0].geometry
    tokens = np.stack([s.tokens for s in sequences])
    documents = np.stack([s.documents for s in sequences])
    counts = np.array([len(s.starts) for s in sequences])
    image_ids = np.full((B, L), -1, np.int64)
    M = int(counts.sum())
    if M:
        row = np.repeat(np.arange(B), counts)
        number = np.arange(M) - np.repeat(np.cumsum(counts) - counts, counts)  # of the image within its row
        lengths = np.concatenate([s.lengths for s in sequences]).astype(np.int64)
        starts = np.concatenate([s.starts for s in sequences]) + row * L
        ends = np.cumsum(lengths)
        positions = np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1])
        image_ids.reshape(-1)[positions] = np.repeat(number, lengths)
        patches = _patches(sequences, row, lengths, geometry)
    else:
        patches = np.zeros((B, 0, geometry.patch_dim), np.float32)
    text = (image_ids < 0) & (documents >= 0)
    labels = np.full((B, L), IGNORE, np.int64)
    predicted = text[:, 1:] & (documents[:, 1:] == documents[:, :-1])
    np.copyto(labels[:, :-1], tokens[:, 1:], where=predicted)
    arrays = {"input_ids": np.where(text, tokens, 0).astype(np.int64), "labels": labels,
              "document_ids": documents.astype(np.int64), "image_ids": image_ids, "patches": patches}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _patches(sequences: SequenceABC[Sequence], row: np.ndarray, lengths: np.ndarray, geometry) -> np.ndarray:
    """Patches of all images, (B, S, patch_dim), each decoder called once."""
    formats = [f for s in sequences for f in s.formats]
    images = [data for s in sequences for data in s.images]
    draws = [None if s.draw is None else (*s.draw, n) for s in sequences for n in range(len(s.images))]
    decoders = list(map(decoder, formats))
    per_row = np.bincount(row, lengths, len(sequences)).astype(np.int64)
    out = np.zeros((len(sequences), int(per_row.max()), geometry.patch_dim), np.float32)
    ends = np.cumsum(lengths)
    at = ends - lengths - (np.cumsum(per_row) - per_row)[row]  # each image's first patch within its row
    for decode in dict.fromkeys(decoders):
        mine = [n for n, d in enumerate(decoders) if d is decode]
        values = decode([images[n] for n in mine], geometry, [draws[n] for n in mine])
        for value, n in zip(values, mine):
            out[row[n], at[n]:at[n] + lengths[n]] = value
    return out


class Batches(Dataset):
    """Batch number -> batch. The whole order is known beforehand, so any number of workers gives the same batches.

    `state_dict` and `load_state_dict` let Composer resume in the middle of an epoch without reading what was seen.
    """

    def __init__(self, mixture: Mixture, batch_size: int, steps: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < 1 or steps < 1:
            raise ValueError(f"batch_size and steps must be at least 1: got {batch_size} and {steps}")
        self.mixture, self.batch_size, self.steps = mixture, batch_size, steps
        self.rank, self.world_size = rank, world_size
        self.source, self.index, self.epoch = mixture.order(steps * batch_size * world_size)
        self.start = 0  # first batch of the next pass

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        first = (step * self.world_size + self.rank) * self.batch_size
        splits, seed = self.mixture.splits, self.mixture.seed
        return collate([splits[self.source[k]].augmented(int(self.index[k]), int(self.epoch[k]), seed)
                        for k in range(first, first + self.batch_size)])

    def state_dict(self, num_samples: int, from_beginning: bool) -> dict[str, int]:
        """Where a resumed run goes on; `num_samples` counts all ranks' sequences in this epoch (Composer's call)."""
        return {"batches": num_samples // (self.batch_size * self.world_size)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next pass starts after the batches already seen."""
        self.start = state["batches"]


class _Steps(Sampler):
    """Batch numbers in order, from the dataset's `start`, which holds for one pass."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[int]:
        start, self.batches.start = self.batches.start, 0
        return iter(range(start, len(self.batches)))


def train_batches(mixture: Mixture, *, batch_size: int, steps: int, num_workers: int = 0, rank: int = 0,
                  world_size: int = 1) -> DataLoader:
    """The first `steps` batches of a mixture, `batch_size` sequences each on every rank.

    Raises:
        ValueError: the corpus is too small (see `Mixture.require`).
    """
    batches = Batches(mixture, batch_size, steps, rank, world_size)
    return DataLoader(batches, batch_size=None, sampler=_Steps(batches), num_workers=num_workers, collate_fn=_same,
                      prefetch_factor=4 if num_workers else None)


def _same(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return batch


class _Validation(Dataset):
    def __init__(self, source: Source, batch_size: int, limit: int | None) -> None:
        self.source, self.batch_size = source, batch_size
        self.n = min(len(source.validation), limit or len(source.validation))

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        stop = min(self.n, (step + 1) * self.batch_size)
        return collate([self.source.validation[k] for k in range(step * self.batch_size, stop)])


def validation_batches(source: Source, batch_size: int, limit: int | None = None, num_workers: int = 0) -> DataLoader:
    """The first `limit` validation sequences of a source (None: all), in order and without randomness.

    Raises:
        ValueError: the source has no validation sequences.
    """
    if not len(source.validation):
        raise ValueError(f"source {source.name!r} has no validation sequences: prepare it with a larger share of them")
    return DataLoader(_Validation(source, batch_size, limit), batch_size=None, num_workers=num_workers,
                      collate_fn=_same)
