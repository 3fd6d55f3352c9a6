"""From a user's files to a prepared corpus: parallel over processes, resumable, the same bytes every time."""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from nmm.data.corpus import mds, store
from nmm.data.corpus.parts import Part, make
from nmm.data.corpus.shape import Shape
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.corpus.write import assemble, begin, locked, parts_folder
from nmm.data.documents import Text
from nmm.data.files import write_text
from nmm.data.readers import READERS, ImageRoot, files_of, read
from nmm.data.readers.rejects import Rejects

PART_BYTES = 64 << 20         # input of one part [bytes]
TOKENIZER_TEXT = 32 << 20     # text of each source that a new tokenizer is trained on [bytes]
TOKENIZER_DOCUMENTS = 100_000  # and documents, so that a source of short captions is not read to its end
VOCABULARY = 8192             # of a new tokenizer
CLEANING = 1  # raise when cleaning or reading changes, so that parts of an older version are not mixed in


def parse_source(text: str) -> tuple[str, str, Path]:
    """Kind, name and path of `KIND=PATH` or `KIND:NAME=PATH`.

    Raises:
        ValueError: another form, or an unknown kind.
    """
    left, equals, path = text.partition("=")
    kind, _, name = left.partition(":")
    name = name or kind
    if not equals or not path or kind not in READERS:
        raise ValueError(f"source {text!r} is not KIND=PATH or KIND:NAME=PATH with KIND one of {', '.join(READERS)}")
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"source name {name!r}: letters, digits, - and _ only")
    return kind, name, Path(path)


def prepare(sources: Sequence[tuple[str, str | Path]], out: str | Path, *, image_root: str | Path | None = None,
            context: int = 1024, image_size: int | Sequence[int] = 224, patch: int = 14, vocab_size: int | None = None,
            tokenizer: str | Path | None = None, validation: float = 0.05, max_images: int = 30,
            max_rejects: float = 0.05, processes: int | None = None, part_bytes: int = PART_BYTES,
            store_kind: str = "arrow", upload: str | None = None, progress: bool = True) -> dict:
    """Prepare a corpus from real files and give its report.

    Called again with the same arguments it goes on where a killed call stopped; a finished corpus is not touched.

    Args:
        sources: (`KIND` or `KIND:NAME`, file or folder), KIND one of caption, interleaved, text.
        out: the corpus folder.
        image_root: folder or tar of the interleaved images; default: `images` beside the parquet files.
        context: positions of a sequence [tokens].
        image_size, patch: [pixels]. Several image sizes: an image gets the largest that is not above its short side.
        vocab_size: of a byte-level BPE trained on the corpus; default `VOCABULARY`.
        tokenizer: a `tokenizer.json` to use instead.
        validation: held-out share of each source's documents, by content hash.
        max_images: images kept in a document.
        max_rejects: largest share of bad documents, and of bad images, that is accepted.
        processes: default: one per core.
        part_bytes: files of a source are worked on together up to this size; a killed call repeats at most its
            unfinished parts [bytes].
        store_kind: arrow (memory-mapped, for local disks) or mds (for object storage; needs the extra `streaming`).
        upload: URL in object storage to copy a finished MDS corpus to (s3://, gs://, az://).
    Raises:
        ValueError: bad settings, a bad file (it is named), too many rejects.
        OSError: a file cannot be read or written.
    """
    out = Path(out)
    if store_kind not in ("arrow", "mds") or (upload and store_kind != "mds"):
        raise ValueError(f"the store is {store_kind!r}: arrow or mds; only mds can be uploaded")
    if tokenizer is not None and vocab_size is not None:
        raise ValueError("give a vocabulary size or a tokenizer file, not both")
    if processes is not None and processes < 1:
        raise ValueError(f"processes is {processes}: at least 1")
    recipe = Recipe(
        sources=tuple(parse_source(f"{kind}={path}") for kind, path in sources),
        image_root=Path(image_root) if image_root is not None else None,
        shape=Shape(context=context, image_size=image_size, patch=patch, validation=validation),
        vocab_size=vocab_size or VOCABULARY, tokenizer=Tokenizer.load(tokenizer) if tokenizer is not None else None,
        max_images=max_images, max_rejects=max_rejects, part_bytes=part_bytes,
    )
    processes = processes or len(os.sched_getaffinity(0))
    with locked(out):
        if store_kind == "arrow":
            _make(recipe, out, processes, progress)
        elif begin(out, recipe.identity, "mds") is None:
            staging = out / ".parts" / "arrow"
            staging.mkdir(parents=True, exist_ok=True)
            mds.export(_make(recipe, staging, processes, progress), out)
            shutil.rmtree(out / ".parts")
    if upload:
        mds.upload(out, upload)
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides a corpus, checked before any work."""

    sources: tuple[tuple[str, str, Path], ...]  # kind, name, path
    image_root: Path | None
    shape: Shape
    vocab_size: int
    tokenizer: Tokenizer | None
    max_images: int
    max_rejects: float
    part_bytes: int

    def __post_init__(self) -> None:
        names = [name for _, name, _ in self.sources]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"sources need different names, and there must be one at least: got {names}")
        if not 0 < self.shape.validation < 1:
            raise ValueError(f"validation is {self.shape.validation}: a share between 0 and 1")
        if not 0 <= self.max_rejects <= 1:
            raise ValueError(f"max_rejects is {self.max_rejects}: a share between 0 and 1")
        if self.max_images < 1:
            raise ValueError(f"max_images is {self.max_images}: at least 1")
        if self.image_root is not None:
            ImageRoot(self.image_root)  # raises where it does not exist

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each source."""
        return {name: kind for kind, name, _ in self.sources}

    @cached_property
    def files(self) -> dict[str, list[Path]]:
        """The data files of each source, in order."""
        return {name: files_of(path, kind)[0] for kind, name, path in self.sources}

    @cached_property
    def roots(self) -> dict[str, Path | None]:
        """The image root of each source; None where it has none."""
        return {name: self._root(path) if kind == "interleaved" else None for kind, name, path in self.sources}

    def _root(self, source: Path) -> Path | None:
        beside = (source if source.is_dir() else source.parent) / "images"
        return self.image_root or (beside if beside.exists() else None)

    @cached_property
    def identity(self) -> str:
        """A hash of the recipe. Files count by name and size, so that a moved folder is the same data."""
        listed = [(kind, name, [(str(f.relative_to(path)) if f != path else f.name, f.stat().st_size)
                                for f in self.files[name]]) for kind, name, path in self.sources]
        tokenizer = self.tokenizer.hash if self.tokenizer else self.vocab_size
        text = json.dumps([CLEANING, listed, self.shape.settings, self.max_images, self.part_bytes, tokenizer])
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def parts(self, out: Path) -> list[Part]:
        """The parts of every source."""
        return [Part(source=name, kind=kind, files=tuple(part), image_root=self.roots[name],
                     folder=parts_folder(out, name) / f"{number:05d}", tokenizer=out / "tokenizer.json",
                     shape=self.shape, max_images=self.max_images)
                for name, kind in self.kinds.items()
                for number, part in enumerate(_parts(self.files[name], self.part_bytes))]


def _make(recipe: Recipe, out: Path, processes: int, progress: bool) -> store.Corpus:
    """The finished Arrow corpus of a recipe, opened; only what is missing is made."""
    corpus = begin(out, recipe.identity, "arrow")
    if corpus is None:
        tokenizer = recipe.tokenizer or _train_tokenizer(out, recipe, progress)
        write_text(out / "tokenizer.json", tokenizer.to_json())
        parts = recipe.parts(out)
        made = make(parts, processes, progress)
        counts = {name: [own for part, own in zip(parts, made) if part.source == name] for name in recipe.kinds}
        corpus = assemble(out, recipe.kinds, counts, tokenizer, recipe.shape, recipe.identity, recipe.max_rejects)
    return corpus


def _parts(files: list[Path], part_bytes: int) -> Iterator[list[Path]]:
    """Consecutive files up to `part_bytes` together; a function of names and sizes alone."""
    part, size = [], 0
    for file in files:
        bytes_ = file.stat().st_size
        if part and size + bytes_ > part_bytes:
            yield part
            part, size = [], 0
        part.append(file)
        size += bytes_
    yield part


def _train_tokenizer(out: Path, recipe: Recipe, progress: bool) -> Tokenizer:
    """The tokenizer that a killed call has trained, or a new one from the first training text of every source."""
    path = out / ".parts" / "tokenizer.json"
    if path.exists():
        return Tokenizer.load(path)
    texts = (text for name in recipe.kinds for text in _training_texts(recipe, name))
    trained = Tokenizer.train(tqdm(texts, "tokenizer", unit=" texts", disable=not progress), recipe.vocab_size)
    write_text(path, trained.to_json())
    return trained


def _training_texts(recipe: Recipe, name: str) -> Iterator[str]:
    size, root = 0, recipe.roots[name]
    images = ImageRoot(root) if root else None
    documents = (d for file in recipe.files[name] for d in read(file, recipe.kinds[name], Rejects(), images))
    for document in itertools.islice(documents, TOKENIZER_DOCUMENTS):
        if recipe.shape.split_of(document, 0) == "train":
            for segment in document.segments:
                if isinstance(segment, Text):
                    text = segment.text.encode("utf-8", "ignore").decode("utf-8")
                    size += len(text)
                    yield text
        if size >= TOKENIZER_TEXT:
            return
