"""Rates for the arms of `architectures`: three for every arm, and scales of the encoder's and the experts' rate."""

from dataclasses import replace

from nmm.studies.architectures import BY_MODALITY, EARLY, LATE, SPARSE
from nmm.studies.laptop import LAPTOP
from nmm.studies.study import TUNED_WIDTH, register

RATES = (0.01, 0.02, 0.04)
ENCODER_SCALES = (0.1, 0.25, 0.5, 1.0, 2.0)
EXPERT_SCALES = (0.125, 0.25, 0.5, 1.0)

TUNING = register(replace(
    LAPTOP, name="tuning", widths=(TUNED_WIDTH,), budgets=(500_000,), seeds=(0, 1), corpus_tokens=LAPTOP.max_tokens,
    arms=(
        *(replace(EARLY, lr=lr) for lr in RATES),
        *(replace(LATE, lr=lr, encoder_lr_scale=scale) for lr in RATES for scale in ENCODER_SCALES),
        *(replace(arm, lr=lr, expert_lr_scale=scale) for arm in (SPARSE, BY_MODALITY) for lr in RATES for scale in EXPERT_SCALES),
    ),
))
