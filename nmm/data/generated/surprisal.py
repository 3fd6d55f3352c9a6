"""How surprising generated words are to their generator: its entropy once more, by counting."""

from collections.abc import Iterable, Iterator

import numpy as np

from nmm.data.documents import Document, Span
from nmm.data.generated.world import N_WORDS, World


def surprisal(world: World, documents: Iterable[Document]) -> np.ndarray:
    """Mean of -ln p over the targets of each generated document, p being the generator's own probability.

    What an image, a clip or a film shows has p = 1, and so have the token before it and the one at the end. Averaged
    over many documents of a data type, this estimates `World.entropy` from the documents alone.

    Args:
        world: the generator of the documents.
        documents: documents of one data type.
    Returns:
        (n,) one mean a document [nats per target token].
    Raises:
        ValueError: no document, or a word that this world never puts where it stands.
    """
    log_p = np.log(world._successor_probability)
    means = []
    for document in documents:
        ranks = []
        for scene, words in _chains(world, document):
            if scene is not None:
                kind = (np.array([scene[at]]) for at in (-3, -2, -1))       # of the last object
                ranks.append(_rank(world.likely_remarks(*kind), words[:1], document))
            padded = np.concatenate([[0, 0, 0], words])
            context = (padded[at:at - 4] for at in range(4))
            ranks.append(_rank(world.likely_words(*context), words[1:], document))
        # every text position but the first is a target: ids, one token before each span, one at the end
        targets = sum(1 if isinstance(segment, Span) else len(segment.ids) for segment in document.segments)
        means.append(-log_p[np.concatenate(ranks)].sum() / targets)
    if not means:
        raise ValueError("no document to measure: ask for at least one")
    return np.array(means)


def _chains(world: World, document: Document) -> Iterator[tuple[bytes | None, np.ndarray]]:
    """Words of a document that go on from each other, with the image that each chain begins from, if one does."""
    first_word = world.first_id("word")
    scene, chain = None, [np.zeros(0, np.int64)]
    for segment in document.segments:
        if not isinstance(segment, Span):
            chain.append(segment.ids[(segment.ids >= first_word) & (segment.ids < first_word + N_WORDS)] - first_word)
        elif segment.format == "scene":
            yield scene, np.concatenate(chain)
            scene, chain = segment.data, []
    yield scene, np.concatenate(chain)


def _rank(likely: np.ndarray, words: np.ndarray, document: Document) -> np.ndarray:
    """Place of each word among the eight likely ones."""
    found = likely == words[:, None]
    if not found.any(1).all():
        raise ValueError(
            f"document {document.name} has a word that cannot stand where it does: is it of another world?"
        )
    return found.argmax(1)
