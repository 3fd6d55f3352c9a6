"""A sweep on a Slurm cluster: the records of a local one; preempted, timed out, killed, left, shared, it trains nothing twice."""

import json
import os
import re
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from nmm import record as records
from nmm.book.execute import execute
from nmm.book.layout import Layout
from nmm.cli import main
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.generated.world import World
from nmm.studies import MIXTURE, find_study
from nmm.sweep import SCRATCH, Family, queued, sweep
from nmm.sweep.executors import caller
from tests import sweeping
from tests.book.conftest import write_chapter
from tests.cluster.conftest import ROOT, InBackground, command
from tests.test_sweep import checkpoint, content

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]
QUICK = {"poll": 0.2, "time": 10}


def submitted(folder: Path) -> int:
    """Jobs that were ever submitted for a folder."""
    return len(list((folder / SCRATCH / "slurm").glob("*_submitted.pkl")))


def wait_for(what, seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.005)


def kill_job(folder: Path) -> None:
    """Kill the processes of a folder's jobs, as a machine does that runs out of memory."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "submitit.core._submit" in words and str(folder / SCRATCH / "slurm") in words:
            os.kill(int(path.parent.name), signal.SIGKILL)


def test_the_smoke_study_left_and_shared_has_the_records_of_a_local_one(cluster, local_smoke, tmp_path, monkeypatch, capsys):
    """Submitted and left; then two sweeps at once find what is queued, and each run is trained once."""
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "--preset", "smoke", "--executor", "slurm", "--poll", "0.2", "--time", "10", "--runs-dir", "there"]
    assert main([*words, "--detach"]) == 0
    assert "0 trained, 0 already there, 0 failed, 9 queued or running elsewhere" in capsys.readouterr().out
    assert main(["status", "there"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("9 queued\n") or " running, " in said.splitlines()[0]
    assert re.search(r"slurm job \d+", said)
    sweeps = [command(*words, folder=tmp_path) for _ in range(2)]
    outcomes = [process.communicate(timeout=1500) for process in sweeps]
    assert [process.returncode for process in sweeps] == [0, 0], outcomes
    assert submitted(tmp_path / "there") == 3, "a job for each family, and none twice"
    assert content(tmp_path / "there") == content(local_smoke), "losses must be bit-identical"
    assert not list((tmp_path / "there").rglob("*.pt")) and not list((tmp_path / "there").rglob("*.queued.json"))
    assert command(*words, folder=tmp_path).communicate(timeout=300)[0].startswith("0 trained, 9 already there, 0 failed")


def test_preempted_timed_out_and_killed_it_loses_nothing(cluster, tmp_path):
    """One family, whose job is preempted by a more urgent one, told that its time is over, and killed; in that order."""
    corpus = embedded_corpus(tmp_path / "corpus", tokens=160_000, weights=MIXTURE)
    grid = replace(find_study("smoke"), widths=(16,), budgets=(80_000, 160_000), validation_sequences=8).grid(corpus)
    settings = {"corpus": corpus.folder, "entropy": World(0).entropy()}
    undisturbed = sweep(grid, runs_dir=tmp_path / "undisturbed", **settings)
    assert set(undisturbed.finished) == set(grid)
    folder, trunk = tmp_path / "disturbed", next(iter(grid))
    call = InBackground(lambda: sweep(grid, runs_dir=folder, executor="slurm", options=QUICK, checkpoint_seconds=0.0, **settings))
    log = folder / SCRATCH / "slurm"
    wait_for(lambda: checkpoint(folder, trunk) >= 3)
    job = queued.read(folder / SCRATCH / trunk)
    cluster.run("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    wait_for(lambda: cluster.jobs().get(job.id) == "PENDING")
    preempted_at = checkpoint(folder, trunk)
    assert "stopped at" in "".join(path.read_text() for path in log.glob("*.out"))
    wait_for(lambda: cluster.hurry() or checkpoint(folder, trunk) > preempted_at)
    assert queued.read(folder / SCRATCH / trunk) == job, "requeued by Slurm, not submitted again"
    cluster.run("scancel", "--signal=USR2", job.id)         # as Slurm does before a time limit
    wait_for(lambda: cluster.jobs().get(job.id) == "PENDING")
    timed_out_at = checkpoint(folder, trunk)
    assert timed_out_at > preempted_at
    wait_for(lambda: cluster.hurry() or checkpoint(folder, trunk) > timed_out_at)
    assert submitted(folder) == 1
    kill_job(folder)
    wait_for(lambda: (now := queued.read(folder / SCRATCH / trunk)) is None or now.id != job.id)
    summary = call.result()
    assert set(summary.finished) == set(grid) and summary.whole
    assert submitted(folder) == 2, "killed, it is submitted again"
    assert content(folder) == content(tmp_path / "undisturbed"), "losses must be bit-identical"
    assert not list(folder.rglob("*.pt"))


def test_a_job_that_keeps_dying_is_recorded_as_failed(cluster, corpus, tmp_path):
    grid = {run.id: run for run in list(sweeping.grid(corpus).values())[:1]}
    (run,) = grid
    call = InBackground(lambda: sweep(grid, corpus=corpus.folder, runs_dir=tmp_path, executor="slurm", options={**QUICK, "retries": 1}))
    while call.is_alive():
        kill_job(tmp_path)
        time.sleep(0.1)
    failed = call.result().failed
    assert re.match(r"its Slurm job \d+ ended as FAILED, exit code 137:0: .*[Kk]illed.*; submitted 2 times$", failed[run]), failed
    assert records.read(tmp_path / f"{run}.json").status == "failed"
    assert submitted(tmp_path) == 2
    assert not cluster.jobs()


def test_a_cancelled_job_stays_cancelled(cluster, corpus, tmp_path):
    grid = {run.id: run for run in list(sweeping.grid(corpus).values())[:1]}
    (run,) = grid
    options = {**QUICK, "sbatch": ("begin=now+1hour",)}
    call = InBackground(lambda: sweep(grid, corpus=corpus.folder, runs_dir=tmp_path, executor="slurm", options=options))
    wait_for(cluster.jobs)
    cluster.run("scancel", *cluster.jobs())
    assert call.result().lost == {run: "its Slurm job was cancelled"}
    assert submitted(tmp_path) == 1 and not (tmp_path / f"{run}.json").exists()


def test_several_processes_of_a_job_train_one_run(cluster, corpus, tmp_path):
    """With gloo, on one node."""
    grid = {run.id: run for run in list(sweeping.grid(corpus).values())[-1:]}
    (run,) = grid
    summary = sweep(grid, corpus=corpus.folder, runs_dir=tmp_path, executor="slurm", options={**QUICK, "processes": 2})
    assert summary.finished == [run], summary
    assert records.read(tmp_path / f"{run}.json").processes == 2


@pytest.mark.parametrize(("options", "said"), [
    ({"partition": "nowhere"}, "sbatch refuses the jobs: .*invalid partition specified: nowhere"),
    ({"sbatch": ["hurry=yes"]}, "sbatch refuses the jobs: .*unrecognized option '--hurry=yes'"),
    ({"sbatch": ["output=x"]}, "--sbatch output is set by the executor"),
    ({"time": 0}, "--time must be at least 1: got 0"),
    ({"grace": 700}, "--grace must be less than the time limit: got 700 s of 10 minutes"),
    ({"runs_per_gpu": 4}, "--runs-per-gpu is no option of executor 'slurm': it takes --partition, --account"),
])
def test_a_bad_option_is_refused_before_anything_is_submitted(cluster, corpus, tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        sweep(sweeping.grid(corpus), corpus=corpus.folder, runs_dir=tmp_path, executor="slurm", options={**QUICK, **options})
    assert not cluster.jobs() and not list(tmp_path.rglob("*.queued.json"))


def test_options_of_sbatch_reach_the_job(cluster, corpus, tmp_path):
    grid = {run.id: run for run in list(sweeping.grid(corpus).values())[:1]}
    options = {**QUICK, "detach": True, "partition": "urgent", "sbatch": ("begin=now+1hour", "nice=7"), "time": 33}
    assert sweep(grid, corpus=corpus.folder, runs_dir=tmp_path, executor="slurm", options=options).queued == list(grid)
    (job,) = cluster.jobs()
    said = cluster.run("scontrol", "show", "job", "--oneliner", job)
    assert "Partition=urgent" in said and "Nice=7" in said and "TimeLimit=00:33:00" in said and "Requeue=1" in said
    again = replace(next(iter(grid.values())), seed=1)
    other = sweep({**grid, again.id: again}, corpus=corpus.folder, runs_dir=tmp_path, executor="slurm", options=options)
    assert set(other.queued) == {*grid, again.id} and len(cluster.jobs()) == 2, "a later call submits the rest alone"
    assert json.loads((tmp_path / SCRATCH / f"{again.id}.queued.json").read_text())["id"] in cluster.jobs()


def test_chapters_are_jobs_in_their_order(cluster, tmp_path):
    """Two small chapters, the second after the first; and one that fails, whose error comes back."""
    write_chapter(tmp_path, "01_first", "", "import os\nprint(os.environ['SLURM_JOB_ID'])")
    write_chapter(tmp_path, "02_second", "", "import os\nprint(os.environ['SLURM_JOB_ID'])", after=["01_first"])
    write_chapter(tmp_path, "03_bad", "", "raise ValueError('a bad chapter')")
    layout = Layout(root=tmp_path)
    outcomes = execute(layout, "there", {}, jobs=3, echo=lambda line: None, call=caller("slurm", QUICK, tmp_path / "logs"))
    assert [outcome.status for outcome in outcomes] == ["executed", "executed", "failed"], outcomes
    assert "ValueError: a bad chapter" in outcomes[2].reason
    made = [nbformat.read(layout.executed("there") / f"{name}.ipynb", as_version=4) for name in ("01_first", "02_second")]
    first, second = (chapter.cells[-1].outputs[0].text for chapter in made)
    assert 0 < int(first) < int(second)


def test_the_launch_file_of_the_chapter_is_stopped_requeued_and_goes_on(cluster, corpus, tmp_path):
    """As printed, but for the machine: two processes of one node, over gloo."""
    chapter = nbformat.read(ROOT / "notebooks" / "17_full_size.ipynb", as_version=4)
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", "".join(cell.source for cell in chapter.cells), re.DOTALL)
    (tmp_path / "one.sh").write_text(script)
    run = list(sweeping.grid(corpus).values())[-1]
    family = Family(runs=[run], corpus=str(corpus.folder), runs_dir=str(tmp_path / "runs"), checkpoint_seconds=0.0)
    job = cluster.run("sbatch", "--parsable", "--nodes=1", "--ntasks-per-node=2", "--gpus-per-node=0", "--time=20",
                      f"--output={tmp_path}/said.txt",
                      f"--export=ALL,PYTHONPATH={ROOT},PATH={Path(sys.executable).parent}:{os.environ['PATH']},OMP_NUM_THREADS=1",
                      str(tmp_path / "one.sh"), str(family.write(tmp_path / "job.json"))).strip()
    assert job, "sbatch refuses it"
    wait_for(lambda: checkpoint(tmp_path / "runs", run.id) >= 1)
    cluster.run("scancel", "--signal=USR2", job)
    wait_for(lambda: cluster.jobs().get(job) == "PENDING")
    stopped_at = checkpoint(tmp_path / "runs", run.id)
    wait_for(lambda: cluster.hurry() or (tmp_path / "runs" / f"{run.id}.json").exists())   # requeued, it is in no queue for a moment
    wait_for(lambda: not cluster.jobs())
    said = (tmp_path / "said.txt").read_text()
    assert stopped_at >= 1 and f"run {run.id} stopped at" in said and f"run {run.id} finished in 2 processes" in said, said
    assert records.read(tmp_path / "runs" / f"{run.id}.json").status == "finished"


def test_a_job_signs_with_the_key_of_the_machine_that_submits(cluster, tmp_path, monkeypatch):
    """Whatever environment it is started with: the key's file is named in the job itself."""
    monkeypatch.delenv("NMM_KEY_FILE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a state"))
    call = caller("slurm", {**QUICK, "sbatch": ("export=NONE",)}, tmp_path / "logs")
    assert call(os.getenv, "NMM_KEY_FILE") == str(tmp_path / "a state/nmm/checkpoint.key")
