"""The generated corpus on disk: written once, through the same packing and store as real data."""

from pathlib import Path

from nmm.config import TASKS, content_hash
from nmm.data import generated
from nmm.data.store import Corpus
from nmm.data.tokenizer import Tokenizer
from nmm.data.write import write_corpus

VALIDATION_DOCUMENTS = 1024     # held out from each source: 256 packed sequences of captions
VERSION = 2                     # raise when the same seed gives other documents


def embedded_corpus(out: str | Path, *, tokens: int, weights: dict[str, float], seed: int = 0) -> Corpus:
    """Write, or open if it is there, the generated corpus for a training budget.

    Args:
        out: corpus folder.
        tokens: largest training budget it must hold without repetition, all data types together [tokens].
        weights: share of tokens by data type.
        seed: of the world and of its documents.
    Raises:
        ValueError: `out` holds another corpus.
    """
    world = generated.World(seed)
    share = {task: weights[task] / sum(weights.values()) for task in TASKS}
    margin = 64 * generated.CONTEXT     # turns of the sources are whole sequences
    needed = {task: int(tokens * share[task]) + margin + VALIDATION_DOCUMENTS * generated.LENGTHS[task] for task in TASKS}
    documents = {task: (task, world.documents(task, needed[task], seed)) for task in TASKS}
    return write_corpus(
        documents, out, Tokenizer(world.tokenizer()), context=generated.CONTEXT, image_size=generated.GRID * generated.PATCH,
        patch=generated.PATCH, validation=VALIDATION_DOCUMENTS,
        identity=content_hash({"generated": VERSION, "seed": seed, "tokens": tokens, "weights": share}),
    )
