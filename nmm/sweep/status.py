"""What has become of each run of a folder, read from its records, job files and signs of life: nothing is locked, nothing written,
so that it can be asked from any machine that sees the folder while any executor trains. No torch here.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nmm import record as records
from nmm.config import RunConfig
from nmm.sweep import pulse, queued
from nmm.sweep.job import read_family
from nmm.sweep.locks import SCRATCH

STATES = ("finished", "running", "stopped", "queued", "failed", "damaged")


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """One run: `state` is one of `STATES`.

    Attributes:
        config: None where the record cannot be read and no job file names the run.
        tokens: trained so far; None where nobody knows [tokens].
        eta: time until it is trained at its present speed [s]; None unless it is running and has been for a while.
        where: machine and process that train it, or did when they were last heard of, and the scheduler's job.
        reason: why it failed, how long a stopped one has been silent, or what is wrong with its record.
    """

    run: str
    state: str
    config: RunConfig | None = None
    tokens: int | None = None
    eta: float | None = None
    where: str = ""
    reason: str = ""


def status(runs_dir: str | Path) -> list[RunStatus]:
    """Every run that has a record in a folder, or that a sweep on it was asked for; those of `--write-jobs` once they have begun.

    A run is "running" if its process gave a sign of life within the last minute, "stopped" if an older one is left: killed,
    or on a machine that is gone. It goes on from its checkpoint when the sweep is called again.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a job file cannot be read, or a record is of a later version; it is named.
    """
    folder = Path(runs_dir)
    written = records.paths(folder)
    wanted = {run.id: run for path in sorted((folder / SCRATCH).glob("*.family.json")) for run in read_family(path).runs}
    begun = [path.name.removesuffix(".pulse.json") for path in (folder / SCRATCH).glob("*.pulse.json")]
    found = [_recorded(path, wanted.get(path.stem)) for path in written]
    named = {status.run for status in found}
    found += [_unrecorded(run, folder, wanted.get(run)) for run in dict.fromkeys([*wanted, *begun]) if run not in named]
    return sorted(found, key=lambda status: STATES.index(status.state))


def _recorded(path: Path, config: RunConfig | None) -> RunStatus:
    try:
        record = records.read(path)
    except records.NewerRecord:
        raise
    except (records.RecordError, OSError) as error:
        return RunStatus(run=path.stem, state="damaged", config=config, reason=str(error))
    return RunStatus(run=path.stem, state=record.status, config=record.config, tokens=record.D, reason=record.reason or "")


def _unrecorded(run: str, folder: Path, config: RunConfig | None) -> RunStatus:
    sign, job = pulse.read(folder / SCRATCH / run), queued.read(folder / SCRATCH / run)
    last = f"{job.executor} job {job.id}" if job else ""
    if sign is None:
        return RunStatus(run=run, state="queued", config=config, where=last)
    known = {"run": run, "config": config, "tokens": sign.tokens, "where": ", ".join(filter(None, [sign.where, last]))}
    if sign.alive:
        return RunStatus(state="running", eta=sign.eta, **known)
    return RunStatus(state="stopped", reason=f"silent for {duration(sign.silence)}", **known)


def duration(seconds: float) -> str:
    """A time in the two largest of its units: 2 d 3 h, 5 min 12 s."""
    seconds = round(seconds)
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((number for number, (amount, _) in enumerate(parts) if amount), 3)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first:first + 2])


def counts(found: Iterable[RunStatus]) -> dict[str, int]:
    """Runs by state, in the order of `STATES`, those that occur."""
    number = Counter(status.state for status in found)
    return {state: number[state] for state in STATES if number[state]}
