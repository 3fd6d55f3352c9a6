"""Documents into a prepared corpus: encoded, split, packed and written in parts that a killed run keeps.

A part is a deterministic share of a source's documents. It is written into OUT/.parts and renamed into place when it is
whole; when all parts are there, their shards are numbered through and `corpus.json` is written last.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as SequenceABC
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nmm.config import KINDS
from nmm.data.corpus.beginning import PARTS, begin, locked
from nmm.data.corpus.formats import known
from nmm.data.corpus.packing import Encoded, encode, packer
from nmm.data.corpus.report import accept, source_report
from nmm.data.corpus.sequence import to_sequence
from nmm.data.corpus.shape import Shape
from nmm.data.corpus.store import FORMAT_VERSION, SPLITS, Corpus, Writer
from nmm.data.corpus.store import open as open_corpus
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.documents import WHOLE, Document, Span
from nmm.data.files import naming, write_json, write_text
from nmm.data.geometry import Geometry
from nmm.data.readers.rejects import Rejects

BATCH = 256         # documents tokenised in one call
BATCH_BYTES = 16 << 20      # and text and images of them, at most but for the last document [bytes]


def write_part(documents: Iterable[Document], kind: str, folder: Path, tokenizer: Tokenizer, shape: Shape,
               rejects: Rejects, apart: Mapping[bytes, str] = MappingProxyType({})) -> dict:
    """Encode, split and pack documents into shards under `folder`; gives and writes the part's counts.

    `apart` is the split of documents, by digest, that are not where their hash would put them.
    """
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    writers = {split: Writer(partial / split, shape.context) for split in SPLITS}
    packers = {split: packer(kind, shape.context) for split in SPLITS}
    counts = {split: dict.fromkeys(shape.counts, 0) for split in SPLITS}

    def write(split: str, sequences: Iterable[list[Encoded]]) -> None:
        for pieces in sequences:
            writers[split].add(to_sequence(pieces, shape.context, tokenizer.pad, shape.geometry))
            counts[split]["sequences"] += 1

    number = 0
    same_size = shape.geometry.patches_per_image if len(shape.geometry.sizes) == 1 else None
    lengths = Counter()  # positions of a whole document -> how many there are
    for batch in _batches(documents):
        for document, encoded in zip(batch, encode(batch, tokenizer, same_size)):
            split = apart.get(document.digest()) if apart else None
            split = split or shape.split_of(document, number)
            number += 1
            if encoded is None:
                rejects.add("characters that the tokenizer has no token for", document.name)
                continue
            if kind == "conversation" and len(encoded) > shape.context:
                raise ValueError(f"{document.name} takes {len(encoded)} tokens, its answers and image among them, and the context has "
                                 f"{shape.context}: shorten its turns, or give a longer context")
            if kind in WHOLE and len(encoded) > shape.context:
                rejects.add("longer than the context", document.name)
                continue
            lengths[len(encoded)] += 1
            _count(counts[split], document, encoded, tokenizer, shape.geometry)
            write(split, packers[split].add(encoded))
    for split in SPLITS:
        write(split, packers[split].finish())
    part = {split: {**counts[split], "shards": writers[split].close()} for split in SPLITS}
    part["rejects"] = rejects.to_dict()
    part["lengths"] = sorted(lengths.items()) if kind in WHOLE else []
    write_json(partial / "part.json", part)
    os.replace(partial, folder)
    return part


def _count(
    counts: dict[str, int], document: Document, encoded: Encoded, tokenizer: Tokenizer, geometry: Geometry
) -> None:
    counts["documents"] += 1
    counts["text_tokens"] += len(encoded) - int(encoded.lengths.sum())
    for span, length in zip(encoded.spans, encoded.lengths.tolist()):
        form = known(span.format)
        if not geometry.width(form.modality):
            raise ValueError(
                f"document {document.name} has {form.modality}, and the corpus is written without it: give "
                f"{form.modality}_dim"
            )
        raw = length * (form.raw_bytes or geometry.width(form.modality))
        if form.modality == "image":
            added = {"images": 1, "image_tokens": length, "image_bytes": len(span.data), "pixel_bytes": raw}
        else:
            added = {f"{form.modality}_spans": 1, f"{form.modality}_tokens": length, f"{form.modality}_raw_bytes": raw}
        for name, number in added.items():
            counts[name] += number
    for segment in document.segments:
        if not isinstance(segment, Span):
            counts["text_bytes"] += int(tokenizer.word_bytes[segment.ids].sum()) if segment.text is None \
                else len(segment.text.encode("utf-8"))


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch, size = [], 0
    for document in documents:
        batch.append(document)
        size += sum(len(each.data) if isinstance(each, Span) else len(each.text or "") for each in document.segments)
        if len(batch) >= BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def parts_folder(out: Path, source: str) -> Path:
    """Where the parts of a source are kept until the corpus is whole."""
    return out / ".parts" / source


def assemble(out: Path, kinds: Mapping[str, str], parts: Mapping[str, list[dict]], tokenizer: Tokenizer, shape: Shape,
             identity: str, max_rejects: float, recipe: Mapping[str, Any] | None = None,
             unread: Mapping[str, list[str]] = MappingProxyType({})) -> Corpus:
    """Number the shards of finished parts through, and write the reports. A killed call can be repeated.

    `recipe` is what `identity` is a hash of, as `begin` takes it; `unread` names the files of each source that
    are not read.

    Raises:
        ValueError: too many rejected samples, or a split without sequences. Only `report.json` is written then.
    """
    sources, reports = {}, {}
    for name, kind in kinds.items():
        sources[name] = {"kind": kind}
        for split in SPLITS:
            total = {count: sum(part[split][count] for part in parts[name]) for count in shape.counts}
            sources[name][split] = {**total, "shards": [s for part in parts[name] for s in part[split]["shards"]]}
        rejects = Rejects.merge(part["rejects"] for part in parts[name])
        lengths = [length for part in parts[name] for length, count in part["lengths"] for _ in range(count)]
        reports[name] = source_report(sources[name], shape, rejects, sorted(lengths), unread.get(name, []))
    write_json(out / "report.json", {**shape.settings, "vocab_size": tokenizer.vocab_size, "sources": reports})
    for name, report in reports.items():
        accept(name, report, out, max_rejects)
    for name in kinds:
        for split in SPLITS:
            target = out / name / split
            target.mkdir(parents=True, exist_ok=True)
            number = 0
            for part_number, part in enumerate(parts[name]):
                for shard in range(len(part[split]["shards"])):
                    source = parts_folder(out, name) / f"{part_number:05d}" / split / f"{shard:05d}.arrow"
                    if source.exists():  # else an earlier, killed call has moved it
                        with naming(target):
                            os.replace(source, target / f"{number:05d}.arrow")
                    number += 1
    description = {
        "format": FORMAT_VERSION, "context": shape.context, "image_size": shape.image_size, "patch": shape.patch,
        "patches_per_image": shape.geometry.patches_per_image, "patch_dim": shape.geometry.patch_dim,
        **{f"{modality}_dim": shape.geometry.width(modality) for modality in shape.geometry.modalities[1:]},
        "vocab_size": tokenizer.vocab_size, "tokenizer_hash": tokenizer.hash, "sources": sources,
    }
    description["hash"] = hashlib.blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=8).hexdigest()
    write_json(out / PARTS, {"identity": identity, "parts": parts})
    write_json(out / "corpus.json", {**description, "identity": identity, **({"recipe": recipe} if recipe else {})})
    shutil.rmtree(out / ".parts")
    return open_corpus(out)


def finished_part(folder: Path) -> dict | None:
    """The counts of a part that is whole, else None."""
    path = folder / "part.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write_corpus(documents: Mapping[str, tuple[str, Iterable[Document]]], out: str | Path, tokenizer: Tokenizer, *,
                 context: int, image_size: int | SequenceABC[int], patch: int, validation: float, identity: str,
                 audio_dim: int = 0, video_dim: int = 0,
                 apart: Mapping[str, Mapping[bytes, str]] = MappingProxyType({})) -> Corpus:
    """Write documents held in memory or generated, `{source name: (kind, documents)}`, as a corpus; and open it.

    A finished corpus of the same identity is opened and no document is read; finished sources of a killed call are
    kept.

    Args:
        out: the corpus folder.
        image_size, patch, audio_dim, video_dim: see `Geometry`.
        validation: below 1 a share of documents, by content hash; else the first so many documents of each source.
        apart: by source, the split of documents that are not where their hash would put them, as for `write_part`.
        identity: a hash of all that decides the documents, as seeds and sizes.
    Raises:
        ValueError: an unknown kind, a caption longer than the context, no validation documents, or another corpus in
            `out`.
    """
    out = Path(out)
    shape = Shape(context=context, image_size=image_size, patch=patch, validation=validation, audio_dim=audio_dim,
                    video_dim=video_dim)
    for name, (kind, _) in documents.items():
        if kind not in KINDS:
            raise ValueError(f"source {name!r} has kind {kind!r}: one of {', '.join(KINDS)}")
    with locked(out):
        corpus = begin(out, identity)
        if corpus is not None:
            return corpus
        write_text(out / "tokenizer.json", tokenizer.to_json())
        parts = {}
        for name, (kind, items) in documents.items():
            folder = parts_folder(out, name)
            folder.mkdir(parents=True, exist_ok=True)
            part, others = folder / "00000", apart.get(name, {})
            parts[name] = [finished_part(part) or write_part(items, kind, part, tokenizer, shape, Rejects(), others)]
        return assemble(
            out, {name: kind for name, (kind, _) in documents.items()}, parts, tokenizer, shape, identity, 0.0
        )
