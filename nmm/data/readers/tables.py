"""Parquet: captions with image bytes, interleaved documents (OBELICS), and text."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nmm.data.documents import Document, Span, Text
from nmm.data.readers.detect import bad_shard
from nmm.data.readers.images import ImageRoot
from nmm.data.readers.rejects import Rejects

ROWS = 64  # rows held at once; a row may hold many images
IMAGE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "img", "image_bytes", "bytes")
CAPTION_COLUMNS = ("caption", "text", "txt", "alt_text")


def read_text_table(path: Path, rejects: Rejects, images: ImageRoot | None = None) -> Iterator[Document]:
    """A column `text`, one document a row."""
    expected = "a column `text` of strings"
    for number, row in _rows(path, lambda schema: {"text": _choose(schema, ("text",), _is_string)}, expected):
        name = f"{path.name}:row {number}"
        if row["text"] is None:
            rejects.add("no `text` string", name)
        else:
            yield Document((Text(row["text"]),), name)


def read_caption_table(path: Path, rejects: Rejects, images: ImageRoot | None = None) -> Iterator[Document]:
    """A column of image bytes (plain, or a struct with `bytes`) and one of captions."""
    expected = (f"image bytes in one of the columns {', '.join(IMAGE_COLUMNS)} and a caption in one of "
                f"{', '.join(CAPTION_COLUMNS)}")

    def choose(schema: pa.Schema) -> dict[str, str | None]:
        return {
            "image": _choose(schema, IMAGE_COLUMNS, _is_image),
            "caption": _choose(schema, CAPTION_COLUMNS, _is_string),
        }

    for number, row in _rows(path, choose, expected):
        name = f"{path.name}:row {number}"
        data = _bytes(row["image"])
        if data is None:
            rejects.add("no image", name)
        elif row["caption"] is None:
            rejects.add("no caption", name)
        else:
            yield Document((Span(data, "encoded"), Text(row["caption"])), name)


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
        if row["images"] is None or row["texts"] is None or len(row["images"]) != len(row["texts"]):
            rejects.add("images and texts differ in length", name)
            continue
        if any(image is not None and text is not None for image, text in zip(row["images"], row["texts"])):
            rejects.add("image and text at one position", name)
            continue
        segments: list[Text | Span] = []
        for image, text in zip(row["images"], row["texts"]):
            if text is not None:
                segments.append(Text(text))
            elif image is not None:
                data, reason = _resolve(image, images)
                if data is None:
                    rejects.add(reason, f"{name}: {image if isinstance(image, str) else 'bytes'}"[:200], "images")
                else:
                    segments.append(Span(data, "encoded"))
        yield Document(tuple(segments), name)


def _resolve(image: str | bytes | dict, root: ImageRoot | None) -> tuple[bytes | None, str]:
    if not isinstance(image, str):
        data = _bytes(image)
        return data, "" if data is not None else "no image"
    if root is None:
        return None, "image by name, but no image root given"
    return root.read(image)


def _bytes(value: bytes | dict | None) -> bytes | None:
    return value.get("bytes") if isinstance(value, dict) else value


def _rows(path: Path, choose, expected: str) -> Iterator[tuple[int, dict]]:
    """Numbered rows from 0 as {role: value}; `choose` maps a schema to {role: column, or None when there is none}."""
    try:
        with pq.ParquetFile(path) as file:
            columns = choose(file.schema_arrow)
            if None in columns.values():
                found = ", ".join(f"{field.name}: {field.type}" for field in file.schema_arrow)
                raise bad_shard(path, f"has the columns ({found})", expected)
            number = 0
            for batch in file.iter_batches(batch_size=ROWS, columns=list(columns.values())):
                values = {role: batch[column] for role, column in columns.items()}
                for i in range(batch.num_rows):
                    yield number, {role: _value(column[i]) for role, column in values.items()}
                    number += 1
    except (pa.ArrowException, OSError) as error:
        raise bad_shard(path, f"damaged parquet ({error})", expected) from None


def _value(scalar: pa.Scalar):
    """A Python value; strings that are not UTF-8 become surrogates, which the cleaning then refuses."""
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        if pa.types.is_string(scalar.type) or pa.types.is_large_string(scalar.type):
            return scalar.as_buffer().to_pybytes().decode("utf-8", "surrogateescape")
        return [None if not item.is_valid else _value(item) for item in scalar]


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
