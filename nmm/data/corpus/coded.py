"""A corpus whose images are codes, made of one whose images are patches: the same packed sequences, a code where a patch stood. Frames of
audio and tubelets of video become codes in the same way.

One vocabulary: the text's ids, then the sentinels of masked spans, then the codes, those of images first. Every second caption is turned,
so that it has its text before its image; interleaved documents keep their order.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import tokenizers

from nmm.config import content_hash
from nmm.data.batches.infilling import SENTINELS
from nmm.data.codes import ImageTokenizer
from nmm.data.corpus import store
from nmm.data.corpus.beginning import locked
from nmm.data.corpus.formats import CODED, known
from nmm.data.corpus.store import SPLITS, Corpus, Writer, coder_file
from nmm.data.corpus.store import Sequence as Packed
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.files import write_json, write_text
from nmm.data.geometry import Geometry

VERSION = 1     # raise when the same corpus and image tokenizer give other sequences
ROWS = 64       # sequences whose images are decoded together
TURNED = 2      # every so many captions one has its text first


def coded_corpus(
    corpus: Corpus, images: ImageTokenizer, out: str | Path, others: Mapping[str, ImageTokenizer] = MappingProxyType({}),
    turned: bool = True,
) -> Corpus:
    """Write, or open if it is there, the corpus with codes for patches.

    Args:
        corpus: generated or prepared from files; its images of any one or several sizes that its patch divides.
        images: trained on patches of its size.
        out: folder of the new corpus; the image tokenizer goes there too, and its hash into the corpus's.
        others: of "audio" and "video", where the corpus has them: trained on its frames and tubelets.
        turned: whether every second caption has its text first.
    Raises:
        ValueError: patches of another size, images that are codes already, no images, audio or video without what makes codes of it, or
            another corpus in `out`.
    """
    out, coders = Path(out), {"image": images, **others}
    if corpus.geometry.all_codes:
        raise ValueError(f"the images of {corpus.folder} are codes already, of image tokenizer {corpus.description['image_tokenizer']}")
    if images.patch_dim != corpus.patch_dim:
        raise ValueError(f"image tokenizer {images.hash} takes patches of {images.patch_dim} numbers, and those of {corpus.folder} have "
                         f"{corpus.patch_dim}: train one on this corpus, or prepare it with another patch")
    for modality, coder in others.items():
        if coder.patch_dim != corpus.geometry.width(modality):
            raise ValueError(f"{modality} tokenizer {coder.hash} takes {coder.patch_dim} numbers at a position, and {corpus.folder} has "
                             f"{corpus.geometry.width(modality)}: train one on this corpus")
    # Those of audio and video, and the order of captions, are named where there is something to name: other corpora keep their hashes
    more = {"others": {modality: coder.hash for modality, coder in others.items()}} if others else {}
    more |= {} if turned else {"turned": False}
    identity = content_hash({"coded": VERSION, "corpus": corpus.hash, "image_tokenizer": images.hash, **more})
    with locked(out):
        if (out / "corpus.json").exists():
            found = store.open(out)
            if found.description["identity"] != identity:
                raise ValueError(f"{out} already holds a corpus made from other data or settings: choose another folder, or delete "
                                 "this one")
            return found
        codes = sum(coder.codes for coder in coders.values())
        tokenizer = with_codes(corpus.tokenizer, codes)
        write_text(out / "tokenizer.json", tokenizer.to_json())
        first = {}      # id of code 0 of each modality
        for modality, coder in coders.items():
            coder.write(out / coder_file(modality))
            first[modality] = tokenizer.vocab_size - codes
            codes -= coder.codes
        sources = {name: dict(source) for name, source in corpus.description["sources"].items()}
        for name, source in corpus.sources.items():
            for split in SPLITS:
                folder = out / name / split
                shutil.rmtree(folder, ignore_errors=True)       # of a call that was killed
                writer = Writer(folder, corpus.context)
                rows = getattr(source, split)
                for row in _coded(rows, coders, first, turn=turned and source.kind == "caption"):
                    writer.add(row)
                sources[name][split] = {**sources[name][split], "shards": writer.close()}
        shutil.copyfile(corpus.folder / "report.json", out / "report.json")
        description = {
            **{name: value for name, value in corpus.description.items() if name not in ("hash", "identity", "recipe", "store")},
            "patch_dim": 0, "codes": images.codes, "image_tokenizer": images.hash, "coded_from": corpus.hash,
            **{f"{modality}_{name}": value for modality, coder in others.items()
               for name, value in (("dim", 0), ("codes", coder.codes), ("tokenizer", coder.hash))},
            "vocab_size": tokenizer.vocab_size, "tokenizer_hash": tokenizer.hash, "sources": sources,
        }
        if kinds := corpus.token_kinds:
            names = {"image": "code", "audio": "audio code", "video": "video code"}
            description["token_kinds"] = [*kinds, (first["image"] - SENTINELS, "special"), *((first[each], names[each]) for each in coders)]
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


def _coded(rows: Sequence[Packed], coders: Mapping[str, ImageTokenizer], first: Mapping[str, int], turn: bool) -> Iterator[Packed]:
    """Sequences with codes for patches; `first` is the id of code 0 of each modality."""
    count = 0
    for begin in range(0, len(rows), ROWS):
        chunk = [rows[number] for number in range(begin, min(begin + ROWS, len(rows)))]
        codes = iter(_codes(chunk, coders))
        for row in chunk:
            tokens, own = row.tokens.copy(), [next(codes) for _ in row.data]
            modalities = [known(name).modality for name in row.formats]
            for start, values, modality in zip(row.starts.tolist(), own, modalities, strict=True):
                tokens[start:start + len(values)] = first[modality] + values
            data = [values.astype("<u2").tobytes() for values in own]
            coded = Packed(tokens, row.documents, row.starts.copy(), row.lengths, [CODED[each] for each in modalities], data,
                           _geometry(row, coders))
            documents = int(row.documents.max(initial=-1)) + 1
            if turn:
                _turn(coded, [number for number in range(documents) if (count + number) % TURNED])
            count += documents
            yield coded


def _geometry(row: Packed, coders: Mapping[str, ImageTokenizer]) -> Geometry:
    own, codes = row.geometry, {("" if each == "image" else f"{each}_") + "codes": coder.codes for each, coder in coders.items()}
    return Geometry(image_size=own.image_size, patch=own.patch, **codes)


def _codes(rows: Sequence[Packed], coders: Mapping[str, ImageTokenizer]) -> list[np.ndarray]:
    """Codes of every image, clip and film of some sequences, in order; each decoder is called once."""
    spans = [(name, data, length, row.geometry) for row in rows
             for name, data, length in zip(row.formats, row.data, row.lengths.tolist(), strict=True)]
    if other := [name for name, *_ in spans if known(name).modality not in coders]:
        what = known(other[0]).modality
        raise ValueError(f"a span of format {other[0]!r} is no image, and there is no {what} tokenizer: give one, or leave out its source")
    found: list[np.ndarray] = [np.zeros(0, np.int64)] * len(spans)
    for name in {name for name, *_ in spans}:
        mine = [number for number, span in enumerate(spans) if span[0] == name]
        lengths = [spans[number][2] for number in mine]
        patches = known(name).decode([spans[number][1] for number in mine], lengths, spans[mine[0]][3], [None] * len(mine))
        coder = coders[known(name).modality]
        for number, values in zip(mine, np.split(coder.encode(patches), np.cumsum(lengths)[:-1]), strict=True):
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
