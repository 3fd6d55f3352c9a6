"""Runs that start from the weights of other runs: named in their configuration, trained after them, resumed, never trained twice."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nmm import record as records
from nmm import runs
from nmm.config import InitConfig
from nmm.models.io import weights
from nmm.studies import Arm
from nmm.sweep import Report, read_family, sweep, train_family, write_jobs
from nmm.sweep.starts import waves, weights_of


class InProcess:
    """Trains families in this process, and may stop after some."""

    def __init__(self, most: int = 99) -> None:
        self.most, self.order = most, []

    def train(self, families: Sequence[Path]) -> Iterator[Report]:
        for path in families:
            if self.most:
                self.most -= 1
                self.order.append(read_family(path).runs[0].id)
                said: list[Report] = []
                train_family(read_family(path), said.append)
                yield from said


@pytest.fixture
def study(tiny):
    """A text decoder, and early and late fusion that start from it, the last one with an encoder of late fusion too."""
    text, late = {"text": 1.0}, {"vision_share": 1.0}
    arm = {"mixtures": ("45-45-10",), "budgets": (6_000,)}
    return replace(tiny, name="starting", seeds=(0,), budgets=(4_000,), mixtures={**tiny.mixtures, "text": text}, arms=(
        Arm(name="decoder", mixtures=("text",)),
        Arm(name="late", arch="late", settings=late, mixtures=("45-45-10",)),
        Arm(name="early from it", start={"decoder": "decoder"}, **arm),
        Arm(name="late from both", arch="late", settings=late, start={"decoder": "decoder", "encoder": "late"}, encoder_lr_scale=0.0,
            **arm),
    ))


@pytest.fixture
def grid(study, corpus):
    return study.grid(corpus)


def by_arm(grid):
    return {run.origin.arm: run for run in grid.values()}


def test_what_a_run_starts_from_is_in_its_name(grid, study, corpus):
    found = by_arm(grid)
    assert found["late from both"].init == InitConfig(decoder=f"run:{found['decoder'].id}", encoder=f"run:{found['late'].id}")
    assert found["early from it"].design["start"] == {"decoder": ["decoder", 4_000]}
    assert "decoder" not in found["early from it"].design, "which run it was follows from width and seed"
    longer = replace(study, arms=(replace(study.arms[0], budgets=(5_000,)), *study.arms[1:])).grid(corpus)
    assert by_arm(longer)["early from it"].id != found["early from it"].id
    assert by_arm(longer)["late"].id == found["late"].id


def test_every_budget_of_an_arm_is_started_from(study, corpus):
    arms = (replace(study.arms[0], budgets=(4_000, 5_000)), study.arms[2])
    assert sorted(run.init.decoder for run in replace(study, arms=arms).grid(corpus).values())[0] == ""
    assert len(replace(study, arms=arms).grid(corpus)) == 4
    with pytest.raises(ValueError, match="its decoder from arm 'decoder', which has no run 16 wide with seed 0 before it: there is none"):
        replace(study, arms=study.arms[2:3]).grid(corpus)
    with pytest.raises(ValueError, match="there is 24 wide with seed 0"):
        replace(study, arms=(replace(study.arms[0], widths=(24,)), study.arms[2])).grid(corpus)


def test_they_are_trained_in_waves_and_told_of_in_records(grid, corpus, tmp_path, one_thread):
    found, executor = by_arm(grid), InProcess()
    assert [len(wave) for wave in waves(reversed(grid.values()))] == [2, 2]
    summary = sweep(grid, corpus=corpus.folder, runs_dir=tmp_path, executor=executor)
    assert len(summary.finished) == 4 and summary.whole
    assert set(executor.order[:2]) == {found["decoder"].id, found["late"].id}
    read = {name: records.read(tmp_path / f"{run.id}.json") for name, run in found.items()}
    started = read["late from both"].started
    late = read["late"]
    assert started["encoder"] == {"run": late.config.id, "C": late.C, "C_exact": late.flops_exact, "tokens": late.D}
    row = runs.load(tmp_path).set_index("arm").loc["late from both"]
    assert row["C_exact_start"] == read["late"].flops_exact + read["decoder"].flops_exact and row["C"] == read["late from both"].C
    assert row["start"] == f"{found['decoder'].id} {found['late'].id}"

    # frozen, the encoder is the one it started from
    _, mine = weights.load(weights_of(found["late from both"].id, tmp_path))
    _, before = weights.load(weights_of(found["late"].id, tmp_path))
    assert all((mine[name] == before[name]).all() for name in mine if name.startswith("vision."))
    assert not (mine["connector.weight"] == before["connector.weight"]).all()

    again = InProcess()
    assert len(sweep(grid, corpus=corpus.folder, runs_dir=tmp_path, executor=again).skipped) == 4 and not again.order


def test_a_sweep_that_was_stopped_goes_on(grid, corpus, tmp_path, one_thread):
    found = by_arm(grid)
    summary = sweep(grid, corpus=corpus.folder, runs_dir=tmp_path, executor=InProcess(most=1))
    assert len(summary.finished) == 1 and len(summary.lost) == 3
    waiting = summary.lost.keys() - {found["late"].id, found["decoder"].id}
    assert all("which is not trained yet" in summary.lost[run] for run in waiting if run == found["late from both"].id)
    first = records.read(tmp_path / f"{summary.finished[0]}.json")
    executor = InProcess()
    assert len(sweep(grid, corpus=corpus.folder, runs_dir=tmp_path, executor=executor).finished) == 3
    assert records.read(tmp_path / f"{first.config.id}.json") == first and first.config.id not in executor.order


def test_what_starts_from_a_failed_run_fails_and_says_so(grid, corpus, tmp_path, one_thread):
    found = by_arm(grid)
    records.write(records.RunRecord(config=found["decoder"], status="failed", reason="it diverged"), tmp_path)
    summary = sweep(grid, corpus=corpus.folder, runs_dir=tmp_path, executor=InProcess())
    failed = records.read(tmp_path / f"{found['early from it'].id}.json")
    assert failed.status == "failed" and failed.reason == f"it starts from run {found['decoder'].id}, which failed: it diverged"
    assert summary.finished == [found["late"].id] and len(summary.failed) == 3
    summary = sweep(grid, corpus=corpus.folder, runs_dir=tmp_path, executor=InProcess(), retry_failed=True)
    assert len(summary.finished) == 3 and summary.whole


def test_weights_that_are_gone_are_missed_before_anything_is_trained(grid, corpus, tmp_path, one_thread):
    found = by_arm(grid)
    some = {run.id: run for run in (found["decoder"], found["early from it"])}
    sweep(some, corpus=corpus.folder, runs_dir=tmp_path, executor=InProcess())
    weights_of(found["decoder"].id, tmp_path).unlink()
    with pytest.raises(ValueError, match=f"its decoder from run {found['decoder'].id}, which is finished, but the weights .* are gone"):
        sweep(grid, corpus=corpus.folder, runs_dir=tmp_path, executor=InProcess())
    with pytest.raises(ValueError, match="which is not in this sweep and has no record in .*: train that run first"):
        sweep({run.id: run for run in (found["late from both"],)}, corpus=corpus.folder, runs_dir=tmp_path / "other", executor=InProcess())


def test_a_file_of_another_run_is_refused(grid, corpus, tmp_path, one_thread):
    found = by_arm(grid)
    paths = write_jobs({name: grid[name] for name in grid}, tmp_path / "jobs", corpus=corpus.folder, runs_dir=tmp_path / "runs")
    assert [path.stem for path in paths[:2]] == [run.id for run in waves(grid.values())[0]], "what others start from comes first"
    said: list[Report] = []
    train_family(read_family(tmp_path / "jobs" / f"{found['late'].id}.json"), said.append)
    decoder = weights_of(found["decoder"].id, tmp_path / "runs")
    weights_of(found["late"].id, tmp_path / "runs").rename(decoder)
    train_family(read_family(tmp_path / "jobs" / f"{found['early from it'].id}.json"), said.append)
    assert said[-1].kind == "refused"
    assert f"was left by run {found['late'].id}, but the run's configuration starts its decoder from run " in said[-1].reason


def test_records_without_a_start_are_as_before(run):
    assert "run:" not in json.dumps(run.design) and run.init == InitConfig()
