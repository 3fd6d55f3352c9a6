"""The loss on what texts of scenes say, apart from whether a picture follows them."""

from nmm.data.generated.scenes import TRAITS
from nmm.data.generated.world import GRID
from nmm.record import RunRecord

# A text's first word is a row and no target
TARGETS = {trait: GRID - (trait == "place") for trait in TRAITS}


def word_loss(record: RunRecord) -> float | None:
    """Held-out loss of texts alone on their words, without the end of the document [nats per word].

    After a text comes the end or a picture, as often as in the mixture: a model of many captions has a high loss on the end of a text alone
    and knows no less of its words. None where images are no tokens or the losses by kind of token are not of scenes.
    """
    losses = (record.losses_by_token or {}).get("text", {})
    if record.rho is None or not losses.keys() >= TARGETS.keys():
        return None
    return sum(n * losses[trait] for trait, n in TARGETS.items()) / sum(TARGETS.values())
