"""Rates for the arms of `architectures`: three for every arm, at two widths."""

from dataclasses import replace

from nmm.studies.architectures import ARCHITECTURES
from nmm.studies.laptop import LAPTOP
from nmm.studies.study import register

RATES = (0.01, 0.02, 0.04)

TUNING = register(replace(
    LAPTOP, name="tuning", widths=(24, 64), budgets=(600_000,), corpus_tokens=LAPTOP.max_tokens,
    arms=tuple(replace(arm, lr=lr, lr_power=0.0) for arm in ARCHITECTURES.arms for lr in RATES),
))
