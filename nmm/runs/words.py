"""Words of scenes, apart from ends and markers: how many were read, and the loss on what texts say, not on whether a picture follows."""

from nmm.data.generated.scenes import LENGTHS, TRAITS, WORDS
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
    if not of_scenes(record):
        return None
    return sum(n * losses[trait] for trait, n in TARGETS.items()) / sum(TARGETS.values())


def words_read(record: RunRecord) -> float | None:
    """Words among the training tokens, without markers and ends of documents; None where images are no tokens or texts are not of scenes.

    A mixture's follow from its image tokens and `rho`, which counts words; of texts alone every document has one token that is no word.
    """
    if not of_scenes(record) or not record.tokens:
        return None
    if record.rho:
        return record.tokens["image"] * (1 - record.rho) / record.rho
    return record.tokens["text"] * WORDS / LENGTHS["text"]


def of_scenes(record: RunRecord) -> bool:
    """Whether images are tokens and the losses by kind of token are of scenes."""
    return record.rho is not None and (record.losses_by_token or {}).get("text", {}).keys() >= TARGETS.keys()
