"""How surprising generated words are to their generator: its entropy once more, by counting."""

from collections.abc import Iterable

import numpy as np

from nmm.data.documents import Document, Span
from nmm.data.generated.world import N_WORDS, World


def surprisal(world: World, documents: Iterable[Document]) -> np.ndarray:
    """Mean of -ln p over the targets of each generated document, p being the generator's own probability.

    What an image, a clip or a film shows has p = 1, and so have the token before it and the one at the end. Averaged
    over many documents of a data type, this estimates `World.entropy` from the text alone.

    Args:
        world: the generator of the documents.
        documents: documents of one data type.
    Returns:
        (n,) one mean a document [nats per target token].
    Raises:
        ValueError: no document, or a word that this world never puts after the two before it.
    """
    _, successors, order_of, orders = world._word_tables
    log_p, first_word = np.log(world._successor_probability), world._offsets["word"]
    means = []
    for document in documents:
        ids = np.concatenate([segment.ids for segment in document.segments if not isinstance(segment, Span)])
        spans = sum(isinstance(segment, Span) for segment in document.segments)
        words = ids[(ids >= first_word) & (ids < first_word + N_WORDS)] - first_word
        last, before = words[:-1], np.concatenate([[0], words])[:max(len(words) - 1, 0)]
        is_next = successors[last[:, None], orders[order_of[before, last]]] == words[1:, None]
        if not is_next.any(1).all():
            raise ValueError(
                f"document {document.name} has a word that cannot follow the two before it: is it of another world?"
            )
        # every text position but the first is a target: ids, one token before each span, one at the end
        means.append(-log_p[is_next.argmax(1)].sum() / (len(ids) + spans))
    if not means:
        raise ValueError("no document to measure: ask for at least one")
    return np.array(means)
