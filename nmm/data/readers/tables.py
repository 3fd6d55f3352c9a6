"""Parquet: captions with image bytes, clips with transcripts, videos with captions, interleaved documents (OBELICS), and text."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nmm.data.documents import MAX_TEXT, Document, Span, Text
from nmm.data.readers.detect import bad_shard, os_file
from nmm.data.readers.images import MAX_FILE, ImageRoot, too_large
from nmm.data.readers.rejects import Rejects

ROWS = 64           # rows held at once; a row may hold many images
HELD = 256 << 20    # what they hold about, at most; and the images of a document [bytes]
DICTIONARY = 2 << 20    # writers end a dictionary at 1 MB; a larger one is never laid out value by value [bytes]
PACKED = 200        # a column of more than HELD that was packed by more than this is a bomb
CAPTION_COLUMNS = ("caption", "text", "txt", "alt_text")
COLUMNS = {     # of a pair: what it is of, its columns and those of its text, the first that a table has
    "caption": ("image", ("image", "jpg", "jpeg", "png", "webp", "img", "image_bytes", "bytes"), "caption", CAPTION_COLUMNS),
    "audio": ("clip", ("audio", "wav", "flac", "ogg", "mp3", "audio_bytes", "bytes"), "transcript",
              ("transcript", "transcription", "sentence", *CAPTION_COLUMNS)),
    "video": ("video", ("video", "mp4", "webm", "gif", "video_bytes", "bytes"), "caption", CAPTION_COLUMNS),
}


def read_text_table(path: Path, rejects: Rejects, images: ImageRoot | None = None) -> Iterator[Document]:
    """A column `text`, one document a row."""
    expected = "a column `text` of strings"
    for number, row in _rows(path, lambda schema: {"text": _choose(schema, ("text",), _is_string)}, expected):
        name = f"{path.name}:row {number}"
        text, reason = _text(row["text"])
        if text is None:
            rejects.add(reason or "no `text` string", name)
        else:
            yield Document((Text(text),), name)


def read_pair_table(path: Path, rejects: Rejects, images: ImageRoot | None = None, *, kind: str) -> Iterator[Document]:
    """A column of bytes of images, clips or videos (plain, or a struct with `bytes`) and one of texts."""
    one, columns, word, texts = COLUMNS[kind]
    expected = f"{one} bytes in one of the columns {', '.join(columns)} and a {word} in one of {', '.join(texts)}"

    def choose(schema: pa.Schema) -> dict[str, str | None]:
        return {"data": _choose(schema, columns, _is_image), "text": _choose(schema, texts, _is_string)}

    for number, row in _rows(path, choose, expected):
        name = f"{path.name}:row {number}"
        (data, reason), (text, why) = _bytes(row["data"]), _text(row["text"])
        if data is None or text is None:
            rejects.add(reason or why or (f"no {one}" if data is None else f"no {word}"), name)
        else:
            yield Document((Span(data, "encoded"), Text(text)), name)


read_caption_table, read_audio_table, read_video_table = (partial(read_pair_table, kind=kind) for kind in COLUMNS)


def read_interleaved_table(path: Path, rejects: Rejects, images: ImageRoot | None = None) -> Iterator[Document]:
    """Columns `images` and `texts`: lists of equal length with one of the two set at each position.

    An image is a name under the image root, bytes, or a struct with `bytes`. One that cannot be had is counted and left
    out, and its document stays. Source: Laurencon et al. 2023 (OBELICS).
    """
    expected = "columns `images` (lists of names or bytes) and `texts` (lists of strings)"

    def choose(schema: pa.Schema) -> dict[str, str | None]:
        return {"images": _choose(schema, ("images",), lambda t: _is_list(t, lambda v: _is_string(v) or _is_image(v))),
                "texts": _choose(schema, ("texts",), lambda t: _is_list(t, _is_string))}

    for number, row in _rows(path, choose, expected):
        name = f"{path.name}:row {number}"
        images_, texts = (column.values for column in (row["images"], row["texts"]))
        if images_ is None or texts is None or len(images_) != len(texts):
            rejects.add("images and texts differ in length", name)
            continue
        if any(image.is_valid and text.is_valid for image, text in zip(images_, texts)):
            rejects.add("image and text at one position", name)
            continue
        segments: list[Text | Span] = []
        held = 0
        for image, text in zip(images_, texts):
            if text.is_valid:
                found, reason = _text(text)
                if found is None:
                    rejects.add(reason, name)
                    break
                segments.append(Text(found))
            elif image.is_valid:
                data, reason = _resolve(image, images, HELD - held)
                if data is None:
                    what = _string(image) if _is_string(image.type) else "bytes"
                    rejects.add(reason or "no image", f"{name}: {what}"[:200], "images")
                else:
                    held += len(data)
                    segments.append(Span(data, "encoded"))
        else:
            yield Document(tuple(segments), name)


def has_pairs(path: Path, kind: str) -> bool:
    """Whether a parquet file has a column of images (clips, videos), as `read_pair_table` wants it.

    Raises:
        BadShard: the file is damaged.
    """
    try:
        return _choose(pq.read_schema(os_file(path)), COLUMNS[kind][1], _is_image) is not None
    except (pa.ArrowException, OSError) as error:
        raise bad_shard(path, f"damaged parquet ({error})", "a whole file") from None


def _resolve(image: pa.Scalar, root: ImageRoot | None, room: int) -> tuple[bytes | None, str]:
    """An image's bytes, or None and the reason. At most `room` bytes are read."""
    if not _is_string(image.type):
        return _bytes(image, room)
    if root is None:
        return None, "image by name, but no image root given"
    return root.read(_string(image), room)


def _bytes(scalar: pa.Scalar, room: int = MAX_FILE) -> tuple[bytes | None, str]:
    """Bytes, or the `bytes` of a struct; None without a reason where there are none."""
    if pa.types.is_struct(scalar.type):
        scalar = scalar["bytes"] if scalar.is_valid else pa.scalar(None, pa.binary())
    scalar = _plain(scalar)
    if not scalar.is_valid:
        return None, ""
    size = scalar.as_buffer().size
    return (None, too_large(size, room)) if size > min(room, MAX_FILE) else (scalar.as_py(), "")


def _text(scalar: pa.Scalar) -> tuple[str | None, str]:
    """A string; None without a reason where there is none."""
    scalar = _plain(scalar)
    if not scalar.is_valid:
        return None, ""
    if scalar.as_buffer().size > MAX_TEXT:
        return None, f"text above {MAX_TEXT >> 20} MB"
    return _string(scalar), ""


def _string(scalar: pa.Scalar) -> str:
    """Its text; what is not UTF-8 becomes surrogates, which the cleaning then refuses."""
    return _plain(scalar).as_buffer().to_pybytes().decode("utf-8", "surrogateescape")


def _plain(scalar: pa.Scalar) -> pa.Scalar:
    return scalar.value if isinstance(scalar, pa.DictionaryScalar) else scalar


def _rows(path: Path, choose, expected: str) -> Iterator[tuple[int, dict[str, pa.Scalar]]]:
    """Numbered rows from 0 as {role: value}; `choose` maps a schema to {role: column, or None when there is none}."""
    try:
        with pq.ParquetFile(os_file(path)) as file:
            columns = choose(file.schema_arrow)
            if None in columns.values():
                found = ", ".join(f"{field.name}: {field.type}" for field in file.schema_arrow)
                raise bad_shard(path, f"has the columns ({found})", expected)
            rows, shared = _fitting(path, file.metadata, set(columns.values()), expected)
        with pq.ParquetFile(os_file(path), read_dictionary=shared) as file:
            number = 0
            for batch in file.iter_batches(batch_size=rows, columns=list(columns.values())):
                values = {role: batch[column] for role, column in columns.items()}
                for i in range(batch.num_rows):
                    yield number, {role: column[i] for role, column in values.items()}
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise bad_shard(path, f"damaged parquet ({error})", expected) from None


def _fitting(path: Path, metadata: pq.FileMetaData, columns: set[str], expected: str) -> tuple[int, list[str]]:
    """How many rows are read at once, and which columns keep their dictionary, so that memory is bounded.

    Raises:
        BadShard: a column unpacks to far more than any data does.
    """
    most, shared = 0, set()
    for group in range(metadata.num_row_groups):
        size = 0
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            if column.path_in_schema.split(".")[0] in columns:
                unpacked, packed = column.total_uncompressed_size, column.total_compressed_size
                if unpacked > HELD and unpacked > PACKED * packed:
                    what = f"unpacks from {packed:,} to {unpacked:,} bytes in {column.path_in_schema}"
                    raise bad_shard(path, what, expected)
                if column.has_dictionary_page and unpacked > DICTIONARY and _dictionary(path, column) > DICTIONARY:
                    shared.add(column.path_in_schema)
                size += unpacked
        most = max(most, size)
    return max(1, min(ROWS, ROWS * HELD // most if most else ROWS)), sorted(shared)


def _dictionary(path: Path, column: pq.ColumnChunkMetaData) -> int:
    """Size of a column's dictionary page [bytes]: the second number of the page's header, which pyarrow does not give.

    Source: the Parquet format's `PageHeader` in Thrift's compact protocol: a byte for each field's type, then a varint.
    """
    with path.open("rb") as file:
        file.seek(column.dictionary_page_offset)
        header = file.read(16)
    number, shift = 0, 0
    for byte in header[3:]:     # after the first field, the page's type, which is one byte
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    return number >> 1      # zigzag


def _choose(schema: pa.Schema, names: tuple[str, ...], fits) -> str | None:
    present = {name.lower(): name for name in schema.names}
    return next((present[n] for n in names if n in present and fits(schema.field(present[n]).type)), None)


def _is_string(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_image(kind: pa.DataType) -> bool:
    return _is_binary(kind) or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
                                and _is_binary(kind.field("bytes").type))


def _is_list(kind: pa.DataType, inner) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and inner(kind.value_type)
