"""Compression factors of a corpus: what a token stands for, modality by modality and tokenizer by tokenizer.

Three different things are called a compression factor: raw bytes behind a token, bytes behind a token after a general compressor (zstd),
and the bits per byte that a trained model reaches. The first two are measured here; the third is in the records of runs.

Raw bytes are UTF-8 text, RGB pixels as the model sees them and 16-bit samples.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import zstandard

from nmm.data import film, sound
from nmm.data.corpus import store
from nmm.data.corpus.formats import known
from nmm.data.corpus.store import Corpus, Source
from nmm.data.corpus.tokenizer import MIN_VOCABULARY, Tokenizer

SAMPLE = 1 << 20            # raw bytes of each modality of a source that are looked at, at least one document of them [bytes]
LEVEL = 12                  # of zstd: its best is some per cent better, and takes minutes
VOCABULARIES = (512, 2048, 8192)        # of the byte-level BPE that text is tried with, each where there is text for it
FRAMES = (1, 2, 4)          # frames of audio, and of a tubelet, at a position
SCALES = (0.5, 1, 2)        # patches against the corpus's own


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One modality of one source under one tokenizer.

    Attributes:
        own: whether it is the tokenizer that the corpus has.
        tokens: that the sample has under it.
        raw: bytes that a token stands for; packed: those of them that zstd leaves.
    """

    source: str
    kind: str
    modality: str
    tokenizer: str
    own: bool
    tokens: float
    raw: float
    packed: float

    @property
    def ratio(self) -> float:
        """How much smaller zstd makes the raw data."""
        return self.raw / self.packed


def factors(corpus: Corpus) -> list[Factor]:
    """The factors of every modality of every source, those of the corpus's own tokenizer first.

    Raises:
        ValueError: its images are codes, and the corpus that they were made of is not beside it.
    """
    origin = raw_corpus(corpus)
    return [each for source in origin.sources.values() for each in _of_source(origin, source, corpus)]


def raw_corpus(corpus: Corpus) -> Corpus:
    """The corpus of patches that one of codes was made of, from a folder beside it whose name goes on; a corpus of patches itself.

    Raises:
        ValueError: there is none.
    """
    if not corpus.geometry.all_codes:
        return corpus
    asked = corpus.description["coded_from"]
    for path in sorted(corpus.folder.parent.glob(f"{corpus.folder.name}-*/corpus.json")):
        if json.loads(path.read_text(encoding="utf-8")).get("hash") == asked:
            return store.open(path.parent)
    raise ValueError(f"{corpus.folder} holds codes, and the pixels and samples behind them are in corpus {asked}: put its folder beside "
                     f"this one, as {corpus.folder.name}-raw, or give that corpus")


def _of_source(corpus: Corpus, source: Source, coded: Corpus) -> Iterator[Factor]:
    texts, spans = _sample(corpus, source)
    about = {"source": source.name, "kind": source.kind}
    if texts:
        data = "".join(texts).encode("utf-8")
        packed = packed_size(data)
        for name, own, tokens in _text_tokens(corpus, texts):
            yield Factor(**about, modality="text", tokenizer=name, own=own, tokens=tokens, raw=len(data) / tokens, packed=packed / tokens)
    for modality, (arrays, positions) in spans.items():
        data = b"".join(array.tobytes() for array in arrays)
        packed = packed_size(data)
        for name, own, raw in _sizes(corpus, modality, coded, len(data) / positions):
            tokens = len(data) / raw
            yield Factor(**about, modality=modality, tokenizer=name, own=own, tokens=tokens, raw=raw, packed=packed / tokens)


def packed_size(data: bytes) -> int:
    """Bytes that zstd makes of data, its frame included."""
    return len(zstandard.ZstdCompressor(level=LEVEL).compress(data))


def _sample(corpus: Corpus, source: Source) -> tuple[list[str], dict[str, tuple[list[np.ndarray], int]]]:
    """Texts of the first training documents, and pixels and samples of each modality with the positions they take."""
    texts: list[str] = []
    spans: dict[str, tuple[list[np.ndarray], int]] = {}
    sizes: dict[str, int] = {}
    for number in range(len(source.train)):
        sequence = source.train[number]
        held = np.zeros(corpus.context, bool)
        for name, start, length, data in zip(sequence.formats, sequence.starts.tolist(), sequence.lengths.tolist(), sequence.data):
            held[start - 1:start + length] = True       # its marker too
            form = known(name)
            if sizes.get(form.modality, 0) < SAMPLE:
                raw = form.raw(data, length, corpus.geometry)
                arrays, positions = spans.get(form.modality, ([], 0))
                spans[form.modality] = ([*arrays, raw], positions + length)
                sizes[form.modality] = sizes.get(form.modality, 0) + raw.nbytes
        if sizes.get("text", 0) < SAMPLE:
            for document in range(int(sequence.documents.max(initial=-1)) + 1):
                ids = sequence.tokens[(sequence.documents == document) & ~held]
                texts.append(corpus.tokenizer.decode(ids[ids != corpus.tokenizer.end]))
                sizes["text"] = sizes.get("text", 0) + len(texts[-1].encode("utf-8"))
        if sizes and min(sizes.values()) >= SAMPLE:
            break
    return [text for text in texts if text], spans


def _text_tokens(corpus: Corpus, texts: list[str]) -> Iterator[tuple[str, bool, int]]:
    """Tokenizers of text, whether it is the corpus's own, and the tokens that these texts have under each. BPE is trained on the texts
    themselves, which flatters it where they are few.
    """
    yield f"own, {corpus.tokenizer.vocab_size:,}", True, _count(corpus.tokenizer, texts)
    yield "bytes", False, sum(len(text.encode("utf-8")) for text in texts)
    for vocabulary in VOCABULARIES:
        trained = Tokenizer.train(texts, max(vocabulary, MIN_VOCABULARY))
        if trained.vocab_size == vocabulary:            # else there is not text enough for so many
            yield f"BPE, {vocabulary:,}", False, _count(trained, texts)


def _count(tokenizer: Tokenizer, texts: list[str]) -> int:
    return sum(len(ids) for ids in tokenizer.encode(texts) if ids is not None)


def _sizes(corpus: Corpus, modality: str, coded: Corpus, own: float) -> Iterator[tuple[str, bool, float]]:
    """Tokenizers of a modality, whether it is the corpus's own, and the raw bytes behind a token of each."""
    codes = coded.geometry.codes_of.get(modality, 0)
    if modality == "image":
        each = {f"patches of {round(scale * corpus.patch)}": scale**2 for scale in SCALES if scale * corpus.patch >= 1}
    else:
        what, here = ("", sound.FRAMES) if modality == "audio" else (" of a tubelet", film.DEPTH)
        each = {f"{n} {'frame' if n == 1 else 'frames'}{what}": n / here for n in FRAMES}
    if codes:
        yield f"{codes} codes", True, own
    for name, scale in each.items():
        yield name, scale == 1 and not codes, own * scale
