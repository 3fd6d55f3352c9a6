"""Tables as people have them, read or refused in one line with the remedy."""

import gzip

import numpy as np
import pandas as pd
import pytest

from nmm.laws.core.numbers import parse
from nmm.laws.use.reading import read_table

RUNS = pd.DataFrame({"N": [3e8, 1.3e9], "D": [5e9, 1e10], "L": [3.14, 2.75], "arch": ["early", "late"]})


@pytest.mark.parametrize("cells, values", [
    (["1.3B", "300M", "5e9", "12k", "2T"], [1.3e9, 3e8, 5e9, 1.2e4, 2e12]),
    (["1,300,000", "275,000,000"], [1.3e6, 2.75e8]),
    (["3,14", "2,7512"], [3.14, 2.7512]),
    (["1 300 000", "5_000", "7"], [1.3e6, 5e3, 7]),
    (["nan", "early", ""], [np.nan, np.nan, np.nan]),
])  # fmt: skip
def test_numbers_as_written(cells, values):
    assert parse(pd.Series(cells)).to_numpy() == pytest.approx(np.array(values), nan_ok=True)


def test_a_comma_is_decimal_where_semicolons_separate():
    assert parse(pd.Series(["3,141", "2,750"]), decimal_comma=True).tolist() == [3.141, 2.75]


TEXTS = {
    "comma": ("N,D,L,arch\n300M,5e9,3.14,early\n1.3B,1e10,2.75,late\n", "utf-8"),
    "semicolon": ("N;D;L;arch\n3e8;5e9;3,14;early\n1,3e9;1e10;2,75;late\n", "utf-8"),
    "tab, UTF-16": ("N\tD\tL\tarch\n3e8\t5e9\t3.14\tearly\n1.3e9\t1e10\t2.75\tlate\n", "utf-16"),
    "byte order mark": ("N,D,L,arch\n3e8,5e9,3.14,early\n1.3e9,1e10,2.75,late\n", "utf-8-sig"),
    "thousands": ('N,D,L,arch\n"300,000,000",5B,3.14,early\n"1,300,000,000",10B,2.75,late\n', "utf-8"),
    "JSON": (RUNS.to_json(orient="records"), "utf-8"),
    "JSON of columns": (RUNS.to_json(orient="columns").replace('{"0":', "[").replace(',"1":', ",").replace("}", "]")[:-1] + "}", "utf-8"),
    "JSON as pandas writes it": (RUNS.to_json(), "utf-8"),
    "JSON of named runs": (RUNS.set_axis(["run a", "run b"]).to_json(orient="index"), "utf-8"),
    "JSON lines": (RUNS.to_json(orient="records", lines=True), "utf-8"),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("packed", [False, True])
def test_formats(tmp_path, name, packed):
    text, encoding = TEXTS[name]
    content = text.encode(encoding)
    path = tmp_path / "runs"
    path.write_bytes(gzip.compress(content) if packed else content)
    table = read_table(path)
    assert list(table.columns) == list(RUNS.columns)
    assert table[["N", "D", "L"]].to_numpy(dtype=float) == pytest.approx(RUNS[["N", "D", "L"]].to_numpy())
    assert table["arch"].tolist() == ["early", "late"]


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    RUNS.to_parquet(tmp_path / "runs.bin")
    assert read_table(tmp_path / "runs.bin").equals(RUNS)


@pytest.mark.parametrize("content, word", [
    (b"", "empty"), (b"N,D,L\n", "no row"), (b"only one column\n1\n", "header with several columns"),
    (b"N,L,L\n1,2,3\n", "more than one column 'L'"), (b"PK\x03\x04xxxx", "save the sheet as CSV"),
    (b"N,D,L\n1,2,\xff\xfe\n", "UTF-8"), (b"PAR1 broken", "Parquet"), (b"[1, 2]", "list of objects"),
    (b"{broken", "neither JSON"),
])  # fmt: skip
def test_refused_in_one_line(tmp_path, content, word):
    (tmp_path / "runs").write_bytes(content)
    with pytest.raises(ValueError, match=word) as caught:
        read_table(tmp_path / "runs")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
