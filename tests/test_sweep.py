"""Many runs: killed at any moment they end as if undisturbed; nothing is trained twice; what fails is named.

Importing Composer takes a worker 12 s of CPU, so the tests that train share as few workers as they can.
"""

import fcntl
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nmm import record as records
from nmm import runs
from nmm.cli import main
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.files import set_aside
from nmm.data.generated.world import CONTEXT
from nmm.record import RunRecord
from nmm.studies import MIXTURE
from nmm.sweep import SCRATCH, sweep
from tests import sweeping

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.timeout(900)       # a worker takes 12 s of CPU to start, on a busy machine much longer


@pytest.fixture(scope="module")
def grid(corpus):
    return sweeping.grid(corpus)


@pytest.fixture(scope="module")
def undisturbed(corpus, grid, tmp_path_factory) -> Path:
    """The records of a sweep that two processes shared, and that nobody killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    sweeps = [start(corpus, folder) for _ in range(2)]
    outcomes = [json.loads(process.communicate(timeout=500)[0].splitlines()[-1]) for process in sweeps]
    trained = [set(outcome["finished"]) for outcome in outcomes]
    assert trained[0] | trained[1] == set(grid), "together they train all"
    assert not trained[0] & trained[1], "and none of them twice"
    assert [outcome["failed"] for outcome in outcomes] == [{}, {}]
    return folder


def start(corpus, folder) -> subprocess.Popen:
    """The sweep as a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sweeping", str(corpus.folder), str(folder)], cwd=ROOT, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def content(folder: Path) -> dict[str, RunRecord]:
    """Records without the times they took and without the way they came about."""
    return {
        path.stem: replace(records.read(path), wall_seconds=None, tokens_per_second=None, branched_at=None)
        for path in records.paths(folder)
    }


def checkpoint(folder: Path, run: str) -> int:
    """Steps in the latest checkpoint of a run; 0 without one."""
    try:
        return int(os.readlink(folder / SCRATCH / run / "latest-rank0.pt").split("ba")[1].split("-")[0])
    except FileNotFoundError:
        return 0


def steps_done(folder: Path, grid) -> int:
    """Steps of finished runs and in checkpoints."""
    finished = {path.stem for path in folder.glob("*.json")}
    return sum(config.tokens // config.data.batch_tokens if run in finished else checkpoint(folder, run) for run, config in grid.items())


def kill(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_killed_at_five_moments_it_ends_as_if_undisturbed(undisturbed, corpus, grid, tmp_path):
    """One kill while it starts, three at random steps, one in the instant a record is written."""
    rng = random.Random(20250410)
    total = sum(config.tokens // config.data.batch_tokens for config in grid.values())
    steps = sorted(rng.sample(range(5, total - 5), 3))
    pause = rng.uniform(0.2, 8)
    moments = [lambda began: time.monotonic() - began > pause]
    moments += [lambda began, step=step: steps_done(tmp_path, grid) >= step for step in steps[:2]]
    moments += [lambda began: any(tmp_path.glob("*.partial")) or len(list(tmp_path.glob("*.json"))) > len(written)]
    moments += [lambda began: steps_done(tmp_path, grid) >= steps[2] and any(tmp_path.glob("*.json"))]
    written: dict[str, int] = {}        # when each record was written
    furthest = dict.fromkeys(grid, 0)
    resumed = 0
    for moment in moments:
        process, began = start(corpus, tmp_path), time.monotonic()
        while not moment(began):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.001)
        kill(process)
        for path in records.paths(tmp_path):
            records.read(path)         # whole, whatever happened
            assert written.setdefault(path.stem, path.stat().st_mtime_ns) == path.stat().st_mtime_ns, "trained twice"
        for run in set(grid) - set(written):
            now = checkpoint(tmp_path, run)
            resumed += now > furthest[run] > 0
            assert now >= furthest[run] - 1, "work was lost"
            furthest[run] = max(furthest[run], now)
    process = start(corpus, tmp_path)
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    outcome = json.loads(out.splitlines()[-1])
    assert set(outcome["skipped"]) == set(written)
    assert set(outcome["finished"]) == set(grid) - set(written)
    assert written, "no kill came after a record"
    assert max(furthest.values()) > 0, "no kill came within a run"
    for run, at in written.items():
        assert (tmp_path / f"{run}.json").stat().st_mtime_ns == at, "trained twice"
    assert content(tmp_path) == content(undisturbed), "losses must be bit-identical"
    left = [path.name for path in tmp_path.rglob("*") if path.suffix in (".pt", ".partial")]
    assert not left, "leftovers of a kill"


@pytest.fixture
def finished(undisturbed, tmp_path) -> Path:
    """A folder with all records."""
    for path in records.paths(undisturbed):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_finished_sweep_trains_nothing(finished, corpus, grid):
    stale = finished / SCRATCH / next(iter(grid))
    stale.mkdir(parents=True)
    (stale / "ba1-rank0.pt").write_bytes(b"of a run killed after its record was written")
    before = {path: path.stat().st_mtime_ns for path in records.paths(finished)}
    outcome = sweeping.run(corpus.folder, finished)
    assert outcome.skipped == list(grid)
    assert not outcome.finished
    assert not outcome.failed
    assert {path: path.stat().st_mtime_ns for path in records.paths(finished)} == before
    assert not stale.exists()
    assert str(outcome).startswith("0 trained, 4 already there, 0 failed")


def test_what_is_not_finished_is_trained_and_all_else_named(finished, undisturbed, corpus, grid, capfd):
    """In one sweep: a damaged record, one that failed earlier, one in other hands, one finished, one that diverges."""
    damaged, earlier, elsewhere, done = grid
    path = finished / f"{damaged}.json"
    path.write_bytes(path.read_bytes()[:700])
    records.write(RunRecord(config=grid[earlier], status="failed", reason="an earlier bug"), finished)
    (finished / f"{elsewhere}.json").unlink()
    (finished / f"{damaged}.123.partial").write_text("of a writer that was killed")
    absurd = replace(grid[done], optim=replace(grid[done].optim, lr=1e30, warmup_tokens=0))
    (finished / SCRATCH).mkdir()
    with (finished / SCRATCH / f"{elsewhere}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outcome = sweep({absurd.id: absurd, **grid}, corpus=corpus.folder, runs_dir=finished, jobs=1,
                        entropy=records.read(undisturbed / f"{done}.json").entropy, retry_failed=True)
    assert outcome.finished == [damaged, earlier]
    assert outcome.skipped == [done]
    assert outcome.busy == [elsewhere]
    assert outcome.aside == {damaged: f"{path}.corrupt"}
    assert Path(outcome.aside[damaged]).stat().st_size == 700
    assert not list(finished.glob("*.partial"))
    assert list(outcome.failed) == [absurd.id]
    assert "the training loss became" in outcome.failed[absurd.id]
    assert records.read(finished / f"{absurd.id}.json").reason == outcome.failed[absurd.id]
    now = content(finished)
    for run in (damaged, earlier, done):
        assert now[run] == content(undisturbed)[run]
    said = str(outcome)
    assert said.startswith("2 trained, 1 already there, 1 failed, 1 in the hands of another sweep in ")
    assert f"run {absurd.id} failed: the training loss became" in said
    assert f"run {damaged}: a corrupt record was set aside as {path}.corrupt" in said
    assert "5/5" not in capfd.readouterr().err, "progress goes to stdout"


def test_branches_of_a_trunk_are_the_runs_trained_alone(undisturbed, corpus, grid, tmp_path):
    """The four budgets are one family: bit-identical losses and curves, and the tokens that were saved are told."""
    alone = sweeping.run(corpus.folder, tmp_path / "alone", branch=False)
    together = sweeping.run(corpus.folder, tmp_path / "together")
    assert set(alone.finished) == set(together.finished) == set(grid)
    assert content(tmp_path / "alone") == content(tmp_path / "together") == content(undisturbed)
    kept = {config.tokens: records.read(tmp_path / "together" / f"{run}.json") for run, config in grid.items()}
    trunk = kept.pop(max(kept))
    assert trunk.branched_at is None
    for tokens, record in kept.items():
        assert 0.8 * tokens < record.branched_at <= 0.8 * tokens + 4 * CONTEXT
    assert together.tokens == trunk.D + sum(record.D - record.branched_at for record in kept.values())
    assert together.tokens_alone == alone.tokens == alone.tokens_alone == trunk.D + sum(record.D for record in kept.values())
    assert f"saved {1 - together.tokens / alone.tokens:.0%} of 0.1M tokens" in str(together)
    assert "saved" not in str(alone)
    assert not list((tmp_path / "together").rglob("*.pt"))


def test_a_budget_added_later_is_trained_alone(finished, corpus, grid):
    """Its trunk's checkpoints are gone."""
    shortest = min(grid, key=lambda run: grid[run].tokens)
    before = records.read(finished / f"{shortest}.json")
    (finished / f"{shortest}.json").unlink()
    assert sweeping.run(corpus.folder, finished).finished == [shortest]
    record = records.read(finished / f"{shortest}.json")
    assert record.branched_at is None
    assert record.losses == before.losses


def test_a_failed_run_is_kept_unless_asked(finished, corpus, grid):
    failed = next(iter(grid))
    path = records.write(RunRecord(config=grid[failed], status="failed", reason="it broke"), finished)
    before = path.read_bytes()
    outcome = sweeping.run(corpus.folder, finished)
    assert list(outcome.failed) == [failed]
    assert outcome.failed[failed] == "it broke (recorded earlier; --retry-failed trains it again)"
    assert path.read_bytes() == before


def test_a_worker_that_dies_while_it_starts_is_an_error_that_says_how(corpus, tmp_path):
    def shoot() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        time.sleep(0.5)
        os.kill(children[0].pid, signal.SIGKILL)

    threading.Thread(target=shoot).start()
    with pytest.raises(OSError, match="a training process ended killed by SIGKILL while it started.*the same command goes on from there"):
        sweeping.run(corpus.folder, tmp_path)
    assert not multiprocessing.active_children()


def test_a_run_cannot_take_the_sweep_with_it(corpus, grid, tmp_path):
    """The process of one run is killed, another run meets an exception: each is named, and the rest is trained."""
    grid = {run: config for run, config in grid.items() if config.tokens in (10_000, 20_000)}
    trunk = next(iter(grid))
    others = {config.id: config for config in (replace(config, seed=1) for config in grid.values())}
    unreadable = tmp_path / SCRATCH / next(iter(others))
    unreadable.mkdir(parents=True)
    torch_file = unreadable / "ba3-rank0.pt"        # a zip, as checkpoints are, but without any of their content
    with zipfile.ZipFile(torch_file, "w") as file:
        file.writestr("archive/data.pkl", b"")
    (unreadable / "latest-rank0.pt").symlink_to(torch_file.name)

    def shoot() -> None:
        while not checkpoint(tmp_path, trunk):
            time.sleep(0.01)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    thread = threading.Thread(target=shoot)
    thread.start()
    summary = sweep({**grid, **others}, corpus=corpus.folder, runs_dir=tmp_path, jobs=1, checkpoint_seconds=0.0)
    thread.join()
    broken = next(iter(others))
    assert summary.lost[trunk] == "its process ended killed by SIGKILL"
    assert set(summary.lost) == set(grid) and not summary.whole
    assert f"run {trunk} was lost: its process ended killed by SIGKILL; the same command goes on from there" in str(summary)
    assert "memory" not in str(summary)
    assert list(summary.failed) == [broken]
    assert set(summary.finished) == set(others) - {broken}
    trace = tmp_path / SCRATCH / f"{broken}.traceback.txt"
    assert "Traceback (most recent call last)" in trace.read_text()
    assert f"(traceback: {trace})" in summary.failed[broken]
    again = sweep({**grid, **others}, corpus=corpus.folder, runs_dir=tmp_path, jobs=1, checkpoint_seconds=0.0)
    assert set(again.finished) >= set(grid), "a lost run goes on from its checkpoint"


def test_nothing_is_renamed_before_all_is_looked_at(finished, corpus, grid):
    """A folder in a record's place, and a record of a later version, are refused by name; corrupt ones stay where they are."""
    one, two, *_ = grid
    path = finished / f"{one}.json"
    path.write_text("{")
    plain = json.loads((finished / f"{two}.json").read_text())
    (finished / f"{two}.json").write_text(json.dumps({**plain, "schema": 99}))
    with pytest.raises(ValueError, match=f"{two}.json is a run record of schema 99, and this version of nmm reads up to"):
        sweeping.run(corpus.folder, finished)
    (finished / f"{two}.json").unlink()
    (finished / f"{two}.json").mkdir()
    with pytest.raises(ValueError, match=f"{two}.json is a folder, where a record would go"):
        sweeping.run(corpus.folder, finished)
    assert path.read_text() == "{" and not list(finished.glob("*.corrupt*"))


def test_names_of_what_is_set_aside_never_collide(tmp_path):
    places = []
    for text in ("one", "two", "three"):
        (tmp_path / "x.json").write_text(text)
        places.append(set_aside(tmp_path / "x.json", "corrupt"))
    assert [place.name for place in places] == ["x.json.corrupt", "x.json.corrupt-2", "x.json.corrupt-3"]
    assert [place.read_text() for place in places] == ["one", "two", "three"]


def test_an_unknown_executor(corpus, grid, tmp_path):
    with pytest.raises(ValueError, match="unknown executor 'lsf': known are local"):
        sweep(grid, corpus=corpus.folder, runs_dir=tmp_path / "runs", executor="lsf")


def test_a_worker_does_not_outlive_a_killed_parent(corpus, tmp_path):
    process = start(corpus, tmp_path)
    while not (tmp_path / SCRATCH).exists() and not children(process.pid):
        time.sleep(0.05)
    time.sleep(1.0)
    worker = children(process.pid)
    assert worker
    os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    alive = [pid for pid in worker if Path(f"/proc/{pid}").exists()]
    process.communicate()
    assert not alive


def children(pid: int) -> list[int]:
    """Processes started by a process."""
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*") for child in (task / "children").read_text().split()]


def test_ctrl_c_is_one_line(tmp_path):
    """At the command line, while workers start."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nmm", "sweep", "--preset", "smoke", "--runs-dir", str(tmp_path / "runs")], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    while len(children(process.pid)) < 3:       # two workers, and multiprocessing's resource tracker
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert err == "nmm sweep: stopped; what is finished is kept, the same command goes on from there\n"
    assert process.returncode == 130


@pytest.mark.parametrize("jobs", [0, -1])
def test_no_workers_is_refused(corpus, grid, tmp_path, jobs):
    with pytest.raises(ValueError, match=f"jobs must be at least 1: got {jobs}"):
        sweep(grid, corpus=corpus.folder, runs_dir=tmp_path, jobs=jobs)


def test_what_would_fail_in_the_last_run_is_refused_before_the_first(corpus, grid, tmp_path):
    config = next(iter(grid.values()))
    large = replace(config, tokens=10**7)
    with pytest.raises(ValueError, match="max_epochs"):
        sweep({**grid, large.id: large}, corpus=corpus.folder, runs_dir=tmp_path / "runs")
    foreign = replace(config, data=replace(config.data, corpus_id="f" * 16))
    with pytest.raises(ValueError, match=f"corpus {'f' * 16}, but {corpus.folder} is {corpus.hash}"):
        sweep({**grid, foreign.id: foreign}, corpus=corpus.folder, runs_dir=tmp_path / "runs")
    with pytest.raises(ValueError, match="is not a prepared corpus"):
        sweep(grid, corpus=tmp_path, runs_dir=tmp_path / "runs")
    assert not list((tmp_path / "runs").iterdir())


def test_a_folder_that_cannot_be_made(corpus, grid, tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OSError, match=str(tmp_path / "runs")):
        sweep(grid, corpus=corpus.folder, runs_dir=tmp_path / "runs")


@pytest.mark.parametrize(("arguments", "said"), [
    (["--preset", "huge"], "unknown preset 'huge': known are laptop, seeds, smoke"),
    (["--data", "nowhere"], "no data folder nowhere: give a folder with"),
    (["--preset", "smoke", "--jobs", "0"], "jobs must be at least 1: got 0"),
])
def test_bad_input_at_the_command_line_is_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"nmm sweep: {said}")
    assert err.count("\n") == 1


def test_outcome_counts(corpus, tmp_path):
    """A sweep over nothing says so, and leaves a folder to read."""
    outcome = sweep({}, corpus=corpus.folder, runs_dir=tmp_path / "new")
    assert asdict(outcome) | {"seconds": 0} == {
        "finished": [], "skipped": [], "failed": {}, "lost": {}, "aside": {}, "busy": [], "queued": [],
        "seconds": 0, "tokens": 0, "tokens_alone": 0, "startup_share": 0.0,
    }
    assert runs.load(tmp_path / "new").empty


def test_an_unfinished_corpus_is_refused(grid, tmp_path):
    other = embedded_corpus(tmp_path / "other", tokens=2_000, weights=MIXTURE)
    (other.folder / "corpus.json").unlink()
    with pytest.raises(ValueError, match="corpus.json"):
        sweep(grid, corpus=other.folder, runs_dir=tmp_path / "runs")
