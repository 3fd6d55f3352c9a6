"""Packed sequences on disk: Arrow IPC shards, memory-mapped, one row a sequence of exactly `context` positions.

OUT/<source>/{train,validation}/NNNNN.arrow, OUT/tokenizer.json, OUT/corpus.json, OUT/report.json. Columns of a row:

tokens     (context,) int32   token ids; 0 at image positions, padding at the end
documents  (context,) int16   number of the document within the sequence, -1 on padding
length     int32              positions that are not padding
starts, lengths  lists of int32   first position and number of positions of each image
formats, images  lists of strings and bytes, one per image
"""

import bisect
import hashlib
import json
import os
from collections.abc import Iterable
from collections.abc import Sequence as SequenceABC
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from nmm.data.formats import Geometry
from nmm.data.packing import Encoded
from nmm.data.tokenizer import Tokenizer

SPLITS = ("train", "validation")
FORMAT_VERSION = 1
ROWS_PER_SHARD = 16_384
BYTES_PER_SHARD = 128 << 20  # a shard is one record batch, so this bounds the writer's memory [bytes]
MAX_CONTEXT = 1 << 15        # document numbers are int16 [positions]


def schema(context: int) -> pa.Schema:
    """The columns of a shard."""
    return pa.schema([
        ("tokens", pa.list_(pa.int32(), context)),
        ("documents", pa.list_(pa.int16(), context)),
        ("length", pa.int32()),
        ("starts", pa.list_(pa.int32())),
        ("lengths", pa.list_(pa.int32())),
        ("formats", pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        ("images", pa.large_list(pa.large_binary())),
    ])


@dataclass(slots=True)
class Sequence:
    """One packed sequence. `key` identifies it in the corpus; `draw` seeds its augmentation (None: none)."""

    tokens: np.ndarray             # (context,) int32
    documents: np.ndarray          # (context,) int16
    starts: np.ndarray             # (M,) int32
    lengths: np.ndarray            # (M,) int32
    formats: SequenceABC[str]      # M
    images: SequenceABC[bytes]     # M
    geometry: Geometry
    draw: tuple[int, ...] | None = None


def to_sequence(pieces: list[Encoded], context: int, pad: int, geometry: Geometry) -> Sequence:
    """Pieces of documents laid one after the other and padded to `context` positions."""
    tokens = np.full(context, pad, np.int32)
    documents = np.full(context, -1, np.int16)
    position, starts = 0, []
    for number, piece in enumerate(pieces):
        tokens[position:position + len(piece)] = piece.tokens
        documents[position:position + len(piece)] = number
        starts.append(piece.starts + position)
        position += len(piece)
    images = [image for piece in pieces for image in piece.images]
    return Sequence(tokens, documents, np.concatenate(starts).astype(np.int32),
                    np.concatenate([piece.lengths for piece in pieces]).astype(np.int32),
                    [image.format for image in images], [image.data for image in images], geometry)


class Writer:
    """Writes sequences into numbered shards of one folder; each shard appears whole or not at all."""

    def __init__(self, folder: str | Path, context: int, rows_per_shard: int = ROWS_PER_SHARD) -> None:
        if not 1 < context <= MAX_CONTEXT:
            raise ValueError(f"context {context} is out of range: 2 to {MAX_CONTEXT} positions")
        self.folder, self.context, self.rows_per_shard = Path(folder), context, rows_per_shard
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shards: list[dict] = []  # rows and content hash of each finished shard
        self._rows: list[Sequence] = []
        self._bytes = 0

    def add(self, sequence: Sequence) -> None:
        """Append one sequence."""
        self._rows.append(sequence)
        self._bytes += 6 * self.context + sum(map(len, sequence.images))
        if len(self._rows) >= self.rows_per_shard or self._bytes >= BYTES_PER_SHARD:
            self._flush()

    def close(self) -> list[dict]:
        """Write what is left; gives a list of {"rows", "hash"}, one per shard."""
        self._flush()
        return self.shards

    def _flush(self) -> None:
        rows, self._rows, self._bytes = self._rows, [], 0
        if not rows:
            return
        tokens, documents = np.concatenate([r.tokens for r in rows]), np.concatenate([r.documents for r in rows])
        length = (documents.reshape(-1, self.context) >= 0).sum(1, dtype=np.int32)
        offsets = np.concatenate([[0], np.cumsum([len(r.images) for r in rows])])
        starts, lengths = np.concatenate([r.starts for r in rows]), np.concatenate([r.lengths for r in rows])
        formats = [name for r in rows for name in r.formats]
        names = sorted(set(formats))
        codes = pa.DictionaryArray.from_arrays(pa.array([names.index(f) for f in formats], pa.int8()),
                                               pa.array(names, pa.string()))
        images = pa.array([data for r in rows for data in r.images], pa.large_binary())
        small = pa.array(offsets, pa.int32())
        batch = pa.record_batch([
            pa.FixedSizeListArray.from_arrays(pa.array(tokens), self.context),
            pa.FixedSizeListArray.from_arrays(pa.array(documents), self.context),
            pa.array(length),
            pa.ListArray.from_arrays(small, pa.array(starts, pa.int32())),
            pa.ListArray.from_arrays(small, pa.array(lengths, pa.int32())),
            pa.ListArray.from_arrays(small, codes),
            pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), images),
        ], schema=schema(self.context))
        path = self.folder / f"{len(self.shards):05d}.arrow"
        partial = path.with_suffix(".partial")
        with naming(path):
            with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as out:
                out.write_batch(batch)
            os.replace(partial, path)
        self.shards.append({"rows": len(rows), "hash": _content_hash(rows)})


def _content_hash(rows: Iterable[Sequence]) -> str:
    """Hash of what the rows say, not of Arrow's bytes, which may change with its version."""
    state = hashlib.blake2b(digest_size=8)
    for row in rows:
        for array in (row.tokens, row.documents, row.starts, row.lengths):
            state.update(np.ascontiguousarray(array).tobytes())
        for name, data in zip(row.formats, row.images):
            state.update(name.encode() + len(data).to_bytes(8, "little"))
            state.update(data)
    return state.hexdigest()


class naming:
    """Context manager: an OSError inside is raised again with the file's name and what to do about it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, OSError):
            raise OSError(f"cannot write {self.path}: {error}. Free some space (or choose another folder) and run the "
                          "same command again; it goes on from what is finished") from error


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    partial = path.with_suffix(".partial")
    with naming(path):
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)


def write_json(path: Path, content: dict) -> None:
    """Write JSON so that the file is there whole or not at all."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


class Shard:
    """One memory-mapped shard; opened at first use, dropped when pickled for another process."""

    def __init__(self, path: Path, rows: int, context: int) -> None:
        self.path, self.rows, self.context = path, rows, context

    def __getstate__(self) -> dict:
        return {"path": self.path, "rows": self.rows, "context": self.context}

    @cached_property
    def columns(self) -> dict:
        """Zero-copy views: numpy arrays of the fixed columns, offsets and a memoryview of the image bytes.

        Raises:
            OSError: the file is missing.
            ValueError: it is damaged, or not the shard that the corpus lists.
        """
        source = pa.memory_map(str(self.path))
        try:
            batch = pa.ipc.open_file(source).get_batch(0)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{self.path} is not a whole Arrow IPC file ({error}): prepare the corpus again") from None
        if batch.num_rows != self.rows or not batch.schema.equals(schema(self.context)):
            raise ValueError(f"{self.path} has {batch.num_rows} rows of columns {batch.schema.names}; corpus.json lists "
                             f"{self.rows} rows of {schema(self.context).names}, context {self.context}: "
                             "prepare the corpus again")
        formats = batch["formats"].values
        images = batch["images"].values
        _, offsets, data = images.buffers()
        return {
            "tokens": batch["tokens"].values.to_numpy().reshape(-1, self.context),
            "documents": batch["documents"].values.to_numpy().reshape(-1, self.context),
            "length": batch["length"].to_numpy(),
            "row": batch["starts"].offsets.to_numpy(),
            "starts": batch["starts"].values.to_numpy(),
            "lengths": batch["lengths"].values.to_numpy(),
            "formats": [formats.dictionary[c].as_py() for c in formats.indices.to_numpy()] if len(formats) else [],
            "offsets": np.frombuffer(offsets, np.int64, len(images) + 1).tolist() if len(images) else [0],
            "data": memoryview(data) if data is not None else memoryview(b""),
        }


class Split:
    """The training or validation sequences of one source, indexed from 0."""

    def __init__(self, shards: list[Shard], source: int, geometry: Geometry) -> None:
        self.shards, self.source, self.geometry = shards, source, geometry
        self.first = [0]  # index of each shard's first sequence
        for shard in shards:
            self.first.append(self.first[-1] + shard.rows)

    def __len__(self) -> int:
        return self.first[-1]

    def __getitem__(self, index: int) -> Sequence:
        """The sequence, not augmented. Views into the mapped file where nothing needs copying."""
        if not 0 <= index < self.first[-1]:
            raise IndexError(f"sequence {index} of {self.first[-1]}")
        number = bisect.bisect_right(self.first, index) - 1
        columns, row = self.shards[number].columns, index - self.first[number]
        begin, end = columns["row"][row], columns["row"][row + 1]
        offsets, data = columns["offsets"], columns["data"]
        return Sequence(columns["tokens"][row], columns["documents"][row],
                        columns["starts"][begin:end], columns["lengths"][begin:end], columns["formats"][begin:end],
                        [data[offsets[i]:offsets[i + 1]].tobytes() for i in range(begin, end)], self.geometry)

    def augmented(self, index: int, epoch: int, seed: int) -> Sequence:
        """The sequence with a draw that depends on the seed, the source, the sequence and the epoch alone."""
        sequence = self[index]
        sequence.draw = (seed, self.source, index, epoch)
        return sequence

    @cached_property
    def tokens(self) -> np.ndarray:
        """Positions of each sequence that are not padding, int64 (n,)."""
        return np.concatenate([s.columns["length"] for s in self.shards] or [np.zeros(0)]).astype(np.int64)

    @cached_property
    def image_tokens(self) -> np.ndarray:
        """Image positions of each sequence, int64 (n,)."""
        totals = []
        for shard in self.shards:
            cumulative = np.concatenate([[0], np.cumsum(shard.columns["lengths"], dtype=np.int64)])
            totals.append(np.diff(cumulative[shard.columns["row"]]))
        return np.concatenate(totals or [np.zeros(0, np.int64)])


@dataclass(frozen=True)
class Source:
    """One named source of a corpus: its kind (caption, interleaved or text) and its two splits."""

    name: str
    kind: str
    train: Split
    validation: Split


class Corpus:
    """A prepared corpus, opened. `sources` maps names to `Source`s in the order they were given."""

    def __init__(self, folder: Path, description: dict) -> None:
        self.folder, self.description = folder, description
        self.context: int = description["context"]
        self.geometry = Geometry(image_size=description["image_size"], patch=description["patch"])
        self.image_size, self.patch = self.geometry.image_size, self.geometry.patch
        self.patches_per_image, self.patch_dim = self.geometry.patches_per_image, self.geometry.patch_dim
        self.vocab_size: int = description["vocab_size"]
        self.hash: str = description["hash"]
        self.sources: dict[str, Source] = {}
        for number, (name, source) in enumerate(description["sources"].items()):
            splits = {}
            for split in SPLITS:
                shards = [Shard(folder / name / split / f"{n:05d}.arrow", shard["rows"], self.context)
                          for n, shard in enumerate(source[split]["shards"])]
                splits[split] = Split(shards, number, self.geometry)
            self.sources[name] = Source(name, source["kind"], **splits)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The corpus's tokenizer."""
        return Tokenizer.load(self.folder / "tokenizer.json")

    @cached_property
    def report(self) -> dict:
        """The report written when the corpus was prepared."""
        return json.loads((self.folder / "report.json").read_text(encoding="utf-8"))

    def of_kind(self, kind: str) -> list[Source]:
        """The sources of one kind, in order."""
        return [source for source in self.sources.values() if source.kind == kind]


def open(folder: str | Path) -> Corpus:
    """Open a prepared corpus.

    Raises:
        ValueError: the folder is not a finished corpus, or was written by another version of the format.
    """
    folder = Path(folder)
    path = folder / "corpus.json"
    if not path.is_file():
        state = "preparing it did not finish; run the same `data prepare` command again" if (folder / ".parts").exists() \
            else "prepare it with `python -m nmm data prepare`"
        raise ValueError(f"{folder} is not a prepared corpus (no corpus.json): {state}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): prepare the corpus again") from None
    if description.get("format") != FORMAT_VERSION:
        raise ValueError(f"{path} has format {description.get('format')!r}, this version reads {FORMAT_VERSION}: "
                         "prepare the corpus again")
    return Corpus(folder, description)
