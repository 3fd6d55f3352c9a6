"""One run from a file: in one process or several, trained once, gone on with after a kill, bad files named."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nmm import record as records
from nmm.config import ExecutionConfig, InitConfig
from nmm.models.io.weights import file_hash, load
from nmm.sweep import Family, read_family, train_family, write_jobs
from nmm.sweep.launch import main
from nmm.sweep.locks import SCRATCH, lock

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.timeout(900)       # as in test_sweep


@pytest.fixture
def short(tiny, corpus):
    return next(iter(replace(tiny, budgets=(5_000,)).grid(corpus).values()))


@pytest.fixture
def job(short, corpus, tmp_path) -> Family:
    return Family(runs=[short], corpus=str(corpus.folder), runs_dir=str(tmp_path / "runs"), checkpoint_seconds=0.0)


def launch(family: Family, folder: Path) -> int:
    return main([str(family.write(folder / "job.json"))])


def record_of(family: Family, run=None) -> records.RunRecord:
    return records.read(Path(family.runs_dir) / f"{(run or family.runs[0]).id}.json")


def test_jobs_are_written_and_read(tiny, corpus, tmp_path):
    """A family a file: the budgets of one model, the longest first."""
    grid = replace(tiny, budgets=(5_000, 10_000), seeds=(0, 1)).grid(corpus)
    paths = write_jobs(grid, tmp_path, corpus=corpus.folder, runs_dir="records", entropy={"text": 1.0})
    found = [read_family(path) for path in paths]
    assert [[(run.seed, run.tokens) for run in family.runs] for family in found] == [[(0, 10_000), (0, 5_000)], [(1, 10_000), (1, 5_000)]]
    for path, family in zip(paths, found, strict=True):
        assert path.stem == family.runs[0].id
        runs = [grid[run.id] for run in family.runs]
        assert family == Family(runs=runs, corpus=str(corpus.folder), runs_dir="records", entropy={"text": 1.0})


def test_a_run_is_trained_once_and_its_model_starts_another(job, tmp_path, capsys):
    (run,) = job.runs
    kept = replace(job, save_weights=str(tmp_path / "models"))
    assert launch(kept, tmp_path) == 0
    assert f"run {run.id} finished in 1 processes: L = " in capsys.readouterr().out
    written = Path(job.runs_dir) / f"{run.id}.json"
    record, when = records.read(written), written.stat().st_mtime_ns
    assert record.code.keys() & {"commit", "sources"}
    assert not job.scratch(run).exists()
    assert launch(kept, tmp_path) == 0
    assert written.stat().st_mtime_ns == when
    model = str(tmp_path / "models" / f"{run.id}.safetensors")
    assert load(model)[0] == run.model
    started = replace(run, init=InitConfig(decoder=file_hash(model)))
    further = replace(job, runs=[started], weights={"decoder": model})
    assert launch(replace(further, weights={}), tmp_path) == 2
    assert f"the run starts from decoder weights {started.init.decoder}: give their file" in capsys.readouterr().err
    assert launch(further, tmp_path) == 0, "a refusal is not recorded"
    assert record_of(further).curve[0][1] < record.curve[0][1] - 0.5, "it starts from what the first has learned"


def test_a_launched_family_is_a_trunk_and_its_branches(tiny, corpus, tmp_path, capsys):
    grid = replace(tiny, budgets=(4_000, 6_000)).grid(corpus)
    (path,) = write_jobs(grid, tmp_path / "jobs", corpus=corpus.folder, runs_dir=tmp_path / "runs")
    assert main([str(path)]) == 0
    long, short = (records.read(tmp_path / "runs" / f"{run}.json") for run in grid)
    assert long.branched_at is None and short.branched_at
    assert capsys.readouterr().out.count(" finished in 1 processes") == 2


def test_an_exception_is_the_runs_and_the_others_go_on(tiny, corpus, tmp_path, monkeypatch, capsys):
    from nmm.training import run as training

    grid = replace(tiny, budgets=(4_000, 6_000)).grid(corpus)
    (path,) = write_jobs(grid, tmp_path / "jobs", corpus=corpus.folder, runs_dir=tmp_path / "runs")
    broken, other = grid
    train = training.train

    def failing(config, *args, **settings):
        if config.id == broken:
            raise RuntimeError("CUDA out of memory.\nTried to allocate")
        return train(config, *args, **settings)

    monkeypatch.setattr(training, "train", failing)
    assert main([str(path)]) == 1
    trace = tmp_path / "runs" / SCRATCH / f"{broken}.traceback.txt"
    record = records.read(tmp_path / "runs" / f"{broken}.json")
    assert (record.status, record.reason) == ("failed", f"RuntimeError: CUDA out of memory. Tried to allocate (traceback: {trace})")
    assert "in failing" in trace.read_text() and record.code
    assert records.read(tmp_path / "runs" / f"{other}.json").status == "finished"
    monkeypatch.setattr(training, "train", train)
    assert main([str(path)]) == 1, "kept unless asked"
    said: list = []
    train_family(replace(read_family(path), retry_failed=True), said.append)
    assert {report.run: report.kind for report in said if report.kind in ("finished", "skipped")} == {broken: "finished", other: "skipped"}


def test_a_run_in_other_hands_is_left_alone(job, tmp_path, capsys):
    with lock(job.scratch(job.runs[0])) as mine:
        assert mine
        assert launch(job, tmp_path) == 2
    assert f"run {job.runs[0].id} is being trained in {job.runs_dir} by another launch or sweep: wait" in capsys.readouterr().err


@pytest.mark.parametrize(("change", "message"), [
    ({"corpse": "x"}, "unknown key 'corpse': valid are runs, corpus"),
    ({"runs": 3}, "runs must be a list of runs: got 3"),
    ({"runs": []}, r"runs must be a list of runs: got \[\]"),
    ({"runs": [{"x": 1}]}, "unknown architecture None"),
    ({"corpus": None}, "corpus must be text: got None"),
])
def test_bad_jobs_are_named(job, tmp_path, capsys, change, message):
    path = job.write(tmp_path / "job.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert main([str(path)]) == 2
    assert re.search(f"nmm.sweep.launch: {path} is no job: {message}", capsys.readouterr().err)


def test_runs_that_are_no_family_are_refused(job, tmp_path, capsys):
    assert launch(replace(job, runs=[job.runs[0], replace(job.runs[0], seed=1)]), tmp_path) == 2
    assert "its runs must differ in their budget alone, the longest first" in capsys.readouterr().err


def test_missing_parts_are_named(job, tmp_path, capsys):
    path = tmp_path / "job.json"
    assert main([str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    path.write_text("{")
    assert main([str(path)]) == 2
    assert "is no job" in capsys.readouterr().err
    plain = json.loads(job.write(path).read_text())
    path.write_text(json.dumps({name: value for name, value in plain.items() if name != "corpus"}))
    assert main([str(path)]) == 2
    assert "key 'corpus' is missing" in capsys.readouterr().err
    path.write_text(json.dumps({**plain, "corpus": str(tmp_path / "nowhere")}))
    assert main([str(path)]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [
    ["-m", "composer.cli.launcher", "-n", "2", "-m"],
    ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"],
], ids=["composer", "torchrun"])
def test_two_processes_are_launched(job, tiny, corpus, tmp_path, launcher):
    """A family of two, sharded: the branch goes on from the trunk's checkpoint."""
    grid = replace(tiny, budgets=(5_000, 10_000)).grid(corpus)
    runs = [replace(run, execution=ExecutionConfig(sharding="full")) for run in grid.values()]
    (path,) = write_jobs({run.id: run for run in runs}, tmp_path, corpus=job.corpus, runs_dir=job.runs_dir)
    done = subprocess.run([sys.executable, *launcher, "nmm.sweep.launch", str(path)], capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = [record_of(job, run) for run in runs]
    assert [(record.status, record.processes, record.config) for record in found] == [("finished", 2, run) for run in runs]
    assert found[1].branched_at
    shutil.rmtree(job.runs_dir)
    train_family(job, lambda said: None)
    alone = record_of(job)
    assert found[1].losses == pytest.approx(alone.losses, rel=2e-5)
    assert found[1].tokens == alone.tokens


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_two_processes_killed_at_random_moments_lose_nothing(tiny, corpus, tmp_path, sharding):
    """Bit by bit the records of a launch that was left alone, the branch's too."""
    grid = replace(tiny, budgets=(8_000, 5_000)).grid(corpus)
    runs = [replace(run, execution=ExecutionConfig(sharding=sharding)) for run in grid.values()]
    kills = {}
    for name, count in (("alone", 0), ("killed", 2)):
        family = Family(runs=runs, corpus=str(corpus.folder), runs_dir=str(tmp_path / name), checkpoint_seconds=0.01)
        command = [sys.executable, "-m", "tests.launching", str(family.write(tmp_path / f"{name}.json")), str(count), "1.2", "0"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT,
                              env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        kills[name] = int(done.stdout.splitlines()[-1])
    assert kills["alone"] == 0 and kills["killed"] >= 1
    for run in runs:
        alone, killed = (records.read(tmp_path / name / f"{run.id}.json") for name in ("alone", "killed"))
        assert (killed.losses, killed.curve, killed.tokens, killed.processes) == (alone.losses, alone.curve, alone.tokens, 2)
        assert killed.branched_at == alone.branched_at
    assert not list((tmp_path / "killed").rglob("*.pt"))
