"""`python -m nmm status`: read while a sweep trains, after it was killed, and after it has ended."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from nmm import record as records
from nmm.cli import main
from nmm.sweep import SCRATCH, Family, pulse
from nmm.sweep.pulse import Pulse, Sign
from nmm.sweep.status import counts, duration, status
from tests import sweeping

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def grid(corpus):
    return sweeping.grid(corpus)


@pytest.mark.timeout(600)
def test_a_sweep_is_followed_while_it_trains_and_after_a_kill(corpus, grid, tmp_path, monkeypatch, capsys):
    process = subprocess.Popen([sys.executable, "-m", "tests.sweeping", str(corpus.folder), str(tmp_path)], cwd=ROOT,
                               start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen: list[dict[str, int]] = [{}]
    while not seen[-1].get("running"):
        assert process.poll() is None
        time.sleep(0.02)
        if seen[-1] != (now := counts(status(tmp_path))):
            seen.append(now)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert {"queued": 4} in seen, "before the first has begun"
    assert seen[-1] == {"running": 1, "queued": 3}
    (running,) = [one for one in status(tmp_path) if one.state == "running"]
    assert running.config == grid[running.run] and running.where.endswith(str(process_of(running)))
    monkeypatch.setattr(pulse, "SILENT", 0.0)
    assert main(["status", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1 stopped, 3 queued"
    assert said[1].startswith(f"stopped  {running.run} early fusion, d16, 45-45-10, 20k tokens, seed 0; 0 tokens (0%); on ")
    assert "silent for" in said[1]
    assert said[2:] == ["queued   3 of early fusion, d16, 45-45-10"]
    assert not list(tmp_path.glob("*.json")), "asking writes nothing"


def process_of(running) -> int:
    return int(running.where.split()[-1])


def test_what_has_ended_is_told_with_its_reason(corpus, grid, tmp_path, capsys):
    finished, failed, damaged, queued = grid.values()
    Family(runs=list(grid.values()), corpus=str(corpus.folder), runs_dir=str(tmp_path)).write(tmp_path / SCRATCH / "x.family.json")
    tokens = {"text": 9_000, "image": 9_000, "padding": 0, "target": 5_000}
    records.write(records.RunRecord(config=finished, status="finished", losses={"text": 3.0}, tokens=tokens), tmp_path)
    records.write(records.RunRecord(config=failed, status="failed", reason="the training loss became nan"), tmp_path)
    (tmp_path / f"{damaged.id}.json").write_text("{")
    assert main(["status", str(tmp_path), "--json"]) == 0
    rows = {row["run"]: row for row in json.loads(capsys.readouterr().out)}
    assert {run: row["state"] for run, row in rows.items()} == {
        finished.id: "finished", failed.id: "failed", damaged.id: "damaged", queued.id: "queued"}
    assert rows[finished.id]["tokens"] == 18_000 and rows[finished.id]["budget"] == finished.tokens
    assert rows[failed.id]["reason"] == "the training loss became nan"
    assert "is no valid run record" in rows[damaged.id]["reason"]
    assert main(["status", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("1 finished, 1 queued, 1 failed, 1 damaged\n")
    assert f"failed   {failed.id} early fusion, d16, 45-45-10, 16k tokens, seed 0: the training loss became nan" in said


def test_a_run_counts_its_tokens_and_knows_when_it_will_end(run, tmp_path):
    with Pulse(run, tmp_path / run.id) as mine:
        assert pulse.read(tmp_path / run.id).alive
        mine.count(1_000)
        mine.count(500)
        mine._give()
        sign = pulse.read(tmp_path / run.id)
        assert (sign.tokens, sign.first_tokens, sign.total) == (1_500, 1_000, 10_000)
    assert pulse.read(tmp_path / run.id) is None, "gone at the end"
    now = time.time()
    sign = Sign(tokens=6_000, first_tokens=2_000, first=now - 100, reported=now, at=now, total=10_000, where="here", job="")
    assert sign.eta == pytest.approx(100, abs=1)
    assert replace(sign, first_tokens=0).eta is None and replace(sign, tokens=2_000).eta is None
    assert not replace(sign, at=now - 100).alive
    (tmp_path / run.id).mkdir()
    (tmp_path / run.id / "trunk-ba9-rank0.pt").touch()
    with Pulse(run, tmp_path / run.id):
        assert pulse.read(tmp_path / run.id).tokens == 8_000, "a branch begins where its cooldown does"


def test_times_in_words():
    assert [duration(seconds) for seconds in (0, 59.6, 312, 7_260, 180_000)] == ["0 s", "1 min 0 s", "5 min 12 s", "2 h 1 min", "2 d 2 h"]


def test_a_folder_that_is_not_there_is_one_line(tmp_path, capsys):
    assert main(["status", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == (
        f"nmm status: no runs folder {tmp_path / 'nowhere'}: run `python -m nmm sweep`, or give the folder of your records\n")
    assert main(["status", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no runs in {tmp_path}\n"
