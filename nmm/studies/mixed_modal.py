"""How much of each: models that read and write text and images, over sizes and shares of images; and the same with nothing shared."""

from dataclasses import replace

from nmm.data.generated.scenes import mixture
from nmm.studies.study import Arm, Study, register

RHO = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.75, 1)         # share of image tokens
MIXTURES = {f"rho {rho:g}": mixture(rho) for rho in RHO}

NEXT = Arm(name="next token", objective="cm3")
# Half of the documents masked; the same tokens, and for its sentinels a few FLOPs more
INFILLING = Arm(
    name="infilling", objective="cm3", infilling=0.5, widths=(24, 44), mixtures=("rho 0", "rho 0.2", "rho 0.4", "rho 0.75"),
)

MIXED_MODAL = register(Study(
    name="mixed-modal", widths=(16, 24, 32, 44, 64), budgets=(400_000, 800_000), seeds=(0, 1), arms=(NEXT, INFILLING), mixtures=MIXTURES,
    scenes=1.0, warmup_tokens=40_000, validation_sequences=100,
))
# Texts tell of other objects than the images beside them show: nothing to transfer but the statistics of kinds
MIXED_MODAL_APART = register(replace(
    MIXED_MODAL, name="mixed-modal-apart", widths=(24, 44), seeds=(0,), arms=(NEXT,), scenes=0.0,
    mixtures={name: MIXTURES[name] for name in ("rho 0", "rho 0.1", "rho 0.3", "rho 0.55", "rho 1")},
))
# So small that it tells nothing: for tests, and for a chapter that shows how its records would be read
register(replace(
    MIXED_MODAL, name="mixed-modal-smoke", widths=(16, 24, 32), budgets=(12_000,), seeds=(0,), arms=(NEXT,), warmup_tokens=2_000,
    batch_sequences=4, validation_sequences=16,
    mixtures={name: MIXTURES[name] for name in ("rho 0", "rho 0.2", "rho 0.4", "rho 0.75", "rho 1")},
))
