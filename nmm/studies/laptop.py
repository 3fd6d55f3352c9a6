"""Early fusion at five sizes, in a quarter of an hour on a laptop; the same with two more seeds; and the smallest study there is."""

from dataclasses import replace

from nmm.studies.study import Study, register

LAPTOP = register(Study(
    name="laptop", widths=(24, 32, 44, 64, 96), budgets=(600_000, 1_200_000, 2_400_000, 4_800_000),
))
# how much the seed moves a loss; and trunks, of which the exponent of N needs several at each size, the ends above all
SEEDS = register(replace(LAPTOP, name="seeds", seeds=(1, 2)))
SMOKE = register(replace(
    LAPTOP, name="smoke", widths=(24, 32, 44), budgets=(20_000, 40_000, 80_000), warmup_tokens=4_000,
    batch_sequences=4, validation_sequences=32,
))
