"""Instruction tuning: models of every architecture, trained on less and more, finetuned on questions about images with exact answers.

On two cores it takes about an hour.
"""

from dataclasses import replace

from nmm.studies.architectures import EARLY, LATE, SPARSE
from nmm.studies.laptop import LAPTOP
from nmm.studies.study import MAIN_MIXTURE, MIXTURE, Arm, register

ASKED = "questions"
FINETUNED = ", finetuned"
BUDGETS = (300_000, 1_200_000)              # of the models before
QUESTIONS = 500_000                         # of all finetuning [tokens]

FOUR = replace(SPARSE, name="mixture 4-top-1", settings={"n_experts": 4, "top_k": 1})
TOP_2 = replace(SPARSE, name="mixture 8-top-2", settings={"n_experts": 8, "top_k": 2})


def _fine(width: int) -> dict[str, int]:
    """Experts half as wide, two of which are as large as the dense layer."""
    return {"n_experts": 8, "top_k": 2, "d_expert": LAPTOP.model(width, vocab_size=1, patch_dim=0).d_hidden // 2}


MIDDLE = 44                 # width at which mixtures are compared (Table 13)
FINE = replace(SPARSE, name="mixture 8-top-2, fine-grained", settings=_fine(MIDDLE))
VARIANTS = tuple(replace(arm, widths=(MIDDLE,), budgets=BUDGETS[-1:]) for arm in (FOUR, TOP_2, FINE))


def finetuned(arm: Arm, questions: int = QUESTIONS, warmup: int = 20_000) -> Arm:
    """The arm that goes on from all runs of another on questions, at its rate, which falls from the start (runs/LOG.md)."""
    return replace(arm, name=arm.name + FINETUNED, objective="answers", mixtures=(ASKED,), start={"model": arm.name},
                   budgets=(questions,), cooldown=1.0, warmup_tokens=warmup)


def _both(arms: tuple[Arm, ...], **how: int) -> tuple[Arm, ...]:
    return (*(replace(arm, mixtures=(MAIN_MIXTURE,)) for arm in arms), *(finetuned(arm, **how) for arm in arms))


FINETUNING = register(replace(
    LAPTOP, name="finetuning", widths=(24, MIDDLE), budgets=BUDGETS, seeds=(0, 1, 2, 3), arms=_both((EARLY, LATE, SPARSE, *VARIANTS)),
    mixtures={MAIN_MIXTURE: MIXTURE, ASKED: {"conversation": 1.0}}, validation_sequences=128,
))
# So small that it tells nothing: for tests, and for a chapter that shows how its records would be read
register(replace(
    FINETUNING, name="finetuning-smoke", widths=(16, 24), budgets=(8_000, 16_000), seeds=(0, 1), warmup_tokens=2_000, batch_sequences=4,
    validation_sequences=16, arms=_both((EARLY, LATE), questions=8_000, warmup=1_000),
))
