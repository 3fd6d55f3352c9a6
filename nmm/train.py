"""One run: a RunConfig in, a RunRecord out, trained by Composer. It, `nmm.lean` and `nmm.checkpoints` alone import Composer: 12 s of CPU."""

import atexit
import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import composer
import numpy as np
import torch
from composer import Callback, DataSpec, Evaluator, State, Trainer
from composer.algorithms import GradientClipping
from composer.core.engine import Engine
from composer.loggers import Logger
from composer.metrics.nlp import LanguageCrossEntropy
from composer.models import ComposerModel
from composer.utils import reproducibility
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

import nmm
from nmm import checkpoints
from nmm.config import MODALITIES, OptimConfig, RunConfig
from nmm.data.loader import IGNORE, train_batches, validation_batches
from nmm.data.mixture import Mixture
from nmm.data.plan import plan, validation_sources
from nmm.data.store import Corpus
from nmm.flops import exact_train_flops
from nmm.lean import FusedDecoupledAdamW, Shared, call_listeners_only
from nmm.models import build
from nmm.models.moe import SparseEarlyFusion
from nmm.runs import TOKENS, RunRecord
from nmm.schedule import lr_factor

CURVE_GROWTH = 1.05         # a point of the training curve whenever the tokens seen have grown by this much
PROGRESS_REPORTS = 50       # in a run
EVAL_BATCH = 32             # held-out sequences in a batch

Progress = Callable[[int], None]


class Diverged(RuntimeError):
    """The training loss is no longer finite."""


class LanguageModel(ComposerModel):
    """What Composer needs to know of a model that returns logits at its targets."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.module(batch)

    def loss(self, outputs: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Mean cross-entropy over text targets [nats], and a mixture's weighted balancing loss."""
        loss = F.cross_entropy(outputs, targets(batch))
        if isinstance(self.module, SparseEarlyFusion):
            loss = loss + self.module.config.load_balance * self.module.balance_loss
        return loss

    def get_metrics(self, is_train: bool = False) -> dict[str, LanguageCrossEntropy]:
        return {} if is_train else {"L": LanguageCrossEntropy()}

    def eval_forward(self, batch: dict[str, Tensor], outputs: Tensor | None = None) -> Tensor:
        return self(batch) if outputs is None else outputs

    def update_metric(self, batch: dict[str, Tensor], outputs: Tensor, metric: LanguageCrossEntropy) -> None:
        metric.update(outputs, targets(batch))


def targets(batch: dict[str, Tensor]) -> Tensor:
    """Labels of the positions that have one, (T,)."""
    labels = batch["labels"]
    return labels[labels != IGNORE]


class Curve(Callback):
    """Records the mean training loss of each stretch of tokens, counts targets, reports progress, stops at NaN.

    Stretches grow with the tokens seen and not with the budget, so that a branch has the curve of a run trained alone; the
    callback's state travels with checkpoints, so that a resumed run has the curve of an undisturbed one.
    """

    def __init__(self, total_tokens: int, branched_at: int, progress: Progress | None) -> None:
        self.total, self.reported, self.progress = total_tokens, branched_at, progress
        self.points: list[list[float]] = []
        self.sum, self.steps, self.targets = torch.zeros(1), 0, 0

    def state_dict(self) -> dict[str, Any]:
        return {"points": self.points, "sum": self.sum, "steps": self.steps, "targets": self.targets}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.points, self.sum, self.steps, self.targets = (state[name] for name in ("points", "sum", "steps", "targets"))

    def after_loss(self, state: State, logger: Logger) -> None:
        self.targets += len(state.outputs)

    def batch_end(self, state: State, logger: Logger) -> None:
        self.sum = self.sum.to(state.loss.device) + state.loss.detach()
        self.steps += 1
        seen = state.timestamp.token.value
        if self.progress and (seen - self.reported >= self.total / PROGRESS_REPORTS or seen >= self.total):
            self.progress(seen - self.reported)
            self.reported = seen
        if self.points and seen < min(CURVE_GROWTH * self.points[-1][0], self.total):
            return
        mean = self.sum.item() / self.steps
        if not math.isfinite(mean):
            raise Diverged(f"the training loss became {mean} within the {self.steps} steps before {seen:,} tokens")
        self.points.append([seen, mean])
        self.sum, self.steps = torch.zeros_like(self.sum), 0


class Rates(Callback):
    """Sets the rates of the next step when a run goes on: those in a checkpoint of a longer run are the longer run's."""

    def __init__(self, scheduler: LambdaLR) -> None:
        self.scheduler = scheduler

    def fit_start(self, state: State, logger: Logger) -> None:
        rates = [base * factor(self.scheduler.last_epoch) for base, factor in zip(self.scheduler.base_lrs, self.scheduler.lr_lambdas)]
        for group, rate in zip(self.scheduler.optimizer.param_groups, rates):
            group["lr"] = rate


@dataclass(frozen=True)
class Fitted:
    """A Trainer with what a record needs besides it."""

    trainer: Trainer
    curve: Curve
    mixture: Mixture
    steps: int
    branched_at: int | None     # tokens at which it left a longer run; None: trained alone


def make_trainer(
    config: RunConfig, corpus: Corpus, *, scratch: Path | None = None, checkpoint_seconds: float = 0.0,
    branches: Mapping[int, Path] | None = None, progress: Progress | None = None,
) -> Fitted:
    """Composer's Trainer for a run, seeded and ready to fit; arguments and errors as for `train`."""
    mixture, seen = plan(config, corpus)
    batch_size = config.data.batch_sequences
    reproducibility.seed_all(config.seed)
    model = LanguageModel(build(config.model))
    branched_at = None
    if scratch is not None and checkpoints.forked(scratch):
        branched_at = int(seen[cooldown_step(seen, config.tokens, config.optim.cooldown) - 1])
    curve = Curve(config.tokens, branched_at or 0, progress)
    peak = config.optim
    optimizer = FusedDecoupledAdamW(
        parameter_groups(model, peak), lr=peak.lr, betas=(peak.beta1, peak.beta2), weight_decay=peak.weight_decay
    )
    scheduler = schedule(optimizer, config, seen)
    callbacks, resume = [curve, Rates(scheduler)], {}
    if scratch is not None:
        checkpoints.settle(scratch)
        forks = {folder: cooldown_step(seen, tokens, peak.cooldown) for tokens, folder in (branches or {}).items()}
        callbacks += checkpoints.savers(scratch, checkpoint_seconds, forks)
        resume = {"save_folder": str(scratch), "autoresume": True}
    trainer = Trainer(
        model=model,
        run_name=config.id,
        train_dataloader=_spec(train_batches(mixture, batch_size=batch_size, steps=len(seen))),
        eval_dataloader=[
            Evaluator(
                label=task, dataloader=_spec(validation_batches(source, EVAL_BATCH, config.data.validation_sequences)),
                metric_names=["L"], device_eval_microbatch_size=EVAL_BATCH,
            )
            for task, source in validation_sources(corpus).items()
        ],
        eval_interval=0,
        max_duration=f"{config.tokens}tok",
        optimizers=optimizer,
        schedulers=scheduler,
        step_schedulers_every_batch=True,
        algorithms=[GradientClipping(clipping_type="norm", clipping_threshold=peak.clip)],
        callbacks=callbacks,
        seed=config.seed,
        device="gpu" if torch.cuda.is_available() else "cpu",
        device_train_microbatch_size=batch_size,
        progress_bar=False,
        **resume,
    )
    if scratch is not None:
        checkpoints.name_failures(trainer)
    atexit.unregister(Engine._close)     # it would keep every model of this process alive
    call_listeners_only(trainer)
    return Fitted(trainer, curve, mixture, len(seen), branched_at)


def train(
    config: RunConfig,
    corpus: Corpus,
    *,
    preset: str,
    size: str,
    entropy: dict[str, float] | None = None,
    scratch: Path | None = None,
    checkpoint_seconds: float = 0.0,
    branches: Mapping[int, Path] | None = None,
    progress: Progress | None = None,
) -> RunRecord:
    """Train one model from its seed and measure it.

    Args:
        config: the run; its `data.corpus_id` must be the corpus's.
        corpus: the prepared corpus.
        preset, size: labels for the record.
        entropy: the generator's entropy by data type, if known [nats per target token].
        scratch: folder for checkpoints. A run killed at any moment goes on from there and, on CPU, ends bit-identical
            to an undisturbed one. None: no checkpoints.
        checkpoint_seconds: time between checkpoints, so what a kill costs; 0: one after every step [s].
        branches: scratch folders of shorter runs of the same configuration, by their budget [tokens]: each is left a
            checkpoint from where its cooldown begins, and trained later it goes on from there, on CPU bit-identical to
            training it alone. Needs `scratch`.
        progress: called with the tokens trained since the last call, about `PROGRESS_REPORTS` times a run.
    Returns:
        The record; its status is "failed", with the reason, if the loss diverged.
    Raises:
        ValueError: the corpus is another one, lacks a data type, or is too small for the budget.
    """
    try:
        fitted = make_trainer(
            config, corpus, scratch=scratch, checkpoint_seconds=checkpoint_seconds, branches=branches, progress=progress
        )
    except (KeyError, RuntimeError) as error:
        if scratch is None or not (scratch / checkpoints.LATEST).exists():
            raise
        raise ValueError(
            f"the checkpoint in {scratch} does not fit the model ({error}); has the code changed since? Delete the folder to "
            "train this run from its start"
        ) from error
    trainer, curve = fitted.trainer, fitted.curve
    failed = {"config": config, "preset": preset, "size": size, "status": "failed", "entropy": entropy}
    try:
        if trainer.state.timestamp.token.value < config.tokens:     # else it was killed after its last step
            trainer.fit()
    except Diverged as error:
        return RunRecord(**failed, reason=str(error), curve=curve.points, versions=versions(), device=device_name())
    training = trainer.state.timestamp.total_wct.total_seconds()
    evaluation = time.perf_counter()
    trainer.eval()
    losses = {task: float(metrics["L"].compute()) for task, metrics in trainer.state.eval_metrics.items()}
    evaluation = time.perf_counter() - evaluation
    bad = [f"{task} {loss}" for task, loss in losses.items() if not math.isfinite(loss)]
    if bad:
        return RunRecord(**failed, reason=f"held-out loss is not finite: {', '.join(bad)}", curve=curve.points,
                         versions=versions(), device=device_name())
    realised = fitted.mixture.realised(fitted.steps * config.data.batch_sequences)
    modalities = {name: sum(row.get(f"{name}_tokens", 0) for row in realised.values()) for name in MODALITIES}
    tokens = {
        **{name: tokens for name, tokens in modalities.items() if tokens or name in TOKENS},
        "padding": sum(row["padding"] for row in realised.values()),
        "target": curve.targets,
    }
    return RunRecord(
        config=config, preset=preset, size=size, status="finished", entropy=entropy,
        tokens=tokens,
        share={name: row["share"] for name, row in realised.items()},
        flops_exact=exact_train_flops(
            config.model, context=config.data.context, target_tokens=tokens["target"], patches_per_image=corpus.patches_per_image,
            frozen_encoder=config.optim.encoder_lr_scale == 0, **{f"{name}_tokens": tokens for name, tokens in modalities.items()},
        ),
        losses=losses,
        curve=curve.points,
        branched_at=fitted.branched_at,
        wall_seconds=round(training + evaluation, 3),
        tokens_per_second=round(sum(modalities.values()) / training, 1),
        versions=versions(), device=device_name(),
    )


def _spec(loader: Any) -> DataSpec:
    return DataSpec(
        loader,
        get_num_samples_in_batch=lambda batch: batch["input_ids"].shape[0],
        get_num_tokens_in_batch=lambda batch: int((batch["document_ids"] >= 0).sum()),
        split_batch=_split,
        microbatch_transforms=Shared,
    )


def _split(batch: dict[str, Tensor], size: float) -> list[dict[str, Tensor]]:
    """Microbatches of at most `size` sequences."""
    parts = {name: tensor.split(int(size)) for name, tensor in batch.items()}
    return [dict(zip(parts, tensors, strict=True)) for tensors in zip(*parts.values(), strict=True)]


def schedule(optimizer: Optimizer, config: RunConfig, seen: np.ndarray) -> LambdaLR:
    """The rate of every step from the tokens seen before it.

    Not a ComposerScheduler: Composer asks those before it counts the batch, so they lag a step behind.
    """
    before = np.concatenate([[0], seen])
    optim = config.optim

    def factor(step: int) -> float:
        return lr_factor(
            before[step], config.data.batch_tokens, total=config.tokens, warmup=optim.warmup_tokens, cooldown=optim.cooldown
        )

    return LambdaLR(optimizer, factor)


def cooldown_step(seen: np.ndarray, tokens: int, cooldown: float) -> int:
    """Steps before the first one that the cooldown of a budget of `tokens` slows.

    Args:
        seen: tokens after each step of a run at least as long, (steps,).
    """
    return int(np.searchsorted(np.concatenate([[0], seen]), tokens * (1 - cooldown), side="right"))


def parameter_groups(model: torch.nn.Module, optim: OptimConfig) -> list[dict[str, Any]]:
    """Parameters with their peak rates: the vision encoder's and the experts' own, and that of all others.

    A frozen encoder's parameters are taken out of training. (Tables 7 and 8: the encoder's rate.)
    """
    rates: dict[float, list[torch.nn.Parameter]] = {optim.lr: []}
    for name, parameter in model.named_parameters():
        path = name.split(".")
        scale = optim.encoder_lr_scale if "vision" in path else optim.expert_lr_scale if "experts" in path else 1.0
        if scale:
            rates.setdefault(scale * optim.lr, []).append(parameter)
        else:
            parameter.requires_grad_(False)
    return [{"params": parameters, "lr": lr} for lr, parameters in rates.items()]


def versions() -> dict[str, str]:
    """What decides the numbers besides the configuration."""
    return {"nmm": nmm.__version__, "python": platform.python_version(), "torch": torch.__version__, "composer": composer.__version__}


def device_name() -> str:
    """GPU model, or machine and threads of the CPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread" + "s" * (torch.get_num_threads() > 1)
