"""Signals by which machines ask a process to stop, as something to be asked after each step. No torch here."""

import signal
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)      # of a kill or preemption; of Slurm, a while before a time limit (sbatch --signal)


class StopAsked:
    """Called, it says whether one of the signals has come since it was made; `signal` is the last one.

    To be made in the main thread, after Composer is imported: that sets handlers of its own.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        for number in SIGNALS:
            signal.signal(number, self._note)

    def __call__(self) -> bool:
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
