"""One run: a RunConfig in, a RunRecord out, trained by Composer. It, `nmm.lean` and `nmm.checkpoints` alone import Composer: 12 s of CPU."""

import atexit
import math
import platform
import time
from collections.abc import Callable
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
from nmm.config import RunConfig
from nmm.data.loader import IGNORE, train_batches, validation_batches
from nmm.data.mixture import Mixture
from nmm.data.plan import plan, validation_sources
from nmm.data.store import Corpus
from nmm.flops import exact_train_flops
from nmm.lean import FusedDecoupledAdamW, Shared, call_listeners_only
from nmm.models import build
from nmm.runs import RunRecord
from nmm.schedule import lr_factor

CURVE_POINTS = 40           # points of a training curve
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
        """Mean cross-entropy over text targets [nats]."""
        return F.cross_entropy(outputs, targets(batch))

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
    """Records the mean training loss of each of `CURVE_POINTS` stretches, counts targets, reports progress, stops at NaN.

    Its state travels with checkpoints, so that a resumed run has the curve of an undisturbed one.
    """

    def __init__(self, total_tokens: int, progress: Progress | None) -> None:
        self.stretch = total_tokens / CURVE_POINTS
        self.progress = progress
        self.points: list[list[float]] = []
        self.sum, self.steps, self.targets, self.reported = torch.zeros(1), 0, 0, 0

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
        if seen < self.stretch * (len(self.points) + 1):
            return
        mean = self.sum.item() / self.steps
        if not math.isfinite(mean):
            raise Diverged(f"the training loss became {mean} within the {self.steps} steps before {seen:,} tokens")
        self.points.append([seen, mean])
        self.sum, self.steps = torch.zeros_like(self.sum), 0
        if self.progress:
            self.progress(seen - self.reported)
            self.reported = seen


@dataclass(frozen=True)
class Fitted:
    """A Trainer with what a record needs besides it."""

    trainer: Trainer
    curve: Curve
    mixture: Mixture
    steps: int


def make_trainer(
    config: RunConfig, corpus: Corpus, *, scratch: Path | None = None, checkpoint_seconds: float = 0.0,
    progress: Progress | None = None,
) -> Fitted:
    """Composer's Trainer for a run, seeded and ready to fit; arguments and errors as for `train`."""
    mixture, seen = plan(config, corpus)
    batch_size = config.data.batch_sequences
    reproducibility.seed_all(config.seed)
    model = LanguageModel(build(config.model))
    curve = Curve(config.tokens, progress)
    resume = {}
    if scratch is not None:
        checkpoints.settle(scratch)
        resume = {
            "save_folder": str(scratch), "save_filename": checkpoints.FILENAME,
            "save_interval": checkpoints.every(checkpoint_seconds),
            "save_num_checkpoints_to_keep": 1, "autoresume": True,
        }
    peak = config.optim
    optimizer = FusedDecoupledAdamW(
        model.parameters(), lr=peak.lr, betas=(peak.beta1, peak.beta2), weight_decay=peak.weight_decay
    )
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
        schedulers=schedule(optimizer, config, seen),
        step_schedulers_every_batch=True,
        algorithms=[GradientClipping(clipping_type="norm", clipping_threshold=peak.clip)],
        callbacks=[curve],
        seed=config.seed,
        device="gpu" if torch.cuda.is_available() else "cpu",
        device_train_microbatch_size=batch_size,
        progress_bar=False,
        **resume,
    )
    if scratch is not None:
        checkpoints.name_failures(trainer, scratch)
    atexit.unregister(Engine._close)     # it would keep every model of this process alive
    call_listeners_only(trainer)
    return Fitted(trainer, curve, mixture, len(seen))


def train(
    config: RunConfig,
    corpus: Corpus,
    *,
    preset: str,
    size: str,
    entropy: dict[str, float] | None = None,
    scratch: Path | None = None,
    checkpoint_seconds: float = 0.0,
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
        progress: called with the tokens trained since the last call, about `CURVE_POINTS` times a run.
    Returns:
        The record; its status is "failed", with the reason, if the loss diverged.
    Raises:
        ValueError: the corpus is another one, lacks a data type, or is too small for the budget.
    """
    try:
        fitted = make_trainer(config, corpus, scratch=scratch, checkpoint_seconds=checkpoint_seconds, progress=progress)
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
    tokens = {
        "text": sum(row["text_tokens"] for row in realised.values()),
        "image": sum(row["image_tokens"] for row in realised.values()),
        "padding": sum(row["padding"] for row in realised.values()),
        "target": curve.targets,
    }
    return RunRecord(
        config=config, preset=preset, size=size, status="finished", entropy=entropy,
        tokens=tokens,
        share={name: row["share"] for name, row in realised.items()},
        flops_exact=exact_train_flops(
            config.model, context=config.data.context, text_tokens=tokens["text"], image_tokens=tokens["image"],
            target_tokens=tokens["target"],
        ),
        losses=losses,
        curve=curve.points,
        wall_seconds=round(training + evaluation, 3),
        tokens_per_second=round((tokens["text"] + tokens["image"]) / training, 1),
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


def versions() -> dict[str, str]:
    """What decides the numbers besides the configuration."""
    return {"nmm": nmm.__version__, "python": platform.python_version(), "torch": torch.__version__, "composer": composer.__version__}


def device_name() -> str:
    """GPU model, or machine and threads of the CPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread" + "s" * (torch.get_num_threads() > 1)
