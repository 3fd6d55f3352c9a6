"""What a trained model sees, read from its record: its held-out caption loss on what stands in the image alone."""

import math

import pandas as pd

from nmm.data.generated.world import COLOURS, PATTERNS, SHAPES
from nmm.record import RunRecord

# Kind of token of the generated corpus -> how many there are to guess from
SEEN = {"colour": len(COLOURS), "shape": len(SHAPES), "pattern": len(PATTERNS)}
CHANCE = {f"{kind}_of_chance": kind for kind in SEEN}       # column of `nmm.runs.load` -> kind of token
LIMIT = 0.05        # of chance, below which a kind counts as seen

# An earlier generated corpus, by the hash of what was written for 2M tokens. Its records have no losses by kind, but
# its captions had nothing uncertain, so that two readers' losses follow from its tables: 4 H(name) / 17 and
# 4 H(name | colour, shape) / 17 [nats per target token].
CORPUS_2 = "7eb91ee4cd4a63c0"
CORPUS_2_LINES = {"sees nothing": 1.3971, "reads colour and shape": 0.4013}


def share_of_chance(record: RunRecord) -> dict[str, float]:
    """Loss on colours, shapes and patterns against a uniform guess's, ln n: about 0 where a model sees, else about 1.

    Empty where the record has no losses by kind of token: of real data, or of a version that did not measure them.
    """
    losses = (record.losses_by_token or {}).get("caption", {})
    return {kind: losses[kind] / math.log(n) for kind, n in SEEN.items() if kind in losses}


def sees(table: pd.DataFrame) -> pd.Series:
    """Whether each run reads all of its pictures: true, false, or missing where its record does not tell.

    By its losses by kind of token, each below `LIMIT` of chance; for a run of corpus 2 by its caption loss, below that
    of a reader of colours and shapes alone.

    Args:
        table: as `nmm.runs.load` gives it.
    """
    worst = table[list(CHANCE)].max(axis=1)
    known = (worst < LIMIT).astype("boolean").where(worst.notna())
    return known.mask(table["corpus"] == CORPUS_2, table["L_caption"] < CORPUS_2_LINES["reads colour and shape"])


def told_corpus(table: pd.DataFrame) -> str:
    """A sentence where all records are of corpus 2, for chapters that show them beside others; else empty."""
    if set(table["corpus"]) != {CORPUS_2}:
        return ""
    rates = ", ".join(f"{rate:g}" for rate in sorted((table["lr"] * (table["d_model"] / 32) ** 0.5).round(6).unique()))
    return ("These records are of corpus 2 and recipe 1 (peak rates at 32 features "
            f"{rates}; {table['batch_tokens'].max():,} tokens a step), before today's corpus and recipe: no loss here "
            "can be held against one of the laptop study.")
