"""The corpus of four modalities, all of them tokens: written once, through the same packing and store as all others."""

from collections.abc import Mapping
from pathlib import Path

from nmm.data.corpus.coded import coded_corpus
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.corpus.store import Corpus
from nmm.data.generated.four import KINDS, kept


def four_corpus(out: str | Path, *, tokens: int, weights: Mapping[str, float], seed: int = 0) -> Corpus:
    """Write, or open if it is there, the corpus for a training budget; its patches, frames and tubelets go to `out`-raw.

    Args:
        out: corpus folder.
        tokens: largest training budget it must hold without repetition, all data types together [tokens].
        weights: share of tokens by data type, of caption, text, audio and video.
        seed: of the world and of its documents.
    Raises:
        ValueError: `out` holds another corpus, or a data type is unknown or has no weight.
    """
    coders = kept()
    raw = embedded_corpus(Path(out).with_name(f"{Path(out).name}-raw"), tokens=tokens, weights=dict(weights), seed=seed, kinds=KINDS)
    return coded_corpus(raw, coders.pop("image"), out, coders, turned=False)
