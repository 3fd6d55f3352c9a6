"""Times of several ways to do one thing, taken in turn, so that what slows the machine slows them all."""

import statistics
import time
from collections.abc import Callable, Mapping

Clock = Callable[[], float]


def in_turn(
    ways: Mapping[str, Callable[[], object]], *, repeats: int, clock: Clock = time.process_time, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of each way in every round.

    Args:
        ways: calls by name; a call includes any waiting for a device.
        repeats: rounds that count, after `warmup` ones that do not.
        clock: `time.process_time` for work of this process alone, `time.perf_counter` where a device works.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warmup + repeats):
        for name, call in ways.items():
            begin = clock()
            call()
            if number >= warmup:
                seconds[name].append(clock() - begin)
    return seconds


def ratio(seconds: Mapping[str, list[float]], name: str, to: str) -> float:
    """Median over the rounds of one way's time over another's."""
    return statistics.median(one / other for one, other in zip(seconds[name], seconds[to], strict=True))
