"""The contract between a chapter and its readers: parameters, paths, glued values."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from nmm.book import chapter


def run(*cells: str) -> dict:
    """A namespace after a kernel ran these cells."""
    namespace = {"In": [""]}
    for cell in cells:
        namespace["In"].append(cell)
        exec(cell, namespace)  # noqa: S102 (as a kernel does)
    return namespace


DECLARED = (
    "preset: str = 'laptop'  # study\nbudget: float = 1e21  # [FLOPs]\n"
    "sizes: list[int] = [1]  # widths\nlimit: int | None = None  # runs"
)


@pytest.mark.parametrize("injected", ["", "budget = 3", "limit = 4", "sizes = [2, 3]", "preset = '007'"])
def test_valid_parameters_pass(injected):
    chapter.check(run(DECLARED, f"# Parameters\n{injected}"))


@pytest.mark.parametrize(("injected", "message"), [
    ("bugdet = 3", r"unknown parameter 'bugdet'.*preset: str, budget: float, sizes: list\[int\], limit: int \| None"),
    ("budget = 'big'", r"budget must be float, got 'big' \(str\).*preset: str"),
    ("budget = True", "budget must be float, got True"),
    ("preset = 7", r"preset must be str, got 7 \(int\)"),
    ("sizes = [1.5]", r"sizes must be list\[int\], got \[1.5\]"),
    ("limit = 'x'", r"limit must be int \| None, got 'x'"),
])
def test_bad_parameters_are_one_clear_error(injected, message):
    with pytest.raises(ValueError, match=message):
        chapter.check(run(DECLARED, f"# Parameters\n{injected}"))


def test_check_before_the_parameters_cell_says_so():
    with pytest.raises(ValueError, match="run the cell tagged `parameters`"):
        chapter.check(run("x = 1"))


@pytest.mark.parametrize(("text", "better"), [("1e21", "1.0e+21"), ("1.25e21", "1.25e+21"), ("3e-4", "3.0e-4")])
def test_a_power_of_ten_that_yaml_takes_for_text_comes_with_its_spelling(text, better):
    for value, type_ in (([1.0, text], list[float]), (text, float)):
        with pytest.raises(ValueError, match=re.escape(f"YAML takes {text} for text: write {better}")):
            chapter.check_values({"budgets": value}, {"budgets": type_})


def test_paths_are_found_in_the_working_folder_then_in_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert chapter.find("pyproject.toml") == chapter.repository() / "pyproject.toml"
    (tmp_path / "pyproject.toml").touch()
    assert chapter.find("pyproject.toml") == tmp_path / "pyproject.toml"
    assert chapter.find(str(tmp_path)) == Path(tmp_path)


def test_a_path_in_neither_place_names_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        chapter.find("runs/none")
    assert str(tmp_path / "runs/none") in str(error.value)
    assert str(chapter.repository() / "runs/none") in str(error.value)
    with pytest.raises(ValueError, match="empty string"):
        chapter.find("")


@pytest.mark.parametrize("value", [None, math.nan, math.inf, np.float64("nan")])
def test_a_missing_number_is_not_glued(value):
    with pytest.raises(ValueError, match="missing number must be shown as missing"):
        chapter.glue("alpha", value)


def test_a_glued_name_can_stand_in_a_role():
    with pytest.raises(ValueError, match="letters, digits and underscores, got 'a:b'"):
        chapter.glue("a:b", 1)
