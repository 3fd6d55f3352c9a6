"""Block-sparse attention beside full attention over long documents: losses by position in the context.

Lu et al. 2025 (MoBA) keep k B / L = 3 x 512 / 8192 in their scaling study; here L is a quarter of theirs, and B with it. On two
cores it takes about three hours.
"""

from dataclasses import replace

from nmm.studies.study import REAL, Arm, Study, register

CONTEXT = 2048                  # L [tokens]
BLOCK, READ = 128, 3            # B [tokens], k
LAYERS = 3
SEEDS = (0, 1, 2, 3)
FEWER = (24, 32, 48)            # widths of the fourth seed: fewer than four decide nothing in the book
MIDDLE = 32                     # width at which blocks are varied, and
MIDDLE_BUDGET = 800_000         # the budget [tokens]

SPARSE = Arm(name="block-sparse", arch="moba", settings={"block_length": BLOCK, "blocks_read": READ})
FULL = replace(SPARSE, name="full", settings={**SPARSE.settings, "full_layers": LAYERS})
HYBRID = replace(SPARSE, name="hybrid", settings={**SPARSE.settings, "full_layers": 1}, widths=(24, 48), budgets=(800_000, 1_600_000),
                 seeds=SEEDS)


def _blocks(length: int, read: int) -> Arm:
    return replace(SPARSE, name=f"blocks of {length}, {read} read", settings={"block_length": length, "blocks_read": read},
                   widths=(MIDDLE,), budgets=(MIDDLE_BUDGET,), seeds=SEEDS)


# The same number of keys in finer and coarser blocks, to one block: a window of its own; and fewer and more of the same blocks
LADDER = tuple(_blocks(length, read) for length, read in ((32, 12), (64, 6), (192, 2), (384, 1), (128, 1), (128, 2), (128, 6)))

LONG = register(Study(
    name="long-context", widths=(16, 24, 32, 48, 64), budgets=(400_000, 800_000, 1_600_000, 3_200_000), seeds=SEEDS[:3],
    n_layers=LAYERS,
    n_heads=1,                  # a wide head tells more keys apart, and the scores of a second one would double the time
    arms=(FULL, SPARSE, HYBRID, *LADDER, *(replace(arm, widths=FEWER, seeds=SEEDS[3:], last=True) for arm in (FULL, SPARSE))),
    mixtures={"long": {"interleaved": 0.5, "text": 0.5}}, long=CONTEXT, rope_base=100_000.0,
    batch_sequences=1, validation_sequences=32, prepared={**REAL, "context": CONTEXT},
))
LONG_SMOKE = register(replace(
    LONG, name="long-smoke", widths=(16, 24, 32), budgets=(10_000, 20_000, 40_000), seeds=(0,), long=512, arms=tuple(
        replace(arm, settings={**arm.settings, "block_length": 32}) for arm in (FULL, SPARSE)),
    warmup_tokens=4_000, validation_sequences=4, prepared={**REAL, "context": 512},
))
