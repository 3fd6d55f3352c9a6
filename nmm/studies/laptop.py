"""Early fusion at five sizes, in a quarter of an hour on a laptop; and the smallest study there is, for tests."""

from dataclasses import replace

from nmm.studies.study import Study, register

LAPTOP = register(Study(
    name="laptop", widths=(32, 48, 64, 80, 112), budgets=(500_000, 1_000_000, 2_000_000, 4_000_000),
))
SMOKE = register(replace(
    LAPTOP, name="smoke", widths=(24, 32, 48), budgets=(20_000, 40_000, 80_000), warmup_tokens=4_000,
    batch_sequences=4, validation_sequences=32,
))
