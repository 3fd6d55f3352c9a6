"""Batches for training and validation: the only module of the data layer that imports torch."""

import math
from collections import deque
from collections.abc import Iterator
from collections.abc import Sequence as SequenceABC

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler

from nmm.config import MODALITIES
from nmm.data.batches.mixture import Mixture
from nmm.data.corpus.formats import known
from nmm.data.corpus.store import Sequence

IGNORE = -100    # label without a loss, as in torch's cross-entropy
BURST = 4 << 20  # batches are read ahead up to this size where there are no workers [bytes]


def collate(sequences: SequenceABC[Sequence]) -> dict[str, torch.Tensor]:
    """One batch of B packed sequences of L positions.

    Returns:
        input_ids: (B, L) int64 token ids; 0 on padding and where a position holds a patch.
        labels: (B, L) int64, the next token where the next position is text of the same document, else -100.
        document_ids: (B, L) int64, number of the document within the sequence, -1 on padding.
        span_ids: (B, L) int64, number of the image (clip, video) within the sequence, -1 for text and padding.
        modality: (B, L) int64, 0 for text and padding, 1 for images, 2 for audio, 3 for video.
        patches: (B, S, patch_dim) float32, S the largest number of image positions in a row, zeros after a row's own;
            image position k of a row, counted from 0 in reading order, has patch k.
        audio: (B, S_a, audio_dim) float32, where the corpus has audio; for its positions what patches are for images.
        video: (B, S_v, video_dim) float32, where the corpus has video, likewise.

    Where images, audio and video are codes (`Geometry.codes_of`), `input_ids` hold theirs and there are no patches; and `draws`,
    (B, 4) int64, in training alone, seed what an objective draws.
    """
    B, L = len(sequences), len(sequences[0].tokens)
    tokens = np.concatenate([s.tokens for s in sequences], dtype=np.int64).reshape(B, L)
    documents = np.concatenate([s.documents for s in sequences], dtype=np.int64).reshape(B, L)
    span_ids = np.full((B, L), -1, np.int64)
    for ids, sequence in zip(span_ids, sequences):
        for number, (start, length) in enumerate(zip(sequence.starts.tolist(), sequence.lengths.tolist())):
            ids[start:start + length] = number
    text = (span_ids < 0) & (documents >= 0)
    labels = np.full((B, L), IGNORE, np.int64)
    np.copyto(labels[:, :-1], tokens[:, 1:], where=text[:, 1:] & (documents[:, 1:] == documents[:, :-1]))
    geometry = sequences[0].geometry
    tokens *= text | (span_ids >= 0) if geometry.all_codes else text
    modality = (span_ids >= 0).astype(np.int64)
    spans = geometry.modalities
    if len(spans) > 1:
        for numbers, sequence in zip(modality, sequences):
            for name, start, length in zip(sequence.formats, sequence.starts.tolist(), sequence.lengths.tolist()):
                numbers[start:start + length] = MODALITIES[known(name).modality].number
    arrays = {"input_ids": tokens, "labels": labels, "document_ids": documents, "span_ids": span_ids,
              "modality": modality,
              **{MODALITIES[name].tensor: _slots(sequences, name) for name in spans if geometry.width(name)}}
    if geometry.all_codes and all(sequence.draw is not None for sequence in sequences):
        arrays["draws"] = np.array([sequence.draw for sequence in sequences], np.int64)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _slots(sequences: SequenceABC[Sequence], modality: str) -> np.ndarray:
    """What the model sees at the positions of one modality, (B, S, width), each decoder called once."""
    geometry = sequences[0].geometry
    by_decoder = {}  # decoder -> row, first slot, slots, bytes and draw of each span
    by_format = {}   # the same lists by storage format; None: of another modality
    filled = []      # slots in each row
    for row, sequence in enumerate(sequences):
        at, seed = 0, sequence.draw
        for number, (name, length, data) in enumerate(zip(sequence.formats, sequence.lengths.tolist(), sequence.data)):
            if name not in by_format:
                form = known(name)
                by_format[name] = by_decoder.setdefault(form.decode, []) if form.modality == modality else None
            if (items := by_format[name]) is not None:
                items.append((row, at, length, data, None if seed is None else (*seed, number)))
                at += length
        filled.append(at)
    shape = len(sequences), max(filled), geometry.width(modality)
    decoded = {}
    for decode, items in by_decoder.items():
        _, _, lengths, data, draws = zip(*items)
        decoded[decode] = decode(data, lengths, geometry, draws)
    if len(decoded) == 1 and min(filled) == max(filled):  # nothing to fill up: the decoder's own array will do
        return next(iter(decoded.values())).reshape(shape)
    out = np.empty(shape, np.float32)
    for row, end in enumerate(filled):
        out[row, end:] = 0
    for decode, items in by_decoder.items():
        end = 0
        for row, first, length, _, _ in items:
            out[row, first:first + length] = decoded[decode][end:end + length]
            end += length
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
        # Taken at the first step, not here: torch makes an iterator that it throws away when there are workers.
        start, self.batches.start = self.batches.start, 0
        yield from range(start, len(self.batches))


class _Loader(DataLoader):
    """A DataLoader of whole batches. Without workers it reads a few small ones in a row, directly.

    At laptop sizes that costs a third of torch's way: no machinery, and code and tables that stay in the processor's
    caches instead of being read anew after every training step.
    """

    def __init__(self, dataset: Dataset, sampler: Sampler, num_workers: int) -> None:
        super().__init__(dataset, batch_size=None, sampler=sampler, num_workers=num_workers, collate_fn=_same,
                         prefetch_factor=4 if num_workers else None)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return super().__iter__() if self.num_workers else self._bursts()

    def _bursts(self) -> Iterator[dict[str, torch.Tensor]]:
        ready, size = deque(), 0
        for step in self.sampler:
            batch = self.dataset[step]
            ready.append(batch)
            size += sum(tensor.nbytes for tensor in batch.values())
            if size >= BURST:
                while ready:
                    yield ready.popleft()
                size = 0
        yield from ready


def _same(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return batch


def train_batches(mixture: Mixture, *, batch_size: int, steps: int, num_workers: int = 0, rank: int = 0,
                  world_size: int = 1) -> DataLoader:
    """The first `steps` batches of a mixture, `batch_size` sequences each on every rank.

    Raises:
        ValueError: the corpus is too small (see `Mixture.require`).
    """
    batches = Batches(mixture, batch_size, steps, rank, world_size)
    return _Loader(batches, _Steps(batches), num_workers)


class _Validation(Dataset):
    def __init__(self, held_out: SequenceABC[Sequence], batch_size: int, limit: int | None) -> None:
        self.held_out, self.batch_size = held_out, batch_size
        self.n = min(len(held_out), limit or len(held_out))

    def __len__(self) -> int:
        return math.ceil(self.n / self.batch_size)

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        stop = min(self.n, (step + 1) * self.batch_size)
        return collate([self.held_out[k] for k in range(step * self.batch_size, stop)])


def validation_batches(held_out: SequenceABC[Sequence], batch_size: int, limit: int | None = None,
                       num_workers: int = 0) -> DataLoader:
    """The first `limit` held-out sequences of a data type (None: all), in order and without randomness.

    Args:
        held_out: the sequences of a data type in `nmm.data.batches.reading.validation_sources`, or the validation
            split of one source.
    Raises:
        ValueError: there are none.
    """
    if not len(held_out):
        raise ValueError("no held-out sequences to measure a loss on: prepare the corpus with a larger share of them")
    dataset = _Validation(held_out, batch_size, limit)
    return _Loader(dataset, SequentialSampler(dataset), num_workers)
