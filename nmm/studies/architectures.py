"""Early, late and sparse fusion side by side, each with the rates that `tuning` found for it."""

from dataclasses import replace

from nmm.studies.laptop import LAPTOP
from nmm.studies.study import Arm, register

# Rates: for each arm about the lowest mean loss of two seeds; of settings that differ by less than their seeds the lower rate;
# and only where all of four seeds learn to see colours and shapes within the laptop study's smallest budget
# (`nmm.runs.seeing`). At 0.01 and above late fusion now and then does not; at 0.007 it does, on torch 2.7 and on 2.11.
EARLY = Arm(name="early fusion")
LATE = Arm(name="late fusion", arch="late", lr=0.007, settings={"vision_share": 1.0})
SPARSE = Arm(name="mixture 8-top-1", arch="moe", expert_lr_scale=0.25, settings={"n_experts": 8, "top_k": 1})
BY_MODALITY = Arm(name="experts by modality", arch="moe", expert_lr_scale=0.25, settings={"n_experts": 2, "routing": "modality"})

ARCHITECTURES = register(replace(
    LAPTOP, name="architectures", widths=(32, 48, 64), budgets=(250_000, 500_000, 1_000_000), seeds=(0, 1, 2, 3),
    arms=(EARLY, LATE, SPARSE, BY_MODALITY), corpus_tokens=LAPTOP.max_tokens,
))
