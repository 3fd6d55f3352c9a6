"""From a user's files to a prepared corpus: parallel over processes, resumable, the same bytes every time."""

import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nmm.config import content_hash
from nmm.data import film, sound
from nmm.data.corpus import mds, store
from nmm.data.corpus.beginning import begin, locked
from nmm.data.corpus.parts import Part, make
from nmm.data.corpus.remembered import MEMORY, fingerprints
from nmm.data.corpus.shape import Shape
from nmm.data.corpus.store import SPLITS
from nmm.data.corpus.tokenizer import Tokenizer, check_size
from nmm.data.corpus.write import assemble, parts_folder
from nmm.data.documents import Document, Text
from nmm.data.files import write_text
from nmm.data.readers import READERS, ImageRoot, files_of, read
from nmm.data.readers.clean import clean
from nmm.data.readers.rejects import Rejects
from nmm.data.readers.sources import WITH_IMAGES

PART_BYTES = 64 << 20         # input of one part [bytes]
TOKENIZER_TEXT = 32 << 20     # text of each source that a new tokenizer is trained on [bytes]
TOKENIZER_DOCUMENTS = 100_000  # and documents, so that a source of short captions is not read to its end
VOCABULARY = 8192             # of a new tokenizer
CLEANING = 2  # raise when cleaning or reading changes, so that parts of an older version are not mixed in


def parse_source(text: str) -> tuple[str, str, Path]:
    """Kind, name and path of `KIND=PATH` or `KIND:NAME=PATH`.

    Raises:
        ValueError: another form, or an unknown kind.
    """
    left, equals, path = text.partition("=")
    kind, _, name = left.partition(":")
    name = name or kind
    if not equals or not path or "\0" in path or kind not in READERS:
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

    Called again with the same arguments it goes on where a killed call stopped. A finished corpus is checked against
    the content of its sources and of its own files: it is left as it is, or what is damaged in it is made again.

    Args:
        sources: (`KIND` or `KIND:NAME`, file or folder), KIND one of caption, interleaved, conversation, text, audio, video.
        out: the corpus folder.
        image_root: folder or tar of the images that interleaved documents and conversations name; default: `images` beside
            their files.
        context: positions of a sequence [tokens].
        image_size, patch: [pixels]. Several image sizes: an image gets the largest that is not above its short side.
        vocab_size: of a byte-level BPE trained on the corpus; default `VOCABULARY`.
        tokenizer: a `tokenizer.json` to use instead.
        validation: held-out share of each source's documents, by content hash; but one document at least is held out,
            and one at least is not.
        max_images: images kept in a document.
        max_rejects: largest share of bad documents, and of bad images, that is accepted.
        processes: default: one per core.
        part_bytes: files of a source are worked on together up to this size; a killed call repeats at most its
            unfinished parts [bytes].
        store_kind: arrow (memory-mapped, for local disks) or mds (for object storage; needs the extra `streaming`).
        upload: URL in object storage to copy a finished MDS corpus to (s3://, gs://, az://).
    Raises:
        ValueError: bad settings, a bad file (it is named), too many rejects, or `out` and a source in one another.
        OSError: a file cannot be read or written.
    """
    out = Path(out)
    if store_kind not in ("arrow", "mds") or (upload and store_kind != "mds"):
        raise ValueError(f"the store is {store_kind!r}: arrow or mds; only mds can be uploaded")
    if tokenizer is not None and vocab_size is not None:
        raise ValueError("give a vocabulary size or a tokenizer file, not both")
    if processes is not None and processes < 1:
        raise ValueError(f"processes is {processes}: at least 1")
    if vocab_size is not None:
        check_size(vocab_size)
    named = tuple(parse_source(f"{kind}={path}") for kind, path in sources)
    kinds = {kind for kind, _, _ in named}
    recipe = Recipe(
        sources=named,
        image_root=Path(image_root) if image_root is not None else None,
        shape=Shape(context=context, image_size=image_size, patch=patch, validation=validation,
                    audio_dim=sound.AUDIO_DIM if "audio" in kinds else 0, video_dim=film.dim(patch) if "video" in kinds else 0),
        vocab_size=VOCABULARY if vocab_size is None else vocab_size,
        tokenizer=Tokenizer.load(tokenizer) if tokenizer is not None else None,
        max_images=max_images, max_rejects=max_rejects, part_bytes=part_bytes,
        memory=out / MEMORY,
    )
    _apart_from(out, recipe)
    processes = processes or len(os.sched_getaffinity(0))
    with locked(out):
        if store_kind == "arrow":
            _make(recipe, out, processes, progress)
        elif begin(out, recipe.identity, "mds", recipe.plain) is None:
            staging = out / ".parts" / "arrow"
            staging.mkdir(parents=True, exist_ok=True)
            mds.export(_make(recipe, staging, processes, progress), out)
            shutil.rmtree(out / ".parts")
    if upload:
        mds.upload(out, upload)
    return json.loads((out / "report.json").read_text(encoding="utf-8"))


def _apart_from(out: Path, recipe: "Recipe") -> None:
    """Refuse a corpus within its own source, whose shards would be a part of the data, and a source where shards go."""
    places = [(name, path) for _, name, path in recipe.sources]
    places += [(name, root) for name, root in recipe.roots.items() if root]
    for name, path in places:
        real, own = Path(os.path.realpath(path)), Path(os.path.realpath(out))   # Path.resolve fails at a link to itself
        if own.is_relative_to(real) or any(real.is_relative_to(own / each) for each in (*recipe.kinds, ".parts")):
            raise ValueError(f"the corpus folder {out} and the source {name}={path} lie in one another: choose an "
                             "output folder outside of the data")


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
    memory: Path                # a file with hashes of the sources' files, which are read when they change

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
    def _found(self) -> dict[str, tuple[list[Path], list[Path]]]:
        return {name: files_of(path, kind) for kind, name, path in self.sources}

    @cached_property
    def files(self) -> dict[str, list[Path]]:
        """The data files of each source, in order."""
        return {name: read for name, (read, _) in self._found.items()}

    @cached_property
    def unread(self) -> dict[str, list[str]]:
        """What else there is in each source's folder."""
        return {name: [_within(file, path) for file in self._found[name][1]] for _, name, path in self.sources}

    @cached_property
    def roots(self) -> dict[str, Path | None]:
        """The image root of each source; None where it has none."""
        return {name: self._root(path) if kind in WITH_IMAGES else None for kind, name, path in self.sources}

    def _root(self, source: Path) -> Path | None:
        beside = (source if source.is_dir() else source.parent) / "images"
        return self.image_root or (beside if beside.exists() else None)

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The recipe as JSON values. Files count by name and content, so that a moved folder is the same data."""
        images = {name: sorted(p for p in (root.rglob("*") if root.is_dir() else [root]) if p.is_file())
                  for name, root in self.roots.items() if root}
        every = [file for files in (*self.files.values(), *images.values()) for file in files]
        hashes = fingerprints(every, self.memory)
        sources = {}
        for kind, name, path in self.sources:
            listed = [[_within(file, path), hashes[file]] for file in self.files[name]]
            shown = [[_within(file, self.roots[name]), hashes[file]] for file in images.get(name, ())]
            sources[name] = content_hash([kind, listed, shown])
        return json.loads(json.dumps({
            "reading": CLEANING, "sources": sources, **self.shape.settings, "max_images": self.max_images,
            "part_bytes": self.part_bytes, "vocabulary": self.tokenizer.hash if self.tokenizer else self.vocab_size,
        }))

    @cached_property
    def identity(self) -> str:
        """A hash of the recipe."""
        return content_hash(self.plain)

    @cached_property
    def apart(self) -> dict[str, dict[bytes, str]]:
        """By source, the split of a document that is not where its hash would put it, as there would be no other."""
        return {name: self._apart(name) for name in self.kinds}

    def _apart(self, name: str) -> dict[bytes, str]:
        missing, least, most = set(SPLITS), None, None
        for document in self.documents(name):
            digest, split = document.digest(), self.shape.split_of(document, 0)
            if split in missing or digest < least or digest > most:
                if clean(document, self.kinds[name], self.shape.geometry, self.max_images, Rejects()) is not None:
                    missing.discard(split)
                    least, most = min(least or digest, digest), max(most or digest, digest)
            if not missing:
                return {}
        if least == most:
            return {}       # there are no two to part; the report refuses the source
        return {least: "validation"} if "validation" in missing else {most: "train"}

    def documents(self, name: str) -> Iterator[Document]:
        """The documents of a source as they are found."""
        root = self.roots[name]
        images = ImageRoot(root) if root else None
        return (document for file in self.files[name] for document in read(file, self.kinds[name], Rejects(), images))

    def split_of(self, name: str, document: Document) -> str:
        """The split of a document of a source."""
        return self.apart[name].get(document.digest()) or self.shape.split_of(document, 0)

    def parts(self, out: Path) -> list[Part]:
        """The parts of every source."""
        return [Part(source=name, kind=kind, files=tuple(part), image_root=self.roots[name],
                     folder=parts_folder(out, name) / f"{number:05d}", tokenizer=out / "tokenizer.json",
                     shape=self.shape, max_images=self.max_images, apart=self.apart[name])
                for name, kind in self.kinds.items()
                for number, part in enumerate(_parts(self.files[name], self.part_bytes))]


def _make(recipe: Recipe, out: Path, processes: int, progress: bool) -> store.Corpus:
    """The finished Arrow corpus of a recipe, opened; only what is missing is made."""
    corpus = begin(out, recipe.identity, "arrow", recipe.plain)
    if corpus is None:
        tokenizer = (recipe.tokenizer or _train_tokenizer(out, recipe, progress)).with_markers(recipe.shape.geometry.modalities)
        write_text(out / "tokenizer.json", tokenizer.to_json())
        parts = recipe.parts(out)
        made = make(parts, processes, progress)
        counts = {name: [own for part, own in zip(parts, made) if part.source == name] for name in recipe.kinds}
        corpus = assemble(out, recipe.kinds, counts, tokenizer, recipe.shape, recipe.identity, recipe.max_rejects,
                          recipe.plain, recipe.unread)
    return corpus


def _within(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder)) if file != folder else file.name


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
    size = 0
    for document in itertools.islice(recipe.documents(name), TOKENIZER_DOCUMENTS):
        if recipe.split_of(name, document) == "train":
            for segment in document.segments:
                if isinstance(segment, Text):
                    text = segment.text.encode("utf-8", "ignore").decode("utf-8")
                    size += len(text)
                    yield text
        if size >= TOKENIZER_TEXT:
            return
