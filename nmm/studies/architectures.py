"""Early, late and sparse fusion side by side, each with rates of its own."""

from dataclasses import replace

from nmm.studies.laptop import LAPTOP
from nmm.studies.study import Arm, register

# Rates: `tuning` tried three for each arm at two widths. Early and late fusion want about the root of the width, mixtures more.
EARLY = Arm(name="early fusion")
LATE = Arm(name="late fusion", arch="late", lr=0.014, settings={"vision_share": 1.0})
SPARSE = Arm(name="mixture 8-top-1", arch="moe", lr=0.04, lr_power=1.0, expert_lr_scale=0.25, settings={"n_experts": 8, "top_k": 1})
BY_MODALITY = replace(SPARSE, name="experts by modality", settings={"n_experts": 2, "routing": "modality"})

ARCHITECTURES = register(replace(
    LAPTOP, name="architectures", widths=(24, 44, 64), budgets=(600_000, 1_200_000), seeds=(0, 1, 2, 3),
    arms=(EARLY, LATE, SPARSE, BY_MODALITY), corpus_tokens=LAPTOP.max_tokens,
))
