"""Families trained by processes of this machine, each of which imports Composer once and trains many runs."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from nmm.sweep.executors.options import option
from nmm.sweep.executors.worker import load, one_thread
from nmm.sweep.job import Report, read_family, train_family

CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Pool:
    """So many processes, each with one CPU thread and one family at a time. One that dies is told of, and another takes its place.

    `jobs` processes; None: two, or on a machine with GPUs `runs_per_gpu` for each of them.
    """

    jobs: int | None = None
    _: KW_ONLY
    runs_per_gpu: int = option(0, "runs that share each GPU of this machine; default: one each (their memory is not divided: "
                                  "they must fit together)")

    def __post_init__(self) -> None:
        if self.runs_per_gpu < 0:
            raise ValueError(f"--runs-per-gpu must be at least 1: got {self.runs_per_gpu}")
        if self.runs_per_gpu and not gpus():
            raise ValueError("--runs-per-gpu: this machine shows no GPU (nvidia-smi, CUDA_VISIBLE_DEVICES): "
                             "leave it out to train on the CPU")

    @property
    def places(self) -> list[str]:
        """The GPU of each process; empty: none of its own."""
        found = gpus()
        if self.runs_per_gpu or (found and self.jobs is None):
            return (found * max(1, self.runs_per_gpu))[:self.jobs]
        return ((found or [""]) * (self.jobs or 2))[:self.jobs or 2]

    def train(self, families: Sequence[Path]) -> Iterator[Report]:
        """Train families.

        Raises:
            ValueError, OSError: as `train_family`.
            ChildProcessError: a process died before it was given anything.
        """
        waiting, oom_kills = deque(families), _oom_kills()
        workers = [_Worker(gpu) for gpu in self.places[:len(families)]]
        try:
            while workers:
                for pipe in wait([worker.pipe for worker in workers], timeout=1.0):
                    worker = next(worker for worker in workers if worker.pipe is pipe)
                    try:
                        said = pipe.recv()
                    except EOFError:
                        workers.remove(worker)
                        if how := worker.end():
                            how += " (the system was out of memory)" if _oom_kills() > oom_kills else ""
                            if not worker.ready:
                                raise ChildProcessError(
                                    f"a training process ended {how} while it started. Finished runs are kept: the same command goes on "
                                    "from there") from None
                            if worker.run:
                                yield Report("lost", worker.run, f"its process ended {how}")
                            if waiting:
                                workers.append(_Worker(worker.gpu))
                        continue
                    if isinstance(said, Exception):
                        raise said
                    if said is None or said.kind == "ready":        # it wants a family
                        worker.ready, worker.run = True, ""
                        worker.pipe.send(waiting.popleft() if waiting else None)
                    elif said.kind == "begun":
                        worker.run = said.run
                    if said is not None:
                        yield said
        finally:
            for worker in workers:
                worker.process.kill()
                worker.end()


class _Worker:
    """A process, what it is known to do, and the line to it."""

    def __init__(self, gpu: str) -> None:
        self.pipe, theirs = CONTEXT.Pipe()
        self.ready, self.run, self.gpu = False, "", gpu
        self.process = CONTEXT.Process(target=_work, args=(theirs,), daemon=True)
        with _for_workers(gpu):
            self.process.start()
        theirs.close()      # so that its death is the end of the line

    def end(self) -> str:
        """Wait for its end; how it died, or nothing if it ended as it should."""
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode
        return "" if code == 0 else f"killed by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"


@contextmanager
def _for_workers(gpu: str) -> Iterator[None]:
    """What a process started here inherits.

    Its GPU. One CPU thread: tiny models are slower with two, and sums stay reproducible. Deafness to Ctrl-C: it reaches
    the parent too, and the parent decides.
    """
    ours = one_thread() | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    main = threading.current_thread() is threading.main_thread()        # only there handlers may be set
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(pipe: Connection) -> None:
    """Train families from the line until it says None."""
    began = time.perf_counter()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        load()
        signal.signal(signal.SIGINT, signal.SIG_IGN)        # importing Composer sets a handler of its own
        pipe.send(Report("ready", seconds=time.perf_counter() - began))
        while (path := pipe.recv()) is not None:
            train_family(read_family(path), pipe.send)
            pipe.send(None)
    except (ValueError, OSError) as error:
        pipe.send(error)


def _end_with_parent() -> None:
    """A worker whose parent was killed must not train on unseen."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def gpus() -> list[str]:
    """The GPUs of this machine as CUDA_VISIBLE_DEVICES names them, those that it shows alone where it is set."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name.strip() for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    done = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True)
    return done.stdout.split() if done.returncode == 0 else []


def _oom_kills() -> int:
    """Processes that the kernel has killed for want of memory, on this machine and in this container."""
    count = 0
    for path in (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events")):
        lines = path.read_text().splitlines() if path.exists() else []
        count += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return count
