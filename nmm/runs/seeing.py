"""What a trained model sees, read from its record: its held-out caption loss on what stands in the image alone."""

import math

from nmm.data.generated.world import COLOURS, SHAPES
from nmm.record import RunRecord

SEEN = {
    "colour": len(COLOURS),
    "shape": len(SHAPES),
}  # kind of token of the generated corpus -> how many there are to guess from


def share_of_chance(record: RunRecord) -> dict[str, float]:
    """Loss on colours and shapes against that of a uniform guess, ln n: about 0 where a model sees, about 1 where not.

    Empty where the record has no losses by kind of token: of real data, or of a version that did not measure them.
    """
    losses = (record.losses_by_token or {}).get("caption", {})
    return {kind: losses[kind] / math.log(n) for kind, n in SEEN.items() if kind in losses}
