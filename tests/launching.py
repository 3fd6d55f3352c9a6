"""Launches a family in two processes and kills them at random moments, for tests/test_launch.py.

    python -m tests.launching FAMILY.json KILLS SECONDS SEED

Both are killed or one of them, once the first has worked for up to SECONDS of CPU time; of one that is left alone its launcher takes
care, as torchrun does. The last launch is left in peace; the last line is how often processes were killed. A launch is a fork of this
process, which has imported Composer.
"""

import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import nmm.training.run  # noqa: F401  (Composer: 12 s)
from nmm.sweep.launch import main

TICKS = os.sysconf("SC_CLK_TCK")


def launch(family: str) -> list[int]:
    """Two processes, as torchrun starts them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pids = []
    for rank in ("0", "1"):
        pid = os.fork()
        if not pid:
            os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
                           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            status = 99
            try:
                status = main([family])
            finally:
                os._exit(status)
        pids.append(pid)
    return pids


def worked(pid: int) -> float:
    """CPU time of a process [s]."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def end(pids: list[int], at: float | None = None, whom: tuple[int, ...] = ()) -> tuple[list[int], bool]:
    """How the processes ended, and whether they were killed; `at` such a CPU time of the first `whom` are."""
    left, codes, killed = list(pids), {}, False
    while left:
        if at is not None and not killed and left == pids and worked(pids[0]) >= at:
            killed = True
            for number in whom:
                os.kill(pids[number], signal.SIGKILL)
        for pid in list(left):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                left.remove(pid)
                codes[pid] = os.waitstatus_to_exitcode(status)
                for other in left if codes[pid] else ():
                    os.kill(other, signal.SIGKILL)
        time.sleep(0.002)
    return [codes[pid] for pid in pids], killed


if __name__ == "__main__":
    family, kills, seconds, draw = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), random.Random(int(sys.argv[4]))
    done = 0
    for _ in range(kills):
        done += end(launch(family), draw.uniform(0, seconds), draw.choice([(0,), (1,), (0, 1)]))[1]
    codes, _ = end(launch(family))
    assert codes == [0, 0], codes
    print(done)
