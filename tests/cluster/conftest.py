"""The clusters that these tests start themselves; each is missing with a message where its software is."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nmm.studies import run_study
from tests.cluster import slurm

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory):
    """A Slurm cluster on loopback, found by every command of Slurm that this process starts."""
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'nmm[slurm]'")
    if why := slurm.missing():
        pytest.skip(why)
    cluster = slurm.Cluster(tmp_path_factory.mktemp("slurm"))
    before = {name: os.environ.get(name) for name in cluster.env}
    os.environ.update(cluster.env)
    yield cluster
    cluster.clear()
    cluster.stop()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="session")
def local_smoke(tmp_path_factory):
    """The records of the smoke study as a local sweep writes them."""
    folder = tmp_path_factory.mktemp("local")
    summary, runs_dir = run_study("smoke", work=folder)
    assert len(summary.finished) == 9 and summary.whole, summary
    return runs_dir


@pytest.fixture
def cluster(slurm_cluster):
    """The same with an empty queue."""
    slurm_cluster.clear()
    return slurm_cluster


def command(*words: str, folder: Path) -> subprocess.Popen:
    """`python -m nmm` of this checkout, called in a folder."""
    return subprocess.Popen([sys.executable, "-m", "nmm", *words], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class InBackground(threading.Thread):
    """A call in a thread of its own; `result()` waits for what it returns, or raises what it raised."""

    def __init__(self, call) -> None:
        super().__init__(daemon=True)
        self._call, self._found, self._error = call, None, None
        self.start()

    def run(self) -> None:
        try:
            self._found = self._call()
        except BaseException as error:      # raised again where the result is asked for
            self._error = error

    def result(self, timeout: float = 1500):
        self.join(timeout)
        assert not self.is_alive(), f"it has not ended after {timeout} s"
        if self._error is not None:
            raise self._error
        return self._found
