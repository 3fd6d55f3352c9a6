"""The page that says how to add what is added most often: every example on it runs, and every file it names is there."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from nmm.architectures import MODELS
from nmm.data.batches.mixture import MIXTURES
from nmm.models.registry import BUILT
from nmm.studies import STUDIES, Study, run_study
from nmm.sweep import EXECUTORS
from nmm.training.objectives import OBJECTIVES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
SECTIONS = dict(re.findall(r"^## (Add .*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))


@pytest.fixture(autouse=True)
def as_before():
    """What the examples enter into tables is taken out again."""
    tables = (MODELS, BUILT, STUDIES, EXECUTORS, OBJECTIVES)
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def example(section: str) -> dict:
    """The names that a section's examples leave, run one after the other."""
    names: dict = {"__name__": "example"}
    blocks = re.findall(r"^```python\n(.*?)^```", SECTIONS[section], re.M | re.S)
    assert blocks, section
    for block in blocks:
        exec(compile(block, f"CONTRIBUTING.md, {section}", "exec"), names)  # noqa: S102
    return names


@pytest.mark.parametrize("section", SECTIONS)
def test_every_example_runs(section, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example(section)


def test_the_page_has_a_section_each():
    assert list(SECTIONS) == [f"Add {what}" for what in ("an architecture", "an objective", "a law", "a study", "an executor", "a chapter")]
    assert "CONTRIBUTING.md" in (ROOT / "README.md").read_text()


def test_every_file_that_is_named_is_there():
    named = re.findall(r"`((?:nmm|tests|notebooks|book|runs)/[\w./]*)`", PAGE)
    assert len(named) > 15
    for name in named:
        path = ROOT / name
        assert (path.parent if "NAME" in path.name else path).exists(), name


def test_the_executor_trains(tmp_path, monkeypatch):
    example("Add an executor")
    small = Study(name="small", widths=(16,), budgets=(4_000, 6_000), warmup_tokens=1_000, validation_sequences=8,
                  mixtures={"20-40-40": MIXTURES["20-40-40"]})
    monkeypatch.setitem(STUDIES, "small", small)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    summary, _ = run_study("small", executor="one-by-one", work=tmp_path)
    assert len(summary.finished) == 2 and summary.tokens < summary.tokens_alone


def test_the_chapter_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example("Add a chapter")
    notebook = nbformat.read("16_seeds.ipynb", as_version=4)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    NotebookClient(notebook, resources={"metadata": {"path": str(ROOT)}}).execute()
    shown = "".join(str(output.get("data", "")) for cell in notebook.cells for output in cell.get("outputs", ()))
    assert re.search(r"By 0\.\d{3} nats per token", shown), shown[:500]
