"""What a trained model sees, read from its record: its held-out caption loss on what stands in the image alone."""

import math

import pandas as pd

from nmm.data.generated.world import COLOURS, PATTERNS, SHAPES
from nmm.record import RunRecord

# Kind of token of the generated corpus -> how many there are to guess from
SEEN = {"colour": len(COLOURS), "shape": len(SHAPES), "pattern": len(PATTERNS)}
CHANCE = {f"{kind}_of_chance": kind for kind in SEEN}       # column of `nmm.runs.load` -> kind of token
LIMIT = 0.1         # of chance, below which a kind counts as seen


def share_of_chance(record: RunRecord) -> dict[str, float]:
    """Loss on colours, shapes and patterns against a uniform guess's, ln n: about 0 where a model sees, else about 1.

    Empty where the record has no losses by kind of token: of real data, or of a version that did not measure them.
    """
    losses = (record.losses_by_token or {}).get("caption", {})
    return {kind: losses[kind] / math.log(n) for kind, n in SEEN.items() if kind in losses}


def sees(table: pd.DataFrame) -> pd.Series:
    """Whether each run reads all of its pictures: true, false, or missing where its record does not tell.

    By its losses by kind of token, each below `LIMIT` of chance.

    Args:
        table: as `nmm.runs.load` gives it.
    """
    worst = table[list(CHANCE)].max(axis=1)
    return (worst < LIMIT).astype("boolean").where(worst.notna())
