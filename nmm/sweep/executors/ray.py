"""Families as tasks of a Ray cluster; the extra [ray] has it. Ray places them, also several to a GPU, and tries them again when a
worker or a node is lost.
"""

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from nmm.sweep.executors.options import option
from nmm.sweep.executors.worker import elsewhere, load
from nmm.sweep.job import Report, own_tokens, read_family, train_family
from nmm.sweep.watch import Watch

_CONNECTING = threading.Lock()      # of the threads of one process, which share its connection


@dataclass(frozen=True)
class Ray:
    """Each family a task; `jobs` of them at a time, None: as many as the cluster has room for."""

    jobs: int | None = None
    _: KW_ONLY
    address: str = option("", "HOST:PORT of a running cluster, or auto; default: a cluster of this machine alone")
    gpus_per_run: float = option(0.0, "GPUs of a run: 0.25 lets four share one (their memory is not divided: they must fit together), "
                                      "2 and more train it in as many processes of one node")
    cpus: int = option(1, "CPUs of each process, for loading data")
    retries: int = option(2, "how often a run is tried again whose job or machine died")
    poll: float = option(10.0, "between two looks at the queue [s]")

    def __post_init__(self) -> None:
        for name, least in {"gpus_per_run": 0, "cpus": 1, "retries": 0, "poll": 0.01}.items():
            if not getattr(self, name) >= least:
                raise ValueError(f"--{name.replace('_', '-')} must be at least {least}: got {getattr(self, name)}")
        if self.gpus_per_run > 1 and self.gpus_per_run % 1:
            raise ValueError(f"--gpus-per-run must be whole, or a share below 1: got {self.gpus_per_run}")

    def train(self, families: Sequence[Path]) -> Iterator[Report]:
        """Hand the families to Ray, and tell what becomes of them.

        Raises:
            ValueError: as `train_family`; no node has what a run asks for.
            OSError: as `train_family`; Ray is not installed, or there is no cluster at the address.
        """
        ray = self._connect()
        try:
            yield from self._train(ray, families)
        finally:
            ray.shutdown()

    def _train(self, ray: Any, families: Sequence[Path]) -> Iterator[Report]:
        processes = max(1, int(self.gpus_per_run))
        asked = {"CPU": self.cpus * processes, "GPU": self.gpus_per_run}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in nodes):
            raise ValueError(f"no node of the Ray cluster has {asked['CPU']} CPUs and {asked['GPU']:g} GPUs: ask for less, or add a node")
        task = ray.remote(num_cpus=asked["CPU"], num_gpus=asked["GPU"], max_retries=self.retries)(_work)
        known = {path: read_family(path) for path in families}
        watch = Watch([(run, own_tokens(run, family.runs)) for family in known.values() for run in family.runs],
                      Path(next(iter(known.values())).runs_dir))
        waiting, running = deque(families), {}
        while waiting or running:
            while waiting and (self.jobs is None or len(running) < self.jobs):
                path = waiting.popleft()
                running[task.remote(str(path), os.getcwd(), processes, elsewhere())] = path
            done, _ = ray.wait(list(running), timeout=self.poll)
            yield from watch.look()
            for job in done:
                path = running.pop(job)
                try:
                    ends = ray.get(job)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause if isinstance(error.cause, ValueError | OSError) else error
                except ray.exceptions.RayError as error:
                    reason = f"its worker died, and {self.retries} times again: {' '.join(str(error).split('.')[0].split())}"
                    ends = [Report("lost", run.id, reason) for run in known[path].runs]
                for said in ends:
                    if watch.left.pop(said.run, None):
                        yield said

    def call(self, function: Callable[..., Any], *args: Any, logs: Path) -> Any:
        """What a function returns in a task of its own; it must be one of a module that the machines have.

        Args:
            logs: not needed: Ray keeps its own.
        Raises:
            OSError: Ray is not installed, there is no cluster, or the task's worker died, and those of its retries.
            Exception: what the function raised.
        """
        with _CONNECTING:
            ray = self._connect(again=True)
        task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus_per_run, max_retries=self.retries)(_call)
        try:
            return ray.get(task.remote(os.getcwd(), elsewhere(), function, args))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise OSError(f"a task of Ray ended: {str(error).splitlines()[0]}") from error

    def _connect(self, again: bool = False) -> Any:
        """Ray, connected to its cluster; `again`: by this executor before, perhaps."""
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")    # a run that asks for no GPU sees what its node shows it
        try:
            import ray
        except ImportError as error:
            raise OSError("executor 'ray' needs Ray, and it is not installed: pip install 'nmm[ray]'") from error
        if again and ray.is_initialized():
            return ray
        if ray.is_initialized():
            raise ValueError("this process is connected to a Ray cluster already: disconnect it (ray.shutdown()), and give --address")
        own = {} if self.address else {"include_dashboard": False}
        try:
            ray.init(address=self.address or "local", log_to_driver=False, logging_level="ERROR", **own)
        except Exception as error:      # Ray raises plain ones where its daemons do not come up
            raise OSError(f"no Ray cluster at {self.address or 'this machine'}: {str(error).splitlines()[0]}") from error
        return ray


def _call(folder: str, environment: Mapping[str, str], function: Callable[..., Any], args: Sequence[Any]) -> Any:
    """What a task does: calls a function from the folder from which the command was called."""
    os.chdir(folder)
    os.environ.update(environment)
    return function(*args)


def _work(path: str, folder: str, processes: int, environment: Mapping[str, str]) -> list[Report]:
    """What a task does, in a worker of Ray: trains one family; the ends of its runs.

    Args:
        folder: from where the sweep was called: paths are relative to it.
        processes: that train each run.
        environment: Ray's workers have that of their machine, not that of the command.
    """
    os.chdir(folder)
    os.environ.update(environment)
    if processes > 1:
        subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
                        "-m", "nmm.sweep.launch", path], check=False)       # its records tell how it ended
        return []
    family = read_family(path)
    load()
    ends: list[Report] = []
    train_family(family, lambda said: ends.append(said) if said.kind not in ("begun", "progress") else None)
    return ends
