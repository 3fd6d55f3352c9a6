"""Executors by name, their options, and which GPU each process of this machine has; no cluster, nothing is trained."""

import argparse
import re
import time
from pathlib import Path

import pytest

from nmm.cli import main
from nmm.sweep import EXECUTORS
from nmm.sweep.executors import make, options
from nmm.sweep.executors.pool import Pool, _Worker, gpus


@pytest.mark.parametrize(("visible", "jobs", "runs_per_gpu", "places"), [
    ("", None, 0, ["", ""]),
    ("", 3, 0, ["", "", ""]),
    ("0,1", None, 0, ["0", "1"]),
    ("0,1", 3, 0, ["0", "1", "0"]),
    ("0,1", None, 2, ["0", "1", "0", "1"]),
    ("0,1", 3, 2, ["0", "1", "0"]),
    ("0,1", 9, 2, ["0", "1", "0", "1"]),
    ("GPU-a, GPU-b", 1, 4, ["GPU-a"]),
])
def test_every_process_has_a_gpu(monkeypatch, visible, jobs, runs_per_gpu, places):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert Pool(jobs, runs_per_gpu=runs_per_gpu).places == places


def environment(pid: int) -> list[bytes]:
    """Of a process, once it has one."""
    path, deadline = Path(f"/proc/{pid}/environ"), time.monotonic() + 30
    while not (found := path.read_bytes()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found.split(b"\0")


def test_a_process_sees_its_gpu_alone(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    workers = [_Worker(gpu) for gpu in Pool(runs_per_gpu=2).places[1:3]]
    try:
        seen = [environment(worker.process.pid) for worker in workers]
        shown = [[word for word in words if word.startswith(b"CUDA_VISIBLE")] for words in seen]
        assert shown == [[b"CUDA_VISIBLE_DEVICES=1"], [b"CUDA_VISIBLE_DEVICES=0"]]
        assert gpus() == ["0", "1"], "this process sees what it saw"
    finally:
        for worker in workers:
            worker.process.kill()
            worker.end()


def test_a_machine_without_gpus_shares_none(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="--runs-per-gpu: this machine shows no GPU"):
        make("local", None, {"runs_per_gpu": 4})
    with pytest.raises(ValueError, match="--runs-per-gpu must be at least 1: got -1"):
        Pool(runs_per_gpu=-1)


def test_gpus_are_those_that_the_driver_names(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == []
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 0\necho 1\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert gpus() == ["0", "1"]


def test_options_are_those_of_the_executors():
    parser = argparse.ArgumentParser()
    options.add_options(parser, EXECUTORS)
    args = parser.parse_args(["--partition", "gpu", "--gpus", "8", "--sbatch", "qos=low", "--sbatch", "exclusive", "--detach"])
    assert options.given(args, EXECUTORS) == {"partition": "gpu", "gpus": 8, "sbatch": ["qos=low", "exclusive"], "detach": True}
    assert options.given(parser.parse_args([]), EXECUTORS) == {}
    assert options.parse("--gpus-per-run 0.25 --retries 5", EXECUTORS) == {"gpus_per_run": 0.25, "retries": 5}
    assert options.parse("", EXECUTORS) == {}
    for words, said in (("--gpus eight", "invalid int value: 'eight'"), ("--gpu 8", "unknown '--gpu'; known are --runs-per-gpu"),
                        ("--partition", "expected one argument")):
        with pytest.raises(ValueError, match=f"executor options {re.escape(repr(words))}: .*{re.escape(said)}"):
            options.parse(words, EXECUTORS)


def test_an_option_of_another_executor_is_refused(capsys, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="--partition is no option of executor 'local': it takes --runs-per-gpu"):
        make("local", None, {"partition": "gpu"})
    with pytest.raises(ValueError, match="unknown executor 'lsf': known are local, slurm, ray"):
        make("lsf")
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "--preset", "smoke", "--gpus", "1"]) == 2
    assert "nmm sweep: --gpus is no option of executor 'local'" in capsys.readouterr().err
