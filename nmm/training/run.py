"""One run: a RunConfig in, a RunRecord out, trained by Composer.

    composer -n 8 -m nmm.sweep.launch CONFIG.json

trains one run in several processes, see `nmm.sweep.launch`. Importing this takes 12 s of CPU: Composer.
"""

import atexit
import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import composer
import torch
from composer import DataSpec, Evaluator, Trainer
from composer.algorithms import GradientClipping
from composer.core.engine import Engine
from composer.utils import dist, reproducibility
from torch import Tensor

import nmm
from nmm.architectures.flops import exact_train_flops
from nmm.config import MODALITIES, RunConfig
from nmm.data.batches.loader import IGNORE, train_batches, validation_batches
from nmm.data.batches.mixture import Mixture
from nmm.data.batches.plan import plan, validation_sources
from nmm.data.corpus.store import Corpus
from nmm.models import build
from nmm.models.io import weights as weight_files
from nmm.models.moe import SparseEarlyFusion
from nmm.provenance import code
from nmm.record import TOKENS, RunRecord
from nmm.training import checkpoints, devices, execution
from nmm.training.execution import HeldOutShare, Place
from nmm.training.lean import FusedDecoupledAdamW, Shared, call_listeners_only
from nmm.training.objectives.text import Curve, Diverged, LanguageModel, Progress
from nmm.training.optimisation import Rates, cooldown_step, parameter_groups, schedule
from nmm.training.probes.routing import Routing

EVAL_BATCH = 32             # held-out sequences in a batch


@dataclass(frozen=True)
class Fitted:
    """A Trainer with what a record needs besides it."""

    trainer: Trainer
    model: LanguageModel        # as it was built: the Trainer wraps it for several processes
    place: Place
    curve: Curve
    routing: Routing | None
    mixture: Mixture
    steps: int
    branched_at: int | None     # tokens at which it left a longer run; None: trained alone


def make_trainer(
    config: RunConfig, corpus: Corpus, *, scratch: Path | None = None, checkpoint_seconds: float = 0.0,
    branches: Mapping[int, Path] | None = None, weights: Mapping[str, str | Path] | None = None, progress: Progress | None = None,
) -> Fitted:
    """Composer's Trainer for a run, seeded and ready to fit; arguments and errors as for `train`."""
    checkpoints.forget_models()
    mixture, seen = plan(config, corpus)
    place, peak = execution.start(config), config.optim
    reproducibility.seed_all(config.seed)
    module = build(config.model)
    weight_files.start(module, config.init, dict(weights or {}))
    execution.prepare(module, config.execution, place.device)
    model = LanguageModel(module, config.execution.precision)
    routing = Routing(module) if isinstance(module, SparseEarlyFusion) else None
    branched_at = None
    if scratch is not None and checkpoints.forked(scratch):
        branched_at = int(seen[cooldown_step(seen, config.tokens, peak.cooldown) - 1])
    curve = Curve(config.tokens, branched_at or 0, progress)
    optimizer = FusedDecoupledAdamW(
        parameter_groups(model, peak), lr=peak.lr, betas=(peak.beta1, peak.beta2), weight_decay=peak.weight_decay
    )
    scheduler = schedule(optimizer, config, seen)
    callbacks, resume = [curve, Rates(scheduler), *([routing] if routing else [])], {}
    if scratch is not None:
        execution.agreed(lambda: checkpoints.settle(scratch))
        forks = {folder: cooldown_step(seen, tokens, peak.cooldown) for tokens, folder in (branches or {}).items()}
        callbacks += checkpoints.savers(scratch, checkpoint_seconds, forks)
        resume = {"save_folder": str(scratch), "autoresume": True}
    trainer = Trainer(
        model=model,
        run_name=config.id,
        train_dataloader=_train_spec(config, mixture, len(seen), place),
        eval_dataloader=_evaluators(config, corpus, place),
        eval_interval=0,
        max_duration=f"{config.tokens}tok",
        optimizers=optimizer,
        schedulers=scheduler,
        step_schedulers_every_batch=True,
        algorithms=[GradientClipping(clipping_type="norm", clipping_threshold=peak.clip)],
        callbacks=callbacks,
        seed=config.seed,
        device="gpu" if place.device.type == "cuda" else "cpu",
        precision="fp32",                   # the model casts itself, see LanguageModel
        parallelism_config=execution.parallelism(config.execution, place.device),
        device_train_microbatch_size=place.microbatch,
        accumulate_train_batch_on_tokens=place.accumulates,
        progress_bar=False,
        **resume,
    )
    if place.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    if place.microbatch == "auto":          # Composer starts from the loader's batch_size, and ours loads whole batches
        trainer.state.device_train_microbatch_size = place.batch_sequences
    if scratch is not None:
        checkpoints.name_failures(trainer)
    atexit.unregister(Engine._close)        # it would keep every model of this process alive
    call_listeners_only(trainer)
    return Fitted(trainer, model, place, curve, routing, mixture, len(seen), branched_at)


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
        weights: files that the run starts from, "decoder" and "encoder"; their hashes are in `config.init`.
        save_weights: file for the trained model, safetensors.
        progress: called with the tokens trained since the last call, about `objective.PROGRESS_REPORTS` times a run.
    Returns:
        The record, the same in every process; its status is "failed", with the reason, if the loss diverged.
    Raises:
        ValueError: the corpus is another one, lacks a data type, or is too small for the budget; the machine or the number of
            processes does not suit `config.execution`; starting weights do not fit.
        OSError: a file cannot be read or written.
    """
    try:
        fitted = make_trainer(
            config, corpus, scratch=scratch, checkpoint_seconds=checkpoint_seconds, branches=branches, weights=weights,
            progress=progress,
        )
    except (KeyError, RuntimeError) as error:
        if scratch is None or not (scratch / checkpoints.LATEST).exists():
            raise
        found = "; ".join(checkpoints.misfit(scratch, config.model)) or str(error)
        raise ValueError(
            f"the checkpoint in {scratch} does not fit the model ({found}); has the code changed since? Delete the folder to "
            "train this run from its start"
        ) from error
    trainer, curve, place = fitted.trainer, fitted.curve, fitted.place
    known = {"config": config, "entropy": entropy, "branched_at": fitted.branched_at,
             "processes": place.world_size, "versions": versions(), "device": device_name(), "code": code()}
    try:
        if trainer.state.timestamp.token.value < config.tokens:     # else it was killed after its last step
            trainer.fit()
    except Diverged as error:
        return RunRecord(**known, status="failed", reason=str(error), curve=curve.points)
    training = trainer.state.timestamp.total_wct.total_seconds()
    evaluation = time.perf_counter()
    trainer.eval()
    losses = {task: float(metrics["L"].compute()) for task, metrics in trainer.state.eval_metrics.items()}
    evaluation = time.perf_counter() - evaluation
    bad = [f"{task} {loss}" for task, loss in losses.items() if not math.isfinite(loss)]
    if bad:
        return RunRecord(**known, status="failed", reason=f"held-out loss is not finite: {', '.join(bad)}", curve=curve.points)
    if save_weights is not None and (config.execution.sharding != "none" or place.rank == 0):      # shards are gathered from all
        weight_files.save(fitted.model.module, save_weights, config.model)
    realised = fitted.mixture.realised(fitted.steps * config.data.batch_sequences)
    modalities = {name: sum(row.get(f"{name}_tokens", 0) for row in realised.values()) for name in MODALITIES}
    tokens = {
        **{name: tokens for name, tokens in modalities.items() if tokens or name in TOKENS},
        "padding": sum(row["padding"] for row in realised.values()),
        "target": curve.all_targets(),
    }
    flops = exact_train_flops(
        config.model, context=config.data.context, target_tokens=tokens["target"], patches_per_image=corpus.patches_per_image,
        frozen_encoder=config.optim.encoder_lr_scale == 0, **{f"{name}_tokens": tokens for name, tokens in modalities.items()},
    )
    return RunRecord(
        **known, status="finished",
        tokens=tokens,
        share={name: row["share"] for name, row in realised.items()},
        flops_exact=flops,
        losses=losses,
        routing=fitted.routing.routing if fitted.routing else None,
        curve=curve.points,
        wall_seconds=round(training + evaluation, 3),
        tokens_per_second=round(sum(modalities.values()) / training, 1),
        mfu=devices.mfu(flops, training, device=device_name(), precision=config.execution.precision, processes=place.world_size),
        memory_bytes=_most_memory(place),
    )


def _train_spec(config: RunConfig, mixture: Mixture, steps: int, place: Place) -> DataSpec:
    loader = train_batches(
        mixture, batch_size=place.batch_sequences, steps=steps, num_workers=config.execution.workers, rank=place.rank,
        world_size=place.world_size,
    )
    return _spec(loader, batch_transforms=execution.blank_slots(config.model) if place.world_size > 1 else None)


def _evaluators(config: RunConfig, corpus: Corpus, place: Place) -> list[Evaluator]:
    batch = min(EVAL_BATCH, config.execution.microbatch_sequences or EVAL_BATCH)
    return [
        Evaluator(
            label=task, metric_names=["L"], device_eval_microbatch_size=batch,
            dataloader=_spec(validation_batches(HeldOutShare(held_out, config.data.validation_sequences, place), batch)),
        )
        for task, held_out in validation_sources(corpus, config.model).items()
    ]


def _spec(loader: Any, batch_transforms: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None) -> DataSpec:
    # Composer refuses a DataLoader without torch's DistributedSampler; ours gives each process batches of its own anyway.
    spec = DataSpec(
        loader.dataset,
        batch_transforms=batch_transforms,
        get_num_samples_in_batch=lambda batch: batch["input_ids"].shape[0],
        get_num_tokens_in_batch=_tokens,
        split_batch=_split,
        microbatch_transforms=Shared,
    )
    spec.dataloader = loader
    return spec


def _tokens(batch: dict[str, Tensor]) -> dict[str, int]:
    """Tokens without padding, for the schedule; targets, by which microbatches and processes are weighted in their sum."""
    return {"total": int((batch["document_ids"] >= 0).sum()), "loss_generating": int((batch["labels"] != IGNORE).sum())}


def _split(batch: dict[str, Tensor], size: float) -> list[dict[str, Tensor]]:
    """Microbatches of at most `size` sequences."""
    parts = {name: tensor.split(int(size)) for name, tensor in batch.items()}
    return [dict(zip(parts, tensors, strict=True)) for tensors in zip(*parts.values(), strict=True)]


def _most_memory(place: Place) -> int | None:
    """Most memory that one of the devices held [bytes]; None on a CPU, where nobody counts."""
    if place.device.type != "cuda":
        return None
    most = torch.tensor(torch.cuda.max_memory_allocated(), device=place.device)
    dist.all_reduce(most, reduce_operation="MAX")
    return int(most)


def versions() -> dict[str, str]:
    """What decides the numbers besides the configuration."""
    return {"nmm": nmm.__version__, "python": platform.python_version(), "torch": torch.__version__, "composer": composer.__version__}


def device_name() -> str:
    """GPU model, or machine and threads of the CPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread" + "s" * (torch.get_num_threads() > 1)
