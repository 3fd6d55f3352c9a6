"""Early, late and sparse fusion side by side, each with rates of its own."""

from dataclasses import replace

from nmm.studies.laptop import LAPTOP
from nmm.studies.study import Arm, register

# Early fusion's rate is the best of three at two widths (runs/LOG.md); the others' wait for `tuning` on this corpus. The
# records of `tuning` and `architectures` are of corpus 2 and its recipe.
EARLY = Arm(name="early fusion")
LATE = Arm(name="late fusion", arch="late", lr=0.01, settings={"vision_share": 1.0})
SPARSE = Arm(name="mixture 8-top-1", arch="moe", lr=0.01, expert_lr_scale=0.25, settings={"n_experts": 8, "top_k": 1})
BY_MODALITY = Arm(name="experts by modality", arch="moe", lr=0.02, expert_lr_scale=0.25, settings={"n_experts": 2, "routing": "modality"})

ARCHITECTURES = register(replace(
    LAPTOP, name="architectures", widths=(24, 44, 64), budgets=(600_000, 1_200_000), seeds=(0, 1, 2, 3),
    arms=(EARLY, LATE, SPARSE, BY_MODALITY), corpus_tokens=LAPTOP.max_tokens,
))
