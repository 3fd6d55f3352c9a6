"""The corpus of scenes, images as codes: written once, through the same packing and store as all others."""

from pathlib import Path

from nmm.config import content_hash
from nmm.data.codes import ImageTokenizer
from nmm.data.corpus import store
from nmm.data.corpus.coded import coded_corpus
from nmm.data.corpus.store import Corpus
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.corpus.write import write_corpus
from nmm.data.files import write_json
from nmm.data.generated.scenes import CONTEXT, KINDS, LENGTHS, Scenes
from nmm.data.generated.world import GRID, PATCH

VALIDATION_DOCUMENTS = 1024     # held out of each data type
VERSION = 1                     # raise when the same seed gives other documents
# Trained by `nmm.models.image_tokenizer.train` on seed 0, and kept, for another machine's training ends in other last digits: codes, and
# with them the names of runs, would be others there.
KEPT = Path(__file__).parent.parent / "generated" / "scenes.safetensors"


def scenes_corpus(
    out: str | Path, *, tokens: int, weights: dict[str, float], shared: float = 1.0, seed: int = 0, images: ImageTokenizer | None = None,
) -> Corpus:
    """Write, or open if it is there, the corpus of scenes for a training budget; its patches go to `out`-patches.

    Args:
        out: corpus folder.
        tokens: largest training budget it must hold without repetition, all data types together [tokens].
        weights: share of tokens by data type, of text, caption and image.
        shared: share of an image's objects that its text tells of.
        seed: of the world and of its documents.
        images: the image tokenizer; None: the one that is kept.
    Raises:
        ValueError: `out` holds another corpus, a data type is unknown or none has a weight, or the image tokenizer does not fit.
    """
    out, patches = Path(out), patches_corpus(Path(out).with_name(f"{Path(out).name}-patches"), tokens, weights, shared, seed)
    return coded_corpus(patches, images or ImageTokenizer.read(KEPT), out)


def patches_corpus(out: str | Path, tokens: int, weights: dict[str, float], shared: float = 1.0, seed: int = 0) -> Corpus:
    """The same corpus with patches for images, see `scenes_corpus`: what an image tokenizer is trained on."""
    world = Scenes(seed, shared)
    if set(weights) - set(KINDS) or not all(weight >= 0 for weight in weights.values()) or not sum(weights.values()) > 0:
        raise ValueError(f"weights {weights}: shares of {', '.join(KINDS)}, none negative and their sum positive")
    share = {kind: weights.get(kind, 0.0) / sum(weights.values()) for kind in KINDS}        # all are held out, whatever is trained on
    documents = {
        kind: (kind, world.documents(kind, int(tokens * share[kind]) + 64 * CONTEXT + VALIDATION_DOCUMENTS * LENGTHS[kind], seed))
        for kind in KINDS
    }
    corpus = write_corpus(
        documents, out, Tokenizer(world.tokenizer()), context=CONTEXT, image_size=GRID * PATCH, patch=PATCH,
        validation=VALIDATION_DOCUMENTS,
        identity=content_hash({"scenes": VERSION, "seed": seed, "shared": shared, "tokens": tokens, "weights": share}),
    )
    if not corpus.token_kinds:
        write_json(corpus.folder / "corpus.json", {**corpus.description, "token_kinds": world.token_kinds})
        corpus = store.open(corpus.folder)
    return corpus
