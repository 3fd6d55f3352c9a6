"""A corpus whose images are codes, made of one whose images are patches: the same packed sequences, a code where a patch stood.

One vocabulary: the text's ids, then the sentinels of masked spans, then the codes. Every second caption is turned, so that it has its
text before its image; interleaved documents keep their order.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tokenizers

from nmm.config import content_hash
from nmm.data.batches.infilling import SENTINELS
from nmm.data.codes import ImageTokenizer
from nmm.data.corpus import store
from nmm.data.corpus.beginning import locked
from nmm.data.corpus.formats import CODES, known
from nmm.data.corpus.store import IMAGE_TOKENIZER, SPLITS, Corpus, Writer
from nmm.data.corpus.store import Sequence as Packed
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.files import write_json, write_text
from nmm.data.geometry import Geometry

VERSION = 1     # raise when the same corpus and image tokenizer give other sequences
ROWS = 64       # sequences whose images are decoded together
TURNED = 2      # every so many captions one has its text first


def coded_corpus(corpus: Corpus, images: ImageTokenizer, out: str | Path) -> Corpus:
    """Write, or open if it is there, the corpus with codes for patches.

    Args:
        corpus: generated or prepared from files; its images of any one or several sizes that its patch divides.
        images: trained on patches of its size.
        out: folder of the new corpus; the image tokenizer goes there too, and its hash into the corpus's.
    Raises:
        ValueError: patches of another size, images that are codes already, no images, or another corpus in `out`.
    """
    out = Path(out)
    if corpus.geometry.codes:
        raise ValueError(f"the images of {corpus.folder} are codes already, of image tokenizer {corpus.description['image_tokenizer']}")
    if images.patch_dim != corpus.patch_dim:
        raise ValueError(f"image tokenizer {images.hash} takes patches of {images.patch_dim} numbers, and those of {corpus.folder} have "
                         f"{corpus.patch_dim}: train one on this corpus, or prepare it with another patch")
    identity = content_hash({"coded": VERSION, "corpus": corpus.hash, "image_tokenizer": images.hash})
    with locked(out):
        if (out / "corpus.json").exists():
            found = store.open(out)
            if found.description["identity"] != identity:
                raise ValueError(f"{out} already holds a corpus made from other data or settings: choose another folder, or delete "
                                 "this one")
            return found
        tokenizer = with_codes(corpus.tokenizer, images.codes)
        write_text(out / "tokenizer.json", tokenizer.to_json())
        images.write(out / IMAGE_TOKENIZER)
        first = tokenizer.vocab_size - images.codes
        sources = {name: dict(source) for name, source in corpus.description["sources"].items()}
        for name, source in corpus.sources.items():
            for split in SPLITS:
                folder = out / name / split
                shutil.rmtree(folder, ignore_errors=True)       # of a call that was killed
                writer = Writer(folder, corpus.context)
                rows = getattr(source, split)
                for row in _coded(rows, images, first, turn=source.kind == "caption"):
                    writer.add(row)
                sources[name][split] = {**sources[name][split], "shards": writer.close()}
        shutil.copyfile(corpus.folder / "report.json", out / "report.json")
        description = {
            **{name: value for name, value in corpus.description.items() if name not in ("hash", "identity", "recipe", "store")},
            "patch_dim": 0, "codes": images.codes, "image_tokenizer": images.hash, "coded_from": corpus.hash,
            "vocab_size": tokenizer.vocab_size, "tokenizer_hash": tokenizer.hash, "sources": sources,
        }
        if kinds := corpus.token_kinds:
            last = tokenizer.vocab_size - images.codes - SENTINELS
            description["token_kinds"] = [*kinds, (last, "special"), (first, "code")]
        description["hash"] = hashlib.blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=8).hexdigest()
        write_json(out / "corpus.json", {**description, "identity": identity})
        return store.open(out)


def with_codes(tokenizer: Tokenizer, codes: int) -> Tokenizer:
    """A tokenizer's vocabulary, then the sentinels, then the codes.

    Raises:
        ValueError: it has such tokens already.
    """
    inner = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    more = [f"<|mask {n}|>" for n in range(SENTINELS)] + [f"<|code {n}|>" for n in range(codes)]
    inner.add_special_tokens(more)
    found = Tokenizer(inner)
    if [inner.token_to_id(token) for token in more] != list(range(tokenizer.vocab_size, found.vocab_size)):
        raise ValueError("the tokenizer has gaps among its ids, or sentinels and codes already: take one without")
    return found


def _coded(rows: Sequence[Packed], images: ImageTokenizer, first: int, turn: bool) -> Iterator[Packed]:
    """Sequences with codes for patches; `first` is the id of code 0."""
    count = 0
    for begin in range(0, len(rows), ROWS):
        chunk = [rows[number] for number in range(begin, min(begin + ROWS, len(rows)))]
        codes = iter(_codes(chunk, images))
        for row in chunk:
            tokens, own = row.tokens.copy(), [next(codes) for _ in row.data]
            for start, values in zip(row.starts.tolist(), own, strict=True):
                tokens[start:start + len(values)] = first + values
            data = [values.astype("<u2").tobytes() for values in own]
            coded = Packed(tokens, row.documents, row.starts.copy(), row.lengths, [CODES] * len(data), data, _geometry(row, images))
            documents = int(row.documents.max(initial=-1)) + 1
            if turn:
                _turn(coded, [number for number in range(documents) if (count + number) % TURNED])
            count += documents
            yield coded


def _geometry(row: Packed, images: ImageTokenizer) -> Geometry:
    own = row.geometry
    return Geometry(image_size=own.image_size, patch=own.patch, audio_dim=own.audio_dim, video_dim=own.video_dim, codes=images.codes)


def _codes(rows: Sequence[Packed], images: ImageTokenizer) -> list[np.ndarray]:
    """Codes of every image of some sequences, in order; each decoder is called once."""
    spans = [(name, data, length, row.geometry) for row in rows
             for name, data, length in zip(row.formats, row.data, row.lengths.tolist(), strict=True)]
    if other := [name for name, *_ in spans if known(name).modality != "image"]:
        raise ValueError(f"a span of format {other[0]!r} is no image: only images have codes; leave out its source")
    found: list[np.ndarray] = [np.zeros(0, np.int64)] * len(spans)
    for name in {name for name, *_ in spans}:
        mine = [number for number, span in enumerate(spans) if span[0] == name]
        lengths = [spans[number][2] for number in mine]
        patches = known(name).decode([spans[number][1] for number in mine], lengths, spans[mine[0]][3], [None] * len(mine))
        for number, values in zip(mine, np.split(images.encode(patches), np.cumsum(lengths)[:-1]), strict=True):
            found[number] = values
    return found


def _turn(row: Packed, numbers: Sequence[int]) -> None:
    """Put the text of some documents before their image, in place, where the image is one and first."""
    for number in numbers:
        begin, end = np.flatnonzero(row.documents == number)[[0, -1]] + (0, 1)
        mine = np.flatnonzero((row.starts >= begin) & (row.starts < end))
        if len(mine) != 1 or row.starts[mine[0]] != begin + 1:
            continue
        after = begin + 1 + row.lengths[mine[0]]        # of the image; its marker is the first token, the end of document the last
        row.tokens[begin:end] = np.concatenate([row.tokens[after:end - 1], row.tokens[begin:after], row.tokens[end - 1:end]])
        row.starts[mine[0]] += end - 1 - after
