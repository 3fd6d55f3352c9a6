"""One process at a time on a run, on one folder of records: where its checkpoints lie, and who holds it. No torch here."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRATCH = ".scratch"        # folder of checkpoints and locks, within that of the records


@contextmanager
def lock(scratch: Path) -> Iterator[bool]:
    """Hold a run's lock; False if another process has it. The kernel frees it when its holder dies.

    Args:
        scratch: the run's folder of checkpoints; made if it is not there.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch.parent / f"{scratch.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
