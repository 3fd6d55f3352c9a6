"""What a run is made of, seeded and built, before any trainer has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from composer.utils import reproducibility
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from nmm.config import RunConfig
from nmm.data.batches.loader import train_batches, validation_batches
from nmm.data.batches.mixture import Mixture
from nmm.data.batches.reading import reading, validation_sources
from nmm.data.corpus.store import Corpus
from nmm.models import build
from nmm.models.io import weights as weight_files
from nmm.training import compat, execution
from nmm.training.curve import Curve, Progress
from nmm.training.execution import HeldOutShare, Place
from nmm.training.model import LanguageModel
from nmm.training.objectives import objective
from nmm.training.optimisation import cooldown_step, parameter_groups, schedule
from nmm.training.probes import PROBES, Probe

EVAL_BATCH = 32             # held-out sequences in a batch, and
EVAL_TOKENS = 1 << 15       # what fewer, longer ones hold at most [tokens]


@dataclass(frozen=True)
class Parts:
    """All of a run that a loop over its steps needs; benchmarks/trainer.py has a bare one, `nmm.training.trainer` is Composer's."""

    config: RunConfig
    corpus: Corpus
    place: Place
    model: LanguageModel        # as it was built: a trainer may wrap it
    optimizer: compat.FusedDecoupledAdamW
    scheduler: LambdaLR         # a step after each of the optimizer's
    batches: DataLoader         # one a step, this process's share; `model.objective.prepare` comes after
    held_out: dict[str, DataLoader]     # by data type
    curve: Curve
    probes: list[Probe]
    mixture: Mixture
    seen: np.ndarray            # tokens after each step, (steps,)
    branched_at: int | None     # tokens at which it left a longer run; None: trained alone


def assemble(
    config: RunConfig, corpus: Corpus, *, branch: bool = False, weights: Mapping[str, str | Path] | None = None,
    progress: Progress | None = None,
) -> Parts:
    """The parts of a run; arguments and errors as for `nmm.training.run.train`.

    Args:
        branch: it goes on from a longer run's checkpoint, at the step where its cooldown begins.
    """
    compat.forget_models()
    mixture, seen = reading(config, corpus)
    goal, place, optim = objective(config.objective, config.infilling).on(corpus), execution.start(config), config.optim
    reproducibility.seed_all(config.seed)
    module = build(config.model)
    weight_files.start(module, config.init, dict(weights or {}))
    execution.prepare(module, config.execution, place.device)
    model = LanguageModel(module, goal, config.execution.precision)
    branched_at = int(seen[cooldown_step(seen, config.tokens, optim.cooldown) - 1]) if branch else None
    optimizer = compat.FusedDecoupledAdamW(
        parameter_groups(model, optim), lr=optim.lr, betas=(optim.beta1, optim.beta2), weight_decay=optim.weight_decay
    )
    batches = train_batches(
        mixture, batch_size=place.batch_sequences, steps=len(seen), num_workers=config.execution.workers, rank=place.rank,
        world_size=place.world_size,
    )
    size = min(EVAL_BATCH, max(1, EVAL_TOKENS // corpus.context), config.execution.microbatch_sequences or EVAL_BATCH)
    held_out = {
        task: validation_batches(HeldOutShare(sequences, config.data.validation_sequences, place), size)
        for task, sequences in validation_sources(corpus, config.model).items() if goal.kinds is None or task in goal.kinds
    }
    probes = [probe for kind in PROBES if (probe := kind.of(module, corpus)) is not None]
    return Parts(
        config, corpus, place, model, optimizer, schedule(optimizer, config, seen), batches, held_out,
        Curve(config.tokens, branched_at or 0, progress), probes, mixture, seen, branched_at,
    )
