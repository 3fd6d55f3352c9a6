"""For a folder of real data about as small as a few thousand samples, read several times."""

from dataclasses import replace

from nmm.studies.laptop import LAPTOP
from nmm.studies.study import Arm, register

REAL_MINI = register(replace(
    LAPTOP, name="real-mini", widths=(16, 32, 48, 64), budgets=(64_000, 128_000, 256_000, 512_000), seeds=(0, 1),
    arms=(Arm(name="early fusion", lr=0.0115),), batch_sequences=2, rope_base=1000.0, warmup_tokens=16_000, max_epochs=16,
))
