"""The corpus of four modalities, all of them tokens: written once, through the same packing and store as all others."""

from collections.abc import Mapping
from pathlib import Path

from nmm.config import content_hash
from nmm.data import sound
from nmm.data.corpus import store
from nmm.data.corpus.coded import coded_corpus
from nmm.data.corpus.store import Corpus
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.corpus.write import write_corpus
from nmm.data.files import write_json
from nmm.data.generated import audio, video
from nmm.data.generated.four import KINDS, LENGTHS, documents, kept
from nmm.data.generated.world import CONTEXT, GRID, PATCH, World, token_kinds

VALIDATION_DOCUMENTS = 512      # held out of each data type; the study measures all of them
VERSION = 1                     # raise when the same seed gives other documents


def four_corpus(out: str | Path, *, tokens: int, weights: Mapping[str, float], seed: int = 0) -> Corpus:
    """Write, or open if it is there, the corpus for a training budget; its patches, frames and tubelets go to `out`-raw.

    Args:
        out: corpus folder.
        tokens: largest training budget it must hold without repetition, all data types together [tokens].
        weights: share of tokens by data type, of caption, text, audio and video.
        seed: of the world and of its documents.
    Raises:
        ValueError: `out` holds another corpus, or a data type is unknown or none has a weight.
    """
    coders = kept()
    raw = raw_corpus(Path(out).with_name(f"{Path(out).name}-raw"), tokens=tokens, weights=weights, seed=seed)
    return coded_corpus(raw, coders.pop("image"), out, coders, turned=False)


def raw_corpus(out: str | Path, *, tokens: int, weights: Mapping[str, float], seed: int = 0) -> Corpus:
    """The same corpus with patches, frames and tubelets, see `four_corpus`."""
    world = World(seed)
    if set(weights) - set(KINDS) or not all(weight >= 0 for weight in weights.values()) or not sum(weights.values()) > 0:
        raise ValueError(f"weights {dict(weights)}: shares of {', '.join(KINDS)}, none negative and their sum positive")
    share = {kind: weights.get(kind, 0.0) / sum(weights.values()) for kind in KINDS}        # all are held out, whatever is trained on
    made = {
        kind: (kind, documents(world, kind, int(tokens * share[kind]) + 64 * CONTEXT + VALIDATION_DOCUMENTS * LENGTHS[kind], seed))
        for kind in KINDS
    }
    corpus = write_corpus(
        made, out, Tokenizer(world.tokenizer(audio.WORDS + video.WORDS)), context=CONTEXT, image_size=GRID * PATCH, patch=PATCH,
        validation=VALIDATION_DOCUMENTS, audio_dim=sound.AUDIO_DIM, video_dim=video.VIDEO_DIM,
        identity=content_hash({"four": VERSION, "seed": seed, "tokens": tokens, "weights": share}),
    )
    if not corpus.token_kinds:
        named = token_kinds() + audio.TOKEN_KINDS + video.TOKEN_KINDS
        write_json(corpus.folder / "corpus.json", {**corpus.description, "token_kinds": named})
        corpus = store.open(corpus.folder)
    return corpus
