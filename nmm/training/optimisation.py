"""Which parameters learn at which rate, step by step."""

from typing import Any

import numpy as np
import torch
from composer import Callback, State
from composer.loggers import Logger
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from nmm.config import OptimConfig, RunConfig
from nmm.training.schedule import lr_factor


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


class Rates(Callback):
    """Sets the rates of the next step when a run goes on: those in a checkpoint of a longer run are the longer run's."""

    def __init__(self, scheduler: LambdaLR) -> None:
        self.scheduler = scheduler

    def fit_start(self, state: State, logger: Logger) -> None:
        rates = [base * factor(self.scheduler.last_epoch) for base, factor in zip(self.scheduler.base_lrs, self.scheduler.lr_lambdas)]
        for group, rate in zip(self.scheduler.optimizer.param_groups, rates):
            group["lr"] = rate


def cooldown_step(seen: np.ndarray, tokens: int, cooldown: float) -> int:
    """Steps before the first one that the cooldown of a budget of `tokens` slows.

    Args:
        seen: tokens after each step of a run at least as long, (steps,).
    """
    return int(np.searchsorted(np.concatenate([[0], seen]), tokens * (1 - cooldown), side="right"))
