"""The study: every arm, four mixtures, six sizes, six budgets, two to four seeds. On two cores it takes seven to ten hours."""

from dataclasses import replace

from nmm.data.batches.mixture import MIXTURES
from nmm.studies.architectures import BY_MODALITY, EARLY, LATE, SPARSE
from nmm.studies.laptop import LAPTOP
from nmm.studies.study import MAIN_MIXTURE, Arm, register

OTHERS = tuple(name for name in MIXTURES if name != MAIN_MIXTURE)
SECOND = "20-40-40"             # the mixture farthest from the main one
FEWER = (24, 40, 68)            # widths of arms and seeds that are compared at some sizes only

# Encoders about half as wide as the decoder, as in the paper's pairs
NARROW = replace(LATE, name="late fusion, narrow encoder", settings={"vision_share": 0.5})
DEEP = replace(SPARSE, name="mixture 8-top-1, 8 layers", lr=0.02, settings={**SPARSE.settings, "n_layers": 8})


def _experts(n: int) -> Arm:
    return replace(
        SPARSE, name=f"mixture {n}-top-1", settings={"n_experts": n, "top_k": 1}, mixtures=(MAIN_MIXTURE,), widths=FEWER,
        budgets=(600_000, 1_200_000, 2_400_000), seeds=(0, 1),
    )


STUDY = register(replace(
    LAPTOP, name="study", widths=(24, 32, 40, 52, 68, 88), budgets=(600_000, 850_000, 1_200_000, 1_700_000, 2_400_000, 3_400_000),
    seeds=(0, 1, 2), mixtures=MIXTURES,
    arms=(
        replace(EARLY, mixtures=OTHERS, seeds=(0, 1)),
        *(replace(arm, mixtures=(MAIN_MIXTURE,)) for arm in (EARLY, LATE, SPARSE, BY_MODALITY)),
        replace(NARROW, mixtures=(MAIN_MIXTURE,), seeds=(0, 1)),
        *(replace(arm, mixtures=(SECOND,), widths=FEWER, seeds=(0, 1)) for arm in (LATE, NARROW, SPARSE, BY_MODALITY)),
        *(_experts(n) for n in (2, 4, 16)),
        replace(DEEP, mixtures=(MAIN_MIXTURE,), widths=(24, 40), budgets=(1_200_000, 2_400_000), seeds=(0, 1)),
        # fewer than four seeds decide nothing in the book; the widths between hold the law
        *(replace(arm, mixtures=(MAIN_MIXTURE,), widths=FEWER, seeds=(3,), last=True) for arm in (EARLY, LATE, SPARSE, BY_MODALITY)),
        replace(EARLY, mixtures=OTHERS, widths=FEWER, seeds=(2, 3), last=True),
    ),
))
