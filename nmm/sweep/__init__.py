"""Many runs: families of runs, trained in parallel, resumed after a kill."""

from nmm.sweep.locks import SCRATCH
from nmm.sweep.pool import Outcome, sweep

__all__ = ["SCRATCH", "Outcome", "sweep"]
