"""The laws besides Eq. 1 on tables as the command takes them: coefficients come back, and a missing column is said in one line."""

import json

import numpy as np
import pandas as pd
import pytest

from nmm.cli import main
from nmm.laws.forms.repetition import effective_tokens
from nmm.laws.use.other import NEEDS, fit_law_table
from tests.laws.conftest import grid

NOISE = 0.002


def noisy(L, seed=0):
    return L * np.exp(np.random.default_rng(seed).normal(0, NOISE, len(L)))


def repeated() -> pd.DataFrame:
    N, D = grid()
    tables = [pd.DataFrame({"N": N, "D": D, "U": D / times}) for times in (1, 4, 16)]
    table = pd.concat(tables, ignore_index=True)
    worth = effective_tokens(table["D"], table["U"], 6.0)
    return table.assign(L=noisy(1.8 + 400 / table["N"] ** 0.34 + 900 / worth**0.36))


def sparse() -> pd.DataFrame:
    N, D = grid()
    table = pd.concat([pd.DataFrame({"N": N, "D": D, "S": S}) for S in (0.0, 0.5, 0.875, 0.96)], ignore_index=True)
    active = 1 - table["S"]
    N, D = table["N"], table["D"]
    return table.assign(L=1.6 + 300 / N**0.33 + 900 / D**0.36 + 0.4 * active**0.5 + 60 * active**0.3 / N**0.3)


def mixed() -> pd.DataFrame:
    rng, (N, D) = np.random.default_rng(1), grid()
    tables = []
    for text in (0.1, 0.25, 0.4, 0.55, 0.7, 0.85):
        image = (1 - text) * rng.uniform(0.2, 0.8)
        tables.append(pd.DataFrame({"N": N, "D": D, "h_text": text, "h_image": image, "h_code": 1 - text - image}))
    table = pd.concat(tables, ignore_index=True)
    floor = 1.2 + 1 / (1.2 * table["h_text"] ** 0.4 + 0.8 * table["h_image"] ** 0.5 + 0.5 * table["h_code"] ** 0.6)
    return table.assign(L=noisy(floor + 300 / table["N"] ** 0.33 + 900 / table["D"] ** 0.36))


def positions() -> pd.DataFrame:
    C = np.geomspace(1e18, 1e21, 6)
    rows = []
    for variant, bend in (("full", 0.0), ("sparse", -0.004)):
        for name, K in (("0-8K", 20.0), ("24-32K", 18.0)):
            rows.append(pd.DataFrame({"C": C, "variant": variant, "positions": name, "L": K * C ** (-0.05 + bend) * 1e18 ** -bend}))
    return pd.concat(rows, ignore_index=True)


def compressed() -> pd.DataFrame:
    N, D = grid()
    table = pd.DataFrame({"N": N, "T_text": 4.2 * D, "T_image": 900.0 * N**0.5})
    score = np.log(table["T_text"] / 4.2) + np.log(table["T_image"] / 900) + np.log(N)
    return table.assign(L=noisy(3.0 - 0.03 * score))


def test_each_law_finds_what_made_the_losses():
    (fit,), dropped = fit_law_table("repetition", repeated(), bootstrap=20)
    low, high = fit.boot.interval("R")
    assert not len(dropped) and low < 6.0 < high and fit.fit.values["R"] == pytest.approx(6.0, rel=0.15)
    (fit,), _ = fit_law_table("mixture", mixed(), bootstrap=5)
    assert fit.fit.values["alpha"] == pytest.approx(0.33, abs=0.02) and fit.fit.r2 > 0.995
    assert fit.fit.law.domains == ("text", "image", "code")
    (fit,), _ = fit_law_table("compression", compressed(), bootstrap=20, bytes_per_token={"text": 4.2, "image": 900.0})
    assert fit.fit.values["k1"] == pytest.approx(0.03, rel=0.02)
    (fit,), _ = fit_law_table("position", positions())
    assert fit.variants == ("full", "sparse")
    np.testing.assert_allclose(fit.values["c_difference"], -0.004, atol=1e-9)


def test_sparse_takes_dense_runs():
    """S is 0 for a dense model: such a row is used."""
    table = sparse()
    (fit,), dropped = fit_law_table("sparse", table, bootstrap=5)
    assert not len(dropped) and fit.fit.n_runs == len(table)
    np.testing.assert_allclose(fit.fit.predicted, table["L"], rtol=2e-4)


@pytest.mark.parametrize("law", NEEDS)
def test_a_missing_column_is_one_line_that_names_all(law):
    with pytest.raises(ValueError, match=f"law {law} needs the columns") as error:
        fit_law_table(law, pd.DataFrame({"x": [1.0]}))
    assert "\n" not in str(error.value) and all(f"{name} (" in str(error.value) for name in NEEDS[law])
    with pytest.raises(ValueError, match="no quantity 'Q'"):
        fit_law_table(law, pd.DataFrame({"x": [1.0]}), {"Q": "x"})


def test_the_command_writes_text_and_json(tmp_path, capsys):
    table = repeated().rename(columns={"U": "unique"})
    table.loc[2, "L"] = np.nan
    table.to_csv(tmp_path / "runs.csv", index=False)
    arguments = ["fit", str(tmp_path / "runs.csv"), "--law", "repetition", "--bootstrap", "20"]
    assert main(arguments) == 2
    assert "the table lacks U" in capsys.readouterr().err
    assert main([*arguments, "--columns", "U=unique", "--json", str(tmp_path / "out.json")]) == 0
    assert "not a number" in capsys.readouterr().out
    record = json.loads((tmp_path / "out.json").read_text())
    (fit,) = record["fits"]
    assert {"group", "runs", "status", "warnings", "unidentified", "objective", "R2", "level", "values", "units"} <= set(fit)
    assert fit["law"] == "repetition" and fit["runs"] == len(table) - 1 and len(record["left_out"]) == 1
    assert fit["values"]["R"]["low"] < 6.0 < fit["values"]["R"]["high"]


def test_the_command_compares_positions(tmp_path, capsys):
    positions().to_csv(tmp_path / "runs.csv", index=False)
    assert main(["fit", str(tmp_path / "runs.csv"), "--law", "position", "--json", str(tmp_path / "out.json")]) == 0
    assert "24-32K" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["fits"][0]["variants"] == ["full", "sparse"]
    assert main(["fit", str(tmp_path / "runs.csv"), "--law", "position", "--columns", "positions"]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err


def test_what_repetition_cannot_know_is_not_identified(tmp_path, capsys):
    table = repeated()
    table[table["U"] == table["D"]].to_csv(tmp_path / "runs.csv", index=False)
    assert main(["fit", str(tmp_path / "runs.csv"), "--law", "repetition", "--bootstrap", "5"]) == 0
    assert "not identified" in capsys.readouterr().out


def test_groups_too_small_are_left_out_with_a_reason():
    table = pd.concat([repeated().assign(corpus="a"), repeated().head(3).assign(corpus="b")], ignore_index=True)
    fits, dropped = fit_law_table("repetition", table, by=("corpus",), bootstrap=5)
    assert [fit.name for fit in fits] == ["a"] and dropped["reason"].str.contains("group b").all()
