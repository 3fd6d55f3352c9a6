"""A part of a corpus: fewer training documents, the same held-out ones. What the worth of repeated data is measured
with.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from nmm.config import content_hash
from nmm.data.corpus import store
from nmm.data.corpus.parts import good_documents
from nmm.data.corpus.prepare import PART_BYTES, Recipe, parse_source
from nmm.data.corpus.remembered import MEMORY
from nmm.data.corpus.shape import Shape
from nmm.data.corpus.write import write_corpus
from nmm.data.documents import Document
from nmm.data.readers.rejects import Rejects


def subset(
    corpus: store.Corpus, sources: Sequence[tuple[str, str | Path]], out: str | Path, share: float, *,
    image_root: str | Path | None = None, max_images: int = 30,
) -> store.Corpus:
    """Write, or open if it is there, the corpus of a share of another's training documents.

    Tokenizer, shape and held-out documents are the other corpus's. A document is kept by its content hash, so that a
    smaller share is part of a larger one.

    Args:
        corpus: the whole corpus, prepared from `sources` with a held-out share.
        sources: as `prepare` took them: (`KIND` or `KIND:NAME`, file or folder).
        out: folder of the part.
        share: of each source's training documents, above 0 and up to 1.
        image_root, max_images: as `prepare` took them.
    Raises:
        ValueError: a share outside (0, 1], a source that loses all its documents, or `out` holds another corpus.
        OSError: a file cannot be read or written.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share of the training documents is {share}: above 0 and up to 1, for example 0.5")
    held_out = corpus.report["validation"]
    shape = Shape(
        context=corpus.context, image_size=corpus.geometry.image_size, patch=corpus.patch, validation=held_out
    )
    recipe = Recipe(
        sources=tuple(parse_source(f"{kind}={path}") for kind, path in sources),
        image_root=Path(image_root) if image_root is not None else None, shape=shape, vocab_size=corpus.vocab_size,
        tokenizer=corpus.tokenizer, max_images=max_images, max_rejects=1.0, part_bytes=PART_BYTES,
        memory=Path(out) / MEMORY,
    )
    documents = {name: (kind, _kept(recipe, name, share)) for name, kind in recipe.kinds.items()}
    return write_corpus(
        documents, out, corpus.tokenizer, context=corpus.context, image_size=corpus.geometry.image_size,
        patch=corpus.patch,
        validation=held_out, identity=content_hash({"part of": recipe.identity, "share": share}), apart=recipe.apart,
    )


def training_tokens(corpus: store.Corpus) -> dict[str, int]:
    """Different training tokens of each source, all modalities together [tokens]; the shards need not be there."""
    return {
        name: sum(count for key, count in source["train"].items() if key.endswith("_tokens"))
        for name, source in corpus.description["sources"].items()
    }


def part_folder(folder: str | Path, share: float) -> Path:
    """Where the records of runs on a share of a data set are kept: in `folder` itself for all of it, else in a part of
    it.
    """
    return Path(folder) if share == 1 else Path(folder) / f"part-{share:g}"


def save_description(corpus: store.Corpus, folder: str | Path) -> None:
    """Copy all of a corpus but its data, a few kilobytes: `store.open(folder)` has its hash, its report and its counts.

    Raises:
        OSError: a file cannot be read or written.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name in ("corpus.json", "report.json"):
        shutil.copyfile(corpus.folder / name, Path(folder) / name)


def _kept(recipe: Recipe, name: str, share: float) -> Iterator[Document]:
    """The good documents of a source, those for training thinned out."""
    for document in good_documents(
        recipe.files[name], recipe.kinds[name], recipe.roots[name], recipe.shape, recipe.max_images, Rejects()
    ):
        # the first half of the digest decides what is held out, the second what is kept
        drawn = int.from_bytes(document.digest()[8:16], "big")
        if recipe.split_of(name, document) == "validation" or drawn < share * 2.0**64:
            yield document
