"""The runs as an open table: what pandas alone reads back, and the card that says what it holds."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from nmm import runs
from nmm.cli import main
from nmm.runs.columns import COLUMNS
from nmm.runs.export import CARD, CSV, PARQUET, collect

RUNS = Path(__file__).parents[1] / "runs"


def test_export_holds_every_run_once_with_its_units_and_terms(tmp_path, capsys):
    folders = [str(RUNS / name) for name in ("laptop", "seeds")]
    assert main(["runs", "export", *folders, "--out", str(tmp_path / "new" / "place")]) == 0
    out = tmp_path / "new" / "place"
    table, text, card = pd.read_parquet(out / PARQUET), pd.read_csv(out / CSV), (out / CARD).read_text()
    asked = {run for folder in folders for run in runs.load(folder)["run"]}
    assert set(table["run"]) == asked and len(table) == len(asked)
    assert list(table) == list(text) == list(COLUMNS)
    pd.testing.assert_series_equal(table["L"], text["L"])
    assert table["D_v"].isna().sum() == text["D_v"].isna().sum()        # missing is missing in both
    for words in (f"{len(asked)} runs", "CC-BY-4.0", "@software{nmm,", "| `L_caption` | held-out captions | nats per target token |"):
        assert words in card
    assert str(len(asked)) in capsys.readouterr().out


def test_a_run_that_two_folders_hold_is_one_row_and_failures_stay(tmp_path):
    source = next((RUNS / "laptop").glob("?" * 16 + ".json"))
    (tmp_path / source.name).write_text(source.read_text())
    (tmp_path / ("f" * 16 + ".json")).write_text("{")
    with pytest.warns(UserWarning, match="is no valid run record"):
        table = collect([RUNS / "laptop", tmp_path])
    assert table["run"].is_unique and len(table) == len(runs.load(RUNS / "laptop")) + 1
    assert table.set_index("run").loc["f" * 16, ["status", "reason"]].notna().all()


def test_every_column_is_described():
    assert all(column.words for column in COLUMNS.values())
    lost = [name for name, column in COLUMNS.items() if name[:2] in ("L_", "E_", "n_", "D_") and not column.unit]
    assert lost == ["n_layers", "n_experts"]


def test_reading_it_needs_pandas_only(tmp_path):
    assert main(["runs", "export", str(RUNS / "laptop"), "--out", str(tmp_path)]) == 0
    code = f"import pandas, sys; print(len(pandas.read_csv({str(tmp_path / CSV)!r}))); assert 'nmm' not in sys.modules"
    assert int(subprocess.check_output([sys.executable, "-c", code])) == len(runs.load(RUNS / "laptop"))


@pytest.mark.parametrize(("folder", "said"), [("nowhere", "nowhere"), ("empty", "no run records in")])
def test_a_folder_without_records_is_named(tmp_path, folder, said, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["runs", "export", str(tmp_path / folder), "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
