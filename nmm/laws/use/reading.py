"""Tables of runs as people have them: CSV with any separator and encoding, JSON, JSON lines, Parquet, and any of them gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nmm.laws.core.numbers import parse

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ",;\t|"
MOST = 512 << 20    # of a table, unpacked [bytes]
PARQUET, GZIP, ZIP = b"PAR1", b"\x1f\x8b", b"PK\x03\x04"


def read_table(path: Path) -> pd.DataFrame:
    """One row a run, columns of numbers as floats.

    Raises:
        FileNotFoundError: no such file.
        ValueError: what the file is cannot be told or read, it is empty, or two columns have one name; with the remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    with path.open("rb") as file:
        content = _all(file, path)
    if content[:2] == GZIP:
        try:
            content = _all(gzip.GzipFile(fileobj=io.BytesIO(content)), path)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is a broken gzip file ({error}): fetch or write it again") from None
    if content[:4] == PARQUET:
        return _parquet(content, path)
    if content[:4] == ZIP:
        raise ValueError(f"{path} is a zip archive or a spreadsheet: unpack it, or save the sheet as CSV")
    text = _text(content, path).strip("\ufeff \r\n")
    if not text:
        raise ValueError(f"{path} is empty: a table needs a header and one row a run")
    table, decimal_comma = (_json(text, path), False) if text[0] in "[{" else _csv(text, path)
    if not len(table.columns):
        raise ValueError(f"{path} has no columns: one row a run with N, D and L is needed")
    if not len(table):
        raise ValueError(f"{path} has a header and no row: one row a run is needed")
    return table.apply(_numbers, decimal_comma=decimal_comma)


def _all(file: BinaryIO, path: Path) -> bytes:
    """What is in a file, unless it is more than any table of runs."""
    content = file.read(MOST + 1)
    if len(content) > MOST:
        raise ValueError(f"{path} holds more than {MOST >> 20} MB, which no table of runs does: leave out columns or rows")
    return content


def _numbers(column: pd.Series, decimal_comma: bool) -> pd.Series:
    """The column as floats where all that is written in it are numbers, as it was otherwise."""
    found = parse(column, decimal_comma) if column.dtype == object or str(column.dtype).startswith("str") else column
    return found if (found.notna() == column.notna()).all() else column


def _text(content: bytes, path: Path) -> str:
    """The file as text."""
    every_second = content[1:40:2]
    encoding = "utf-8"
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif every_second and not any(every_second):
        encoding = "utf-16-le"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in {encoding} (byte {error.start}): save it as CSV in UTF-8, or as Parquet") from None


def _parquet(content: bytes, path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(io.BytesIO(content))
    except ImportError:
        raise ValueError(f"{path} is a Parquet file, which needs pyarrow: pip install pyarrow, or save it as CSV") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is a broken Parquet file: {str(error).splitlines()[0][:80]}") from None


def _json(text: str, path: Path) -> pd.DataFrame:
    """A list of runs, a table of columns, rows by their name, or one run a line."""
    import pandas as pd

    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError(f"{path} is JSON within JSON without end, and no table: write a list of objects, one a run") from None
    except json.JSONDecodeError:
        try:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        except json.JSONDecodeError as error:
            near = error.doc[error.pos:error.pos + 20]
            raise ValueError(f"{path} is neither JSON nor one JSON object a line: {error.msg} near {near!r}") from None
    if isinstance(found, dict):
        lists = [value for value in found.values() if isinstance(value, list)]
        if found and all(isinstance(value, dict) for value in found.values()):     # as pandas writes it: by column, or by row
            rows = {key for value in found.values() for key in value}
            return pd.DataFrame.from_dict(found, orient="columns" if all(key.isdigit() for key in rows) else "index").reset_index(drop=True)
        found = found if len(lists) == len(found) and lists else lists[0] if len(lists) == 1 else [found]
    if isinstance(found, list) and not all(isinstance(row, dict) for row in found):
        raise ValueError(f"{path} must be a JSON list of objects, one a run, or an object of columns: got a list of other things")
    try:
        return pd.DataFrame(found)
    except ValueError as error:
        raise ValueError(f"{path} is JSON but no table: {error}; write a list of objects, one a run") from None


def _csv(text: str, path: Path) -> tuple[pd.DataFrame, bool]:
    """The table, and whether its commas are decimal."""
    import pandas as pd

    header = text.splitlines()[0]
    separator = max(SEPARATORS, key=header.count)
    if not header.count(separator):
        raise ValueError(f"{path}: its first line has no comma, semicolon, tab or bar: "
                         "one row a run and a header with several columns are needed")
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator))]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{path} has more than one column {', '.join(map(repr, twice))}: rename or drop one")
    try:
        table = pd.read_csv(io.StringIO(text), sep=separator, skipinitialspace=True, index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, pd.errors.ParserWarning) as error:
        raise ValueError(f"{path} is not a readable table: {str(error).strip()}") from None
    table.columns = names
    return table, separator == ";"
