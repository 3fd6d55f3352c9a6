"""Early, late and sparse fusion side by side, each with rates of its own."""

from dataclasses import replace

from nmm.studies.laptop import LAPTOP
from nmm.studies.study import Arm, register

# Early fusion's rate is the best by mean and spread of seeds at two widths (runs/LOG.md). Those of the other arms are the
# highest at which each was seen to learn colours, shapes and patterns within the laptop study's smallest budget
# (`nmm.runs.seeing`); the records of `tuning` and `architectures` are of the corpus and the recipe before.
EARLY = Arm(name="early fusion")
LATE = Arm(name="late fusion", arch="late", lr=0.01, settings={"vision_share": 1.0})
SPARSE = Arm(name="mixture 8-top-1", arch="moe", lr=0.01, expert_lr_scale=0.25, settings={"n_experts": 8, "top_k": 1})
BY_MODALITY = Arm(name="experts by modality", arch="moe", lr=0.01, expert_lr_scale=0.25, settings={"n_experts": 2, "routing": "modality"})

ARCHITECTURES = register(replace(
    LAPTOP, name="architectures", widths=(32, 48, 64), budgets=(500_000, 1_000_000, 2_000_000), seeds=(0, 1, 2, 3),
    arms=(EARLY, LATE, SPARSE, BY_MODALITY), corpus_tokens=LAPTOP.max_tokens,
))
