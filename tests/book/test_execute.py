"""The batch driver on real kernels: what runs, what is kept, what is said when a chapter fails."""

import subprocess
import sys

import nbformat
import pytest

from nmm.book.execute import describe_failure, execute
from nmm.book.layout import Layout
from tests.book.conftest import EDITION, edit, silent, write_chapter


def statuses(layout: Layout, **options) -> dict[str, str]:
    given = options.pop("given", {})
    return {item.name: item.status for item in execute(layout, EDITION, given, echo=silent, **options)}


def output(layout: Layout, name: str) -> nbformat.NotebookNode:
    return nbformat.read(layout.executed(EDITION) / f"{name}.ipynb", as_version=4)


def test_an_unchanged_book_runs_nothing_and_touches_no_file(book):
    before = {path: path.stat().st_mtime_ns for path in book.executed(EDITION).glob("*.ipynb")}
    assert statuses(book) == {"01_points": "unchanged", "02_slope": "unchanged"}
    assert {path: path.stat().st_mtime_ns for path in book.executed(EDITION).glob("*.ipynb")} == before


def test_new_prose_is_merged_around_the_old_outputs(book):
    source = book.notebooks / "01_points.ipynb"
    old = output(book, "01_points")
    edit(source, "zucchini line", "aubergine line")
    edit(source, "one colour a group", "one hue a group")
    assert statuses(book) == {"01_points": "new prose", "02_slope": "unchanged"}
    new = output(book, "01_points")
    assert any("aubergine line" in cell.source for cell in new.cells)
    assert any("one hue" in str(cell.metadata) for cell in new.cells)
    assert [cell.outputs for cell in new.cells if cell.cell_type == "code"] == \
        [cell.outputs for cell in old.cells if cell.cell_type == "code"]


def test_executed_chapters_hold_no_path_of_this_machine(rendered):
    text = (rendered.executed(EDITION) / "01_points.ipynb").read_text(encoding="utf-8")
    assert str(rendered.root) not in text
    assert "papermill" not in output(rendered, "01_points").metadata


def test_parameters_reach_the_chapters_that_declare_them(tmp_path):
    layout = Layout(root=tmp_path)
    write_chapter(tmp_path, "01_a", "n: int = 1  # runs\npreset: str = 'laptop'  # study", "print(n, preset)")
    write_chapter(tmp_path, "02_b", "", "print('b')")
    assert statuses(layout, given={"n": 5}, jobs=2) == {"01_a": "executed", "02_b": "executed"}
    cells = output(layout, "01_a").cells
    assert cells[-1].outputs[0].text == "5 laptop\n"
    assert [cell.metadata.get("tags") for cell in cells[1:3]] == [["parameters"], ["injected-parameters"]]
    assert statuses(layout, given={"n": 5}) == {"01_a": "unchanged", "02_b": "unchanged"}
    assert statuses(layout, only=["01_a"]) == {"01_a": "executed"}  # without the value it is another chapter


@pytest.mark.parametrize(("given", "options", "message"), [
    ({"cuont": 5}, {}, "unknown parameter 'cuont'.*valid are count: int"),
    ({"count": "5"}, {}, "count must be int, got '5'"),
    ({}, {"only": ["03_none"]}, "unknown chapter '03_none'; the chapters are 01_points, 02_slope"),
    ({}, {"jobs": 0}, "jobs must be at least 1"),
])
def test_bad_requests_are_refused_before_anything_runs(book, given, options, message):
    with pytest.raises(ValueError, match=message):
        statuses(book, given=given, **options)


def test_a_failure_is_named_skips_its_dependents_only_and_keeps_the_last_good_output(tmp_path):
    layout = Layout(root=tmp_path)
    source = write_chapter(tmp_path, "01_a", "", "x = 1", "print('good')")
    write_chapter(tmp_path, "02_b", "", "print('b')", after=["01_a"])
    write_chapter(tmp_path, "03_c", "", "print('c')", after=["02_b"])
    write_chapter(tmp_path, "04_d", "", "print('d')")
    assert statuses(layout, jobs=2, only=["02_b"]) == {"01_a": "executed", "02_b": "executed"}
    good = output(layout, "01_a")
    edit(source, "print('good')", "raise KeyError('no such run')")
    lines = []
    outcomes = {item.name: item for item in execute(layout, EDITION, {}, jobs=2, echo=lines.append)}
    assert {name: item.status for name, item in outcomes.items()} == \
        {"01_a": "failed", "02_b": "skipped", "03_c": "skipped", "04_d": "executed"}
    assert "code cell 2 (id a-2): KeyError: 'no such run'" in outcomes["01_a"].reason
    assert outcomes["02_b"].reason == "needs 01_a"
    assert len(lines) == 4
    assert output(layout, "01_a") == good
    failed = layout.failed(EDITION) / "01_a.ipynb"
    assert "KeyError" in describe_failure(failed)
    edit(source, "raise KeyError('no such run')", "print('good')")
    assert statuses(layout)["01_a"] == "unchanged"
    assert not failed.exists()
    assert not [path for path in layout.executed(EDITION).rglob("*") if "running" in path.name], "left by what has ended"


def test_a_kernel_that_dies_is_a_failure_with_its_cell(tmp_path):
    layout = Layout(root=tmp_path)
    write_chapter(tmp_path, "01_a", "", "x = 1", "import os; os._exit(3)")
    (outcome,) = execute(layout, EDITION, {}, echo=silent)
    assert outcome.status == "failed"
    assert "code cell 2 (id a-2): the kernel died" in outcome.reason


def test_bare_papermill_refuses_a_parameter_that_the_chapter_does_not_have(tmp_path):
    source = write_chapter(tmp_path, "01_a", "n: int = 1  # runs", "from nmm.book import chapter\nchapter.check(globals())")
    for words, message in [(["-p", "m", "2"], "unknown parameter 'm'"), (["-p", "n", "two"], "parameter n must be int, got 'two'")]:
        command = [sys.executable, "-m", "papermill", "-k", "python3", "-l", "python", str(source), str(tmp_path / "out.ipynb")]
        run = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
        assert run.returncode != 0
        assert message in run.stderr, run.stderr[-2000:]
