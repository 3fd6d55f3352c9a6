"""Arrow IPC shards, memory-mapped: the store on local disks. One row is a packed sequence:

tokens     (context,) int32   token ids; 0 at image positions, padding at the end
documents  (context,) int16   number of the document within the sequence, -1 on padding
length     int32              positions that are not padding
starts, lengths  lists of int32   first position and number of positions of each span: an image, a clip or a video
formats, images  lists of strings and bytes, one per span
"""

import os
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from nmm.data.corpus.formats import known
from nmm.data.corpus.sequence import Sequence, content_hash
from nmm.data.files import naming, whole
from nmm.data.geometry import Geometry

ROWS_PER_SHARD = 16_384
BYTES_PER_SHARD = 64 << 20  # a shard is one record batch, so this bounds the writer's memory [bytes]
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
        self._bytes += 6 * self.context + sum(map(len, sequence.data))
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
        offsets = np.concatenate([[0], np.cumsum([len(r.data) for r in rows])])
        starts, lengths = np.concatenate([r.starts for r in rows]), np.concatenate([r.lengths for r in rows])
        formats = [name for r in rows for name in r.formats]
        names = sorted(set(formats))
        codes = pa.DictionaryArray.from_arrays(pa.array([names.index(f) for f in formats], pa.int8()),
                                               pa.array(names, pa.string()))
        images = pa.array([data for r in rows for data in r.data], pa.large_binary())
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
        with naming(path), whole(path) as partial, pa.OSFile(os.fsencode(partial), "wb") as sink:
            with pa.ipc.new_file(sink, batch.schema) as out:
                out.write_batch(batch)
        self.shards.append({"rows": len(rows), "hash": content_hash(rows)})


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
        source = pa.memory_map(os.fsencode(self.path))
        try:
            batch = pa.ipc.open_file(source).get_batch(0)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{self.path} is not a whole Arrow IPC file ({error}): prepare the corpus again") from None
        if batch.num_rows != self.rows or not batch.schema.equals(schema(self.context)):
            raise ValueError(
                f"{self.path} has {batch.num_rows} rows of columns {batch.schema.names}; corpus.json lists "
                f"{self.rows} rows of {schema(self.context).names}, context {self.context}: "
                "prepare the corpus again"
            )
        formats = batch["formats"].values
        names, codes = formats.dictionary.to_pylist(), formats.indices.to_numpy()
        images = batch["images"].values
        _, offsets, data = images.buffers()
        return {
            "tokens": batch["tokens"].values.to_numpy().reshape(-1, self.context),
            "documents": batch["documents"].values.to_numpy().reshape(-1, self.context),
            "length": batch["length"].to_numpy(),
            "row": batch["starts"].offsets.to_numpy(),
            "starts": batch["starts"].values.to_numpy(),
            "lengths": batch["lengths"].values.to_numpy(),
            "names": names,
            "codes": codes,
            "formats": [names[code] for code in codes.tolist()],
            "offsets": np.frombuffer(offsets, np.int64, len(images) + 1).tolist() if len(images) else [0],
            "data": memoryview(data) if data is not None else memoryview(b""),
        }

    def row(self, number: int, geometry: Geometry) -> Sequence:
        """One sequence: views into the mapped file where nothing needs copying."""
        columns = self.columns
        begin, end = columns["row"][number], columns["row"][number + 1]
        offsets, data = columns["offsets"], columns["data"]
        return Sequence(columns["tokens"][number], columns["documents"][number],
                        columns["starts"][begin:end], columns["lengths"][begin:end], columns["formats"][begin:end],
                        [data[offsets[i]:offsets[i + 1]].tobytes() for i in range(begin, end)], geometry)

    def tokens(self) -> np.ndarray:
        """Positions of each row that are not padding, (rows,)."""
        return self.columns["length"]

    def tokens_of(self, modality: str) -> np.ndarray:
        """Positions of one modality other than text in each row, (rows,)."""
        asked = np.array([known(name).modality == modality for name in self.columns["names"]], bool)
        own = self.columns["lengths"] * asked[self.columns["codes"]]
        cumulative = np.concatenate([[0], np.cumsum(own, dtype=np.int64)])
        return np.diff(cumulative[self.columns["row"]])
