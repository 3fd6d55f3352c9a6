"""One run from a file: in one process or several, trained once, gone on with after a kill, bad files named."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nmm import record as records
from nmm.config import ExecutionConfig, InitConfig, from_dict, to_dict
from nmm.models.io.weights import file_hash, load
from nmm.sweep.launch import Job, main, read_job, run_job, write_jobs
from nmm.sweep.locks import SCRATCH, lock

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def short(tiny, corpus):
    return next(iter(replace(tiny, budgets=(5_000,)).grid(corpus).values()))


@pytest.fixture
def job(short, corpus, tmp_path) -> Job:
    return Job(run=short, corpus=str(corpus.folder), runs_dir=str(tmp_path / "runs"), checkpoint_seconds=0.0)


def test_jobs_are_written_and_read(tiny, corpus, tmp_path):
    grid = replace(tiny, budgets=(5_000, 10_000)).grid(corpus)
    paths = write_jobs(grid, tmp_path, corpus=corpus.folder, runs_dir="records", entropy={"text": 1.0})
    assert [path.stem for path in paths] == list(grid)
    for path, run in zip(paths, grid.values(), strict=True):
        assert read_job(path) == Job(run=run, corpus=str(corpus.folder), runs_dir="records", entropy={"text": 1.0})


def test_a_run_is_trained_once_and_its_model_starts_another(job, tmp_path, capsys):
    path = tmp_path / "job.json"
    kept = replace(job, save_weights=str(tmp_path / "model.safetensors"))
    path.write_text(json.dumps({**vars(kept), "run": to_dict(job.run)}))
    assert main([str(path)]) == 0
    assert f"run {job.run.id} finished in 1 processes: L = " in capsys.readouterr().out
    written = Path(job.runs_dir) / f"{job.run.id}.json"
    record, when = records.read(written), written.stat().st_mtime_ns
    assert not (Path(job.runs_dir) / SCRATCH / job.run.id).exists()
    assert main([str(path)]) == 0
    assert written.stat().st_mtime_ns == when
    assert load(kept.save_weights)[0] == job.run.model
    init = InitConfig(decoder=file_hash(kept.save_weights))
    further = replace(job, run=replace(job.run, init=init), weights={"decoder": kept.save_weights})
    assert run_job(further).curve[0][1] < record.curve[0][1] - 0.5, "it starts from what the first has learned"
    with pytest.raises(ValueError, match=f"the run starts from decoder weights {init.decoder}: give their file"):
        run_job(replace(further, weights={}, runs_dir=str(tmp_path / "elsewhere")))


def test_a_run_in_other_hands_is_left_alone(job):
    scratch = Path(job.runs_dir) / SCRATCH / job.run.id
    with lock(scratch) as mine:
        assert mine
        with pytest.raises(ValueError, match=f"run {job.run.id} is being trained in .* by another launch or sweep"):
            run_job(job)


@pytest.mark.parametrize(("change", "message"), [
    ({"corpse": "x"}, "unknown key 'corpse': valid are run, corpus"),
    ({"run": 3}, "run must be an object: got 3"),
    ({"corpus": None}, "corpus must be text: got None"),
])
def test_bad_jobs_are_named(job, tmp_path, capsys, change, message):
    path = tmp_path / "job.json"
    path.write_text(json.dumps({**vars(job), "run": to_dict(job.run), **change}))
    assert main([str(path)]) == 2
    assert f"nmm.training.run: {path} is no job: {message}" in capsys.readouterr().err


def test_missing_parts_are_named(job, tmp_path, capsys):
    path = tmp_path / "job.json"
    assert main([str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    path.write_text("{")
    assert main([str(path)]) == 2
    assert "is no job" in capsys.readouterr().err
    plain = {**vars(job), "run": to_dict(job.run)}
    del plain["corpus"]
    path.write_text(json.dumps(plain))
    assert main([str(path)]) == 2
    assert "key 'corpus' is missing" in capsys.readouterr().err
    path.write_text(json.dumps({**plain, "corpus": str(tmp_path / "nowhere")}))
    assert main([str(path)]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [["-m", "composer.cli.launcher", "-n", "2", "-m"], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]],
                         ids=["composer", "torchrun"])
def test_two_processes_are_launched(job, short, tmp_path, launcher):
    sharded = replace(short, execution=ExecutionConfig(sharding="full"))
    (path,) = write_jobs({short.id: sharded}, tmp_path, corpus=job.corpus, runs_dir=job.runs_dir)
    done = subprocess.run([sys.executable, *launcher, "nmm.sweep.launch", str(path)], capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    record = records.read(Path(job.runs_dir) / f"{short.id}.json")
    assert (record.status, record.processes) == ("finished", 2)
    assert from_dict(to_dict(record.config)) == sharded
    shutil.rmtree(job.runs_dir)
    alone = run_job(job)
    assert record.losses == pytest.approx(alone.losses, rel=2e-5)
    assert record.tokens == alone.tokens
