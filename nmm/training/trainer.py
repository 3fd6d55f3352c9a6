"""Composer's Trainer over the parts of a run."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from composer import DataSpec, Evaluator, Trainer
from composer.algorithms import GradientClipping
from torch import Tensor
from torch.utils.data import DataLoader

from nmm.data.batches.loader import IGNORE
from nmm.training import checkpoints, compat, execution
from nmm.training.objectives.objective import Batch
from nmm.training.optimisation import Rates, cooldown_step
from nmm.training.parts import Parts


def make_trainer(
    parts: Parts, *, scratch: Path | None = None, checkpoint_seconds: float = 0.0, branches: Mapping[int, Path] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Trainer:
    """A Trainer ready to fit; arguments and errors as for `nmm.training.run.train`."""
    config, place, optim = parts.config, parts.place, parts.config.optim
    callbacks, resume = [parts.curve, Rates(parts.scheduler), *parts.probes], {}
    if scratch is not None:
        compat.sign_checkpoints()
        execution.agreed(lambda: checkpoints.settle(scratch))
        forks = {folder: cooldown_step(parts.seen, tokens, optim.cooldown) for tokens, folder in (branches or {}).items()}
        callbacks += checkpoints.savers(scratch, checkpoint_seconds, forks, stop)
        resume = {"save_folder": str(scratch), "autoresume": True}
    trainer = Trainer(
        model=parts.model,
        run_name=config.id,
        train_dataloader=_spec(parts, parts.batches),
        eval_dataloader=[
            Evaluator(label=task, dataloader=_spec(parts, batches), metric_names=list(parts.model.objective.metrics()),
                      device_eval_microbatch_size=batches.dataset.batch_size)
            for task, batches in parts.held_out.items()
        ],
        eval_interval=0,
        max_duration=f"{config.tokens}tok",
        optimizers=parts.optimizer,
        schedulers=parts.scheduler,
        step_schedulers_every_batch=True,
        algorithms=[GradientClipping(clipping_type="norm", clipping_threshold=optim.clip)],
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
    compat.name_failures(trainer)
    compat.forget_at_exit()
    compat.call_listeners_only(trainer)
    return trainer


def _spec(parts: Parts, loader: DataLoader) -> DataSpec:
    # Composer refuses a DataLoader without torch's DistributedSampler; ours gives each process batches of its own anyway.
    spec = DataSpec(
        loader.dataset,
        batch_transforms=_transform(parts),
        get_num_samples_in_batch=lambda batch: batch["input_ids"].shape[0],
        get_num_tokens_in_batch=_tokens,
        split_batch=_split,
        microbatch_transforms=compat.Shared,
    )
    spec.dataloader = loader
    return spec


def _transform(parts: Parts) -> Callable[[Batch], Batch]:
    prepare = parts.model.objective.prepare
    if parts.place.world_size == 1:
        return prepare
    slots = execution.blank_slots(parts.config.model)
    return lambda batch: slots(prepare(batch))


def _tokens(batch: Batch) -> dict[str, int]:
    """Tokens of the corpus without padding, for the schedule; targets, by which microbatches and processes are weighted in their sum."""
    return {"total": int(batch.get("own", batch["document_ids"] >= 0).sum()), "loss_generating": int((batch["labels"] != IGNORE).sum())}


def _split(batch: dict[str, Tensor], size: float) -> list[Batch]:
    """Microbatches of at most `size` sequences."""
    parts = {name: tensor.split(int(size)) for name, tensor in batch.items()}
    return [dict(zip(parts, tensors, strict=True)) for tensors in zip(*parts.values(), strict=True)]
