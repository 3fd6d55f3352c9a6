"""What every process does that trains for an executor, before its first run."""

import signal

from nmm.sweep.asked import StopAsked
from nmm.training.signatures import KEY_FILE, key_file


def load(*, threads: int | None = 1) -> None:
    """Import what training takes, Composer among it, and undo the signal handlers that it sets; to be called in the main thread.

    Args:
        threads: of the CPU: tiny models are slower with two, and sums of several are not reproducible. None: as it is.
    """
    import torch

    import nmm.training.run  # noqa: F401  (Composer: 12 s)

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if threads is not None:
        torch.set_num_threads(threads)


def get_ready(*, threads: int | None = 1) -> StopAsked:
    """`load`, and listen to the signals that ask to stop."""
    load(threads=threads)
    return StopAsked()


def elsewhere() -> dict[str, str]:
    """The environment of processes on other machines: one CPU thread each, and the key of this machine, which their checkpoints are
    signed with. Its file must be one that all of them see, as their home folders or what NMM_KEY_FILE names.
    """
    return {**one_thread(), KEY_FILE: str(key_file().absolute())}


def one_thread() -> dict[str, str]:
    """The environment of processes with one CPU thread each."""
    return dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
