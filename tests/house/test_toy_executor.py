"""A new executor is a class: families trained in this process, one after the other, through the public seams alone."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nmm import record as records
from nmm.cli import main
from nmm.studies import STUDIES, run_study
from nmm.sweep import EXECUTORS, Report, read_family, sweep, train_family


class InProcess:
    """Trains families in this process."""

    def __init__(self, jobs: int) -> None:
        self.families: list[Path] = []

    def train(self, families: Sequence[Path]) -> Iterator[Report]:
        for path in families:
            self.families.append(path)
            said: list[Report] = []
            train_family(read_family(path), said.append)
            yield from said


class Silent(InProcess):
    """Reports nothing, as one does that submits jobs to a queue and waits until they are gone; the last never ran."""

    def train(self, families: Sequence[Path]) -> Iterator[Report]:
        for path in families[:-1]:
            train_family(read_family(path), lambda said: None)
        yield from ()


@pytest.fixture
def small(tiny):
    return replace(tiny, name="small", budgets=(4_000, 6_000), seeds=(0, 1))


def test_a_study_is_trained_by_an_executor_of_ones_own(small, tmp_path, monkeypatch, one_thread):
    monkeypatch.setitem(STUDIES, "small", small)
    executor = InProcess(1)
    summary, folder = run_study("small", executor=executor, work=tmp_path)
    assert len(summary.finished) == 4 and summary.whole
    assert len(executor.families) == 2, "a trunk and its branch are one job"
    assert summary.tokens < summary.tokens_alone
    assert {path.stem for path in records.paths(folder)} == set(summary.finished)


def test_an_executor_in_the_registry_is_named_at_the_command_line(small, tmp_path, monkeypatch, capsys):
    """One line in `EXECUTORS`; the records stand for a training."""
    monkeypatch.setitem(STUDIES, "small", small)
    monkeypatch.setitem(EXECUTORS, "silent", Silent)
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "--preset", "small", "--executor", "silent"]) == 1
    said = capsys.readouterr().out
    assert "2 trained, 0 already there, 0 failed, 2 lost" in said
    assert said.count("was lost: its family ended before it was trained; the same command goes on from there") == 2


def test_a_name_that_is_not_in_the_registry(small, corpus, tmp_path):
    with pytest.raises(ValueError, match="unknown executor 'lsf': known are local"):
        sweep(small.grid(corpus), corpus=corpus.folder, runs_dir=tmp_path, executor="lsf")
