"""A sweep on a Ray cluster of two nodes, one of which is killed: the records of a local sweep, and nothing trained twice."""

import os
import re
import time

import nbformat
import pytest

from nmm.book.execute import execute
from nmm.book.layout import Layout
from nmm.studies import run_study
from nmm.sweep import SCRATCH, pulse, sweep
from nmm.sweep.executors import caller
from tests import sweeping
from tests.book.conftest import write_chapter
from tests.cluster.conftest import InBackground, command
from tests.test_sweep import content

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'nmm[ray]'")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]


@pytest.fixture
def nodes():
    """A cluster of two nodes on this machine, each with a CPU for one run, and with as few processes as it can: Ray gives up on a
    node whose processes take more than 15 s to start, as on a busy machine.
    """
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "include_log_monitor": False}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False, "no_monitor": True})
    second = cluster.add_node(**node)
    yield cluster, second
    cluster.shutdown()


def test_a_node_killed_in_the_middle_costs_nothing(nodes, local_smoke, tmp_path):
    cluster, second = nodes
    runs_dir = tmp_path / "runs"
    call = InBackground(lambda: run_study("smoke", executor="ray", options={"address": cluster.address, "poll": 0.1},
                                          runs_dir=runs_dir, work=tmp_path, checkpoint_seconds=0.0))
    deadline, begun = time.monotonic() + 900, []
    while len(begun) < 2:           # a run in training on each node
        assert call.is_alive() and time.monotonic() < deadline, call.result()
        begun = [path.name.split(".")[0] for path in (runs_dir / SCRATCH).glob("*.pulse.json")]
        time.sleep(0.01)
    written = {path: path.stat().st_mtime_ns for path in runs_dir.glob("*.json")}
    cluster.remove_node(second, allow_graceful=False)
    summary, _ = call.result()
    assert summary.whole and len(summary.finished) == 9, summary
    assert content(runs_dir) == content(local_smoke), "losses must be bit-identical"
    assert all(path.stat().st_mtime_ns == when for path, when in written.items()), "trained twice"
    assert not list(runs_dir.rglob("*.pt"))
    assert not any(pulse.read(runs_dir / SCRATCH / run) for run in begun)


def test_two_submitters_at_once_share_the_work(nodes, local_smoke, tmp_path):
    words = ["sweep", "--preset", "smoke", "--executor", "ray", "--address", nodes[0].address, "--poll", "0.2", "--runs-dir", "there"]
    sweeps = [command(*words, folder=tmp_path) for _ in range(2)]
    written = {}                        # when each record was first there
    while any(process.poll() is None for process in sweeps):
        for path in (tmp_path / "there").glob("*.json"):
            written.setdefault(path, path.stat().st_mtime_ns)
        time.sleep(0.01)
    outcomes = [process.communicate() for process in sweeps]
    assert [process.returncode for process in sweeps] == [0, 0], outcomes
    assert all(path.stat().st_mtime_ns == when for path, when in written.items()), "trained twice"
    assert content(tmp_path / "there") == content(local_smoke), "losses must be bit-identical"
    assert not list((tmp_path / "there").rglob("*.pt"))


def test_what_no_node_has_is_refused_before_anything_is_trained(nodes, corpus, tmp_path):
    cluster, _ = nodes
    for options, said in (({"gpus_per_run": 0.5}, "no node of the Ray cluster has 1 CPUs and 0.5 GPUs"),
                          ({"cpus": 3}, "no node of the Ray cluster has 3 CPUs and 0 GPUs"),
                          ({"gpus_per_run": 1.5}, "--gpus-per-run must be whole, or a share below 1: got 1.5"),
                          ({"partition": "gpu"}, "--partition is no option of executor 'ray': it takes --address, --gpus-per-run")):
        with pytest.raises(ValueError, match=re.escape(said)):
            sweep(sweeping.grid(corpus), corpus=corpus.folder, runs_dir=tmp_path, executor="ray",
                  options={"address": cluster.address, **options})
    assert not list((tmp_path / SCRATCH).glob("*.pulse.json")) and not list(tmp_path.glob("*.json"))


def test_a_task_signs_with_the_key_of_the_machine_that_calls(nodes, tmp_path, monkeypatch):
    """The nodes were started before, in another environment."""
    monkeypatch.setenv("NMM_KEY_FILE", str(tmp_path / "key"))
    call = caller("ray", {"address": nodes[0].address}, tmp_path)
    try:
        assert call(os.getenv, "NMM_KEY_FILE") == str(tmp_path / "key")
    finally:
        ray.shutdown()


def test_chapters_are_tasks(nodes, tmp_path):
    """Two small chapters, the second after the first, and one that fails, whose error comes back."""
    cluster, _ = nodes
    raylet = "import os\nprint(os.environ['RAY_RAYLET_PID'])"      # workers of Ray have it, and so their kernels
    write_chapter(tmp_path, "01_first", "", raylet)
    write_chapter(tmp_path, "02_second", "", raylet, after=["01_first"])
    write_chapter(tmp_path, "03_bad", "", "raise ValueError('a bad chapter')")
    layout = Layout(root=tmp_path)
    try:
        outcomes = execute(layout, "there", {}, jobs=3, echo=lambda line: None,
                           call=caller("ray", {"address": cluster.address}, tmp_path / "logs"))
    finally:
        ray.shutdown()
    assert [outcome.status for outcome in outcomes] == ["executed", "executed", "failed"], outcomes
    assert "ValueError: a bad chapter" in outcomes[2].reason
    for name in ("01_first", "02_second"):
        assert int(nbformat.read(layout.executed("there") / f"{name}.ipynb", as_version=4).cells[-1].outputs[0].text) > 0
