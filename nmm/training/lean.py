"""What Composer does in each step that a small model need not wait for, left out without changing the result.

At d = 16 a step takes some 7 ms, and Composer's own share of it was 2 to 3 ms. Measured: benchmarks/trainer.py.
"""

from typing import Any

import torch
from composer import Callback, Event, Trainer
from composer.loggers import LoggerDestination
from composer.optim import DecoupledAdamW
from torch import Tensor

PER_STEP = tuple(
    event for event in Event if event.value.startswith(("batch_", "before_", "after_")) and not event.value.endswith("_load")
)


def call_listeners_only(trainer: Trainer) -> None:
    """On the 13 events of a step, call the algorithms and callbacks that listen, and nothing else.

    Composer's engine walks through all of them on each event, with markers for a profiler we do not use. The order is
    Composer's: algorithms, callbacks, loggers. Call it after the Trainer is built; callbacks added later are not heard.
    """
    engine, state = trainer.engine, trainer.state
    callbacks = sorted(state.callbacks, key=lambda callback: isinstance(callback, LoggerDestination))
    listeners = {
        event: [callback for callback in callbacks if _listens(type(callback), event)] for event in PER_STEP
    }
    run_event = engine.run_event

    def run_listeners(event: Event) -> dict[str, Any]:
        if event not in listeners:
            return run_event(event)
        for algorithm in state.algorithms:
            if algorithm.match(event, state):
                algorithm.apply(event, state, trainer.logger)
        for callback in listeners[event]:
            callback.run_event(event, state, trainer.logger)
        return {}

    engine.run_event = run_listeners  # type: ignore[method-assign]


def _listens(kind: type[Callback], event: Event) -> bool:
    return any(getattr(kind, name) is not getattr(Callback, name) for name in ("run_event", event.value))


class Shared(dict[str, Tensor]):
    """A batch that is not copied: Composer deep-copies each one for training metrics, and we ask for none."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Shared":
        return self


class FusedDecoupledAdamW(DecoupledAdamW):
    """Composer's DecoupledAdamW with torch's fused kernel for the update; the same state, in one call for all weights.

    torch decays by lr * weight_decay, Composer by (lr / peak lr) * weight_decay: the kernel is given
    weight_decay / peak lr.
    """

    @staticmethod
    def adamw(
        params: list[Tensor], grads: list[Tensor], exp_avgs: list[Tensor], exp_avg_sqs: list[Tensor],
        max_exp_avg_sqs: list[Tensor], state_steps: list[Tensor], *, amsgrad: bool, beta1: float, beta2: float,
        lr: float, initial_lr: float, weight_decay: float, eps: float,
    ) -> None:
        """One update of all parameters in place. Arguments as `DecoupledAdamW.adamw`; `state_steps` count this step already."""
        if params:
            torch._fused_adamw_(
                params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, amsgrad=amsgrad, lr=lr, beta1=beta1,
                beta2=beta2, weight_decay=weight_decay / initial_lr if initial_lr else 0.0, eps=eps, maximize=False,
                grad_scale=None, found_inf=None,
            )
