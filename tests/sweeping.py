"""A small sweep as a program of its own, for tests that kill it: one worker, a checkpoint after every step.

    python -m tests.sweeping CORPUS RUNS_DIR        the last line is the outcome as JSON
"""

import json
import sys
from dataclasses import asdict, replace

from nmm.config import RunConfig
from nmm.data.corpus import store
from nmm.data.generated.world import World
from nmm.studies import find_study
from nmm.sweep import Summary, sweep


def grid(corpus: store.Corpus) -> dict[str, RunConfig]:
    """Four runs of the smoke study's smallest width, 10,000 to 20,000 tokens."""
    plan = replace(find_study("smoke"), widths=(16,), budgets=(10_000, 13_000, 16_000, 20_000), warmup_tokens=2_000, validation_sequences=8)
    return plan.grid(corpus)


def run(corpus: str, runs_dir: str, **settings) -> Summary:
    return sweep(
        grid(store.open(corpus)), corpus=corpus, runs_dir=runs_dir, entropy=World(0).entropy(), jobs=1,
        checkpoint_seconds=0.0, **settings,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(run(*sys.argv[1:]))))
