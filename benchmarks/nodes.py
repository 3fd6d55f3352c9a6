"""Does training work on several nodes, over NCCL? Five minutes on the machines that are to train, on the same folder:

    torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 benchmarks/nodes.py --folder /shared/check
    srun --nodes=2 ... the same

It sums a vector over all processes and says how fast; then it trains one small run unsharded, sharded over all and, on GPUs, sharded
within nodes, stops each in the middle, goes on from its checkpoint, and compares their losses. Exit status 0: all agree.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from composer.utils import dist

from nmm import record as records
from nmm.config import RunConfig
from nmm.data.corpus.embedded import embedded_corpus
from nmm.studies import MIXTURE, find_study
from nmm.sweep import Family, Report, train_family
from nmm.training import execution

TOKENS = 200_000
TOLERANCE = 2e-4        # relative, of losses: sums are added in another order
MEGABYTES = 256         # of the vector that is summed


def main(argv: list[str] | None = None) -> int:
    """Run all of it in this process, one of several."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="empty or new, seen by all nodes: corpus, checkpoints, records")
    args = parser.parse_args(argv)
    device, processes = torch.device("cuda" if torch.cuda.is_available() else "cpu"), dist.get_world_size()
    if processes == 1:
        parser.error("this is the only process: launch several with torchrun, see above")
    dist.initialize_dist("gpu" if device.type == "cuda" else "cpu")
    say = print if execution.is_first() else lambda *words: None
    say(f"{processes} processes, {processes // dist.get_local_world_size()} nodes, {execution.device_name()}")
    say(f"sums over all processes: {_sum(device, processes):.1f} GB/s")
    losses = {}
    for sharding in ("none", "full", "hybrid") if device.type == "cuda" else ("none", "full"):
        began = time.perf_counter()
        losses[sharding] = _train(args.folder / sharding, _run(args.folder, sharding))
        say(f"sharding {sharding}: L = {losses[sharding]:.6f}, stopped once and resumed, in {time.perf_counter() - began:.0f} s")
    worst = max(abs(loss / losses["none"] - 1) for loss in losses.values())
    say(f"largest relative difference {worst:.1e}, allowed {TOLERANCE:.0e}: {'all agree' if worst <= TOLERANCE else 'THEY DIFFER'}")
    return 0 if worst <= TOLERANCE else 1


def _run(folder: Path, sharding: str) -> RunConfig:
    """A run of the smoke study with a sequence for each of many processes, on a corpus that the first one makes."""
    corpus = folder / "corpus"
    found = execution.agreed(lambda: embedded_corpus(corpus, tokens=TOKENS, weights=MIXTURE))
    study = replace(find_study("smoke"), widths=(64,), budgets=(TOKENS,), batch_sequences=max(16, dist.get_world_size()))
    (run,) = study.grid(found).values()
    return replace(run, execution=replace(run.execution, sharding=sharding, microbatch_sequences=1))


def _train(runs_dir: Path, run: RunConfig) -> float:
    """Train a run, stop it after a third of its steps, and go on; its loss [nats/token]."""
    family = Family(runs=[run], corpus=str(runs_dir.parent / "corpus"), runs_dir=str(runs_dir))
    asked = iter(range(run.tokens // run.data.batch_tokens // 3))
    ends: list[Report] = []
    train_family(family, ends.append, lambda: next(asked, None) is None)
    if ends[-1].kind != "stopped":
        raise RuntimeError(f"it did not stop: {ends[-1]}")
    train_family(family, ends.append)
    if ends[-1].kind != "finished":
        raise RuntimeError(f"it did not go on from its checkpoint: {ends[-1]}")
    return records.read(runs_dir / f"{run.id}.json").L


def _sum(device: torch.device, world_size: int) -> float:
    """Bytes that each process sends and receives in a sum over all of them, in a second [GB/s]."""
    vector = torch.ones(MEGABYTES << 18, device=device)
    for measured in (False, True):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        dist.all_reduce(vector)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    if float(vector[0]) != world_size**2:
        raise RuntimeError(f"a sum over {world_size} processes, twice, gave {float(vector[0])}, not {world_size**2}")
    return 2 * (world_size - 1) / world_size * vector.nbytes / 1e9 / seconds


if __name__ == "__main__":
    sys.exit(main())
