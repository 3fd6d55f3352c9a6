"""One run: a RunConfig in, a RunRecord out, trained by Composer.

    composer -n 8 -m nmm.sweep.launch CONFIG.json

trains one run in several processes, see `nmm.sweep.launch`. Importing this takes 12 s of CPU: Composer.
"""

import math
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import composer
import torch
from composer import Trainer

import nmm
from nmm.config import MODALITIES, RunConfig
from nmm.data.batches.mixture import image_share
from nmm.data.corpus.store import Corpus
from nmm.models.io import weights as weight_files
from nmm.provenance import code
from nmm.record import RunRecord
from nmm.training import checkpoints, devices
from nmm.training.curve import Diverged, Progress
from nmm.training.execution import device_name, most_memory
from nmm.training.parts import Parts, assemble
from nmm.training.trainer import make_trainer


def train(
    config: RunConfig,
    corpus: Corpus,
    *,
    entropy: dict[str, float] | None = None,
    scratch: Path | None = None,
    checkpoint_seconds: float = 0.0,
    branches: Mapping[int, Path] | None = None,
    weights: Mapping[str, str | Path] | None = None,
    save_weights: str | Path | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> RunRecord:
    """Train one model from its seed and measure it; in each of its processes, where there are several.

    Args:
        config: the run; its `data.corpus_id` must be the corpus's.
        corpus: the prepared corpus.
        entropy: the generator's entropy by data type, if known [nats per target token].
        scratch: folder for checkpoints. A run killed at any moment goes on from there and, on CPU, ends bit-identical
            to an undisturbed one. None: no checkpoints.
        checkpoint_seconds: time between checkpoints, so what a kill costs; 0: one after every step [s].
        branches: scratch folders of shorter runs of the same configuration, by their budget [tokens]: each is left a
            checkpoint from where its cooldown begins, and trained later it goes on from there, on CPU bit-identical to
            training it alone. Needs `scratch`.
        weights: files that the run starts from, "decoder", "encoder" or "model"; `config.init` names them.
        save_weights: file for the trained model, safetensors.
        progress: called with the tokens trained since the last call, about `curve.PROGRESS_REPORTS` times a run.
        stop: asked after each step of training; once it says yes, a checkpoint is written and `checkpoints.Stopped` raised. Needs
            `scratch`.
    Returns:
        The record, the same in every process; its status is "failed", with the reason, if the loss diverged.
    Raises:
        ValueError: the corpus is another one, lacks a data type, or is too small for the budget; the machine or the number of
            processes does not suit `config.execution`; starting weights, or the checkpoint in `scratch`, do not fit.
        OSError: a file cannot be read or written.
        Stopped: it was asked to stop.
    """
    parts = assemble(config, corpus, branch=scratch is not None and checkpoints.forked(scratch), weights=weights, progress=progress)
    trainer = _trainer(parts, scratch, checkpoint_seconds, branches, stop)
    known = {"entropy": entropy, "branched_at": parts.branched_at, "processes": parts.place.world_size, "curve": parts.curve.points}
    try:
        if trainer.state.timestamp.token.value < config.tokens:     # else it was killed after its last step
            trainer.fit()
    except Diverged as error:
        return failed(config, str(error), **known)
    training = trainer.state.timestamp.total_wct.total_seconds()
    evaluation = time.perf_counter()
    trainer.eval()
    measured = {name: {task: float(metrics[name].compute()) for task, metrics in trainer.state.eval_metrics.items()}
                for name in parts.model.objective.metrics()}
    evaluation = time.perf_counter() - evaluation
    bad = [f"{task} {value}" for by_task in measured.values() for task, value in by_task.items() if not math.isfinite(value)]
    if bad:
        return failed(config, f"held-out loss is not finite: {', '.join(bad)}", **known)
    if save_weights is not None and (config.execution.sharding != "none" or parts.place.rank == 0):    # shards are gathered from all
        weight_files.save(parts.model.module, save_weights, config.model, config.id)
    losses, *others = measured.values()
    return RunRecord(
        config=config, status="finished", **known, **about(), losses=losses,
        metrics=dict(zip(list(measured)[1:], others, strict=True)) or None,
        **{name: value for probe in parts.probes for name, value in probe.fields.items()}, **_spent(parts, training, evaluation),
    )


def failed(config: RunConfig, reason: str, **known: Any) -> RunRecord:
    """The record of a run that did not come to its end: why, and what else is known of it, fields of `RunRecord`."""
    return RunRecord(config=config, status="failed", reason=reason, **known, **about())


def about() -> dict[str, Any]:
    """What decides the numbers besides the configuration, as fields of `RunRecord`."""
    versions = {"nmm": nmm.__version__, "python": platform.python_version(), "torch": torch.__version__, "composer": composer.__version__}
    return {"versions": versions, "device": device_name(), "code": code()}


def _trainer(
    parts: Parts, scratch: Path | None, checkpoint_seconds: float, branches: Mapping[int, Path] | None, stop: Callable[[], bool] | None,
) -> Trainer:
    """The Trainer, at its last checkpoint; one that belongs to another model is said to."""
    try:
        return make_trainer(parts, scratch=scratch, checkpoint_seconds=checkpoint_seconds, branches=branches, stop=stop)
    except (KeyError, RuntimeError) as error:
        found = checkpoints.misfit(scratch, parts.config.model) if scratch is not None else []
        if not found:
            raise
        raise ValueError(
            f"the checkpoint in {scratch} does not fit the model ({'; '.join(found)}); has the code changed since? Delete the folder to "
            "train this run from its start"
        ) from error


def _spent(parts: Parts, training: float, evaluation: float) -> dict[str, Any]:
    """What a run took, as fields of `RunRecord`: tokens, FLOPs, time [s] and memory."""
    config, place, goal = parts.config, parts.place, parts.model.objective
    realised = parts.mixture.realised(len(parts.seen) * config.data.batch_sequences)
    tokens = goal.tokens(realised, parts.curve.all_targets())
    flops = goal.flops(config, parts.corpus, tokens)
    total = sum(tokens.get(name, 0) for name in MODALITIES)
    return {
        "tokens": tokens,
        "rho": image_share(parts.corpus, realised) if [*parts.corpus.geometry.codes_of] == ["image"] else None,
        "share": {name: row["share"] for name, row in realised.items()},
        "flops_exact": flops,
        "wall_seconds": round(training + evaluation, 3),
        "tokens_per_second": round(total / training, 1),
        "mfu": devices.mfu(flops, training, device=device_name(), precision=config.execution.precision, processes=place.world_size),
        "memory_bytes": most_memory(place),
    }
