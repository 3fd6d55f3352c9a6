"""A prepared corpus on disk or in object storage, opened: sources, their two splits, and their sequences.

OUT/<source>/{train,validation}/ with the shards, OUT/tokenizer.json, OUT/corpus.json, OUT/report.json. Shards are Arrow
IPC files (`nmm.data.corpus.arrow`) or MDS ones (`nmm.data.corpus.mds`); above them nothing knows which.
"""

import bisect
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from nmm.config import KINDS, MODALITIES
from nmm.data.codes import ImageTokenizer
from nmm.data.corpus import mds
from nmm.data.corpus.arrow import Shard, Writer
from nmm.data.corpus.sequence import Sequence
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.geometry import Geometry

__all__ = ["SPLITS", "Corpus", "NewerCorpus", "Sequence", "Source", "Split", "Writer", "open"]

SPLITS = ("train", "validation")
FORMAT_VERSION = 1
REPORTED = {    # of each source, what is shown of a corpus
    "kind", "documents", "images", "tokens", "packing_waste", "bytes_per_token", "validation_documents", "rejected",
}


def coder_file(modality: str) -> str:
    """Name of the file with what made the codes of a modality, in a corpus's folder."""
    return f"{modality}_tokenizer.safetensors"


class NewerCorpus(ValueError):
    """A corpus of a format that a later version of nmm writes: it is not damaged, and not to be replaced."""


class Rows(Protocol):
    """A shard of either store: some consecutive rows of a split."""

    rows: int

    def row(self, number: int, geometry: Geometry) -> Sequence: ...

    def tokens(self) -> np.ndarray: ...

    def tokens_of(self, modality: str) -> np.ndarray: ...


class Split:
    """The training or validation sequences of one source, indexed from 0."""

    def __init__(self, shards: list[Rows], source: int, geometry: Geometry) -> None:
        self.shards, self.source, self.geometry = shards, source, geometry
        self.first = [0]  # index of each shard's first sequence
        for shard in shards:
            self.first.append(self.first[-1] + shard.rows)

    def __len__(self) -> int:
        return self.first[-1]

    def __getitem__(self, index: int) -> Sequence:
        """The sequence, not augmented."""
        if not 0 <= index < self.first[-1]:
            raise IndexError(f"sequence {index} of {self.first[-1]}")
        number = bisect.bisect_right(self.first, index) - 1
        return self.shards[number].row(index - self.first[number], self.geometry)

    def augmented(self, index: int, epoch: int, seed: int) -> Sequence:
        """The sequence with a draw that depends on the seed, the source, the sequence and the epoch alone."""
        sequence = self[index]
        sequence.draw = (seed, self.source, index, epoch)
        return sequence

    @cached_property
    def tokens(self) -> np.ndarray:
        """Positions of each sequence that are not padding, int64 (n,)."""
        return np.concatenate([np.zeros(0, np.int64), *(shard.tokens() for shard in self.shards)])

    def tokens_of(self, modality: str) -> np.ndarray:
        """Positions of one modality other than text in each sequence, int64 (n,)."""
        return np.concatenate([np.zeros(0, np.int64), *(shard.tokens_of(modality) for shard in self.shards)])

    @cached_property
    def image_tokens(self) -> np.ndarray:
        """Image positions of each sequence, int64 (n,)."""
        return self.tokens_of("image")


@dataclass(frozen=True)
class Source:
    """One named source of a corpus: its kind (see `nmm.config.KINDS`) and its two splits."""

    name: str
    kind: str
    train: Split
    validation: Split


class Corpus:
    """A prepared corpus, opened. `sources` maps names to `Source`s in the order they were given."""

    def __init__(self, folder: Path, description: dict, url: str | None = None) -> None:
        self.folder, self.description, self.url = folder, description, url
        self.context: int = description["context"]
        self.geometry = Geometry(image_size=description["image_size"], patch=description["patch"],
                                 audio_dim=description.get("audio_dim", 0), video_dim=description.get("video_dim", 0),
                                 codes=description.get("codes", 0), audio_codes=description.get("audio_codes", 0),
                                 video_codes=description.get("video_codes", 0))
        self.image_size = self.geometry.sizes[-1]  # of the largest images, if sizes differ
        self.patch = self.geometry.patch
        self.patches_per_image, self.patch_dim = self.geometry.patches_per_image, self.geometry.patch_dim
        self.audio_dim, self.video_dim = self.geometry.audio_dim, self.geometry.video_dim
        self.vocab_size: int = description["vocab_size"]
        self.hash: str = description["hash"]
        # First id of each stretch of ids and the kind of its tokens; empty where the corpus names none. Not in the
        # hash.
        self.token_kinds: list[tuple[int, str]] = [(first, kind) for first, kind in description.get("token_kinds", [])]
        self.sources: dict[str, Source] = {}
        for number, (name, source) in enumerate(description["sources"].items()):
            splits = {split: Split(self._shards(name, split, source[split]["shards"]), number, self.geometry)
                      for split in SPLITS}
            self.sources[name] = Source(name, source["kind"], **splits)

    def _shards(self, name: str, split: str, shards: list[dict]) -> list[Rows]:
        rows = [shard["rows"] for shard in shards]
        if self.description.get("store") == "mds":
            remote = f"{self.url.rstrip('/')}/{name}/{split}" if self.url else None
            return mds.MdsFolder(self.folder / name / split, remote).shards(rows)
        return [
            Shard(self.folder / name / split / f"{n:05d}.arrow", count, self.context) for n, count in enumerate(rows)
        ]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The corpus's tokenizer."""
        return Tokenizer.load(self.folder / "tokenizer.json")

    @cached_property
    def image_tokenizer(self) -> ImageTokenizer:
        """What made the codes of its images, see `coder`."""
        return self.coder("image")

    def coder(self, modality: str) -> ImageTokenizer:
        """What made the codes of a modality.

        Raises:
            ValueError: it is not coded here; or the file is missing, damaged, or of another corpus.
        """
        asked, path = self.description.get(f"{modality}_tokenizer"), self.folder / coder_file(modality)
        what = MODALITIES[modality].words
        if asked is None:
            raise ValueError(f"the {what} of {self.folder} are patches, and no {modality} tokenizer made codes of them: make a corpus of "
                             "codes with `nmm.data.corpus.coded.coded_corpus`")
        if not path.is_file():
            raise ValueError(f"{path} is missing: the {what} of this corpus are codes of {modality} tokenizer {asked}; make the corpus "
                             "again")
        found = ImageTokenizer.read(path)
        if found.hash != asked:
            raise ValueError(f"{path} is {modality} tokenizer {found.hash}, of another corpus: the codes here are those of {asked}")
        return found

    @property
    def first_codes(self) -> dict[str, int]:
        """Id of code 0 of each modality that is coded, in rising order."""
        left, found = self.geometry.all_codes, {}
        for modality, codes in self.geometry.codes_of.items():
            found[modality], left = self.vocab_size - left, left - codes
        return found

    @cached_property
    def raw_bytes(self) -> dict[str, float]:
        """Raw bytes behind a position of each modality but text that the corpus has: RGB pixels, 16-bit samples."""
        counts = [source[split] for source in self.description["sources"].values() for split in SPLITS]
        total = {
            modality: [sum(each.get(name, 0) for each in counts) for name in (f"{modality}_tokens", raw)]
            for modality, raw in (("image", "pixel_bytes"), ("audio", "audio_raw_bytes"), ("video", "video_raw_bytes"))
        }
        return {modality: size / tokens for modality, (tokens, size) in total.items() if tokens}

    @cached_property
    def report(self) -> dict:
        """The report written when the corpus was prepared.

        Raises:
            ValueError: it is missing or damaged.
        """
        path = self.folder / "report.json"
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            if all(REPORTED <= source.keys() for source in report["sources"].values()):
                return report
            error = "not all is told of each source"
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, FileNotFoundError) as reason:
            error = type(reason).__name__
        raise ValueError(f"{path} is missing or damaged ({error}): prepare the corpus again")

    def of_kind(self, kind: str) -> list[Source]:
        """The sources of one kind, in order."""
        return [source for source in self.sources.values() if source.kind == kind]


def _check(description: dict) -> None:
    """Refuse a description with values that no corpus has: of them a corpus would be found out only when it is read.

    Raises:
        ValueError: naming the value.
    """
    numbers = {"context": description["context"], "vocab_size": description["vocab_size"]}
    for name, source in description["sources"].items():
        if not mds.is_name(name):
            raise ValueError(f"source {name!r} leads out of the folder")
        if source["kind"] not in KINDS:
            raise ValueError(f"source {name!r} is of kind {source['kind']!r}, not one of {', '.join(KINDS)}")
        numbers |= {f"rows of {name}/{split}": shard["rows"] for split in SPLITS for shard in source[split]["shards"]}
    for what, number in numbers.items():
        if not isinstance(number, int) or number < 1:
            raise ValueError(f"{what}: {number!r} is no number above 0")
    if description.get("store", "arrow") not in ("arrow", "mds"):
        raise ValueError(f"store {description['store']!r} is neither arrow nor mds")
    if not isinstance(description["hash"], str):
        raise ValueError(f"hash {description['hash']!r} is no text")


def open(folder: str | Path, cache: str | Path | None = None) -> Corpus:
    """Open a prepared corpus.

    Args:
        folder: a local folder, or a URL in object storage (s3://, gs://, az://; needs the extra `streaming`).
        cache: local folder for what is fetched from a URL; default: `mds.CACHE`.
    Raises:
        ValueError: the folder is not a finished corpus, or was written by another version of the format.
        OSError: the storage cannot be reached.
    """
    url = str(folder) if mds.is_url(folder) else None
    folder = mds.fetch_corpus(url, cache) if url else Path(folder)
    path = folder / "corpus.json"
    if not path.is_file():
        state = (
            "preparing it did not finish; run the same `data prepare` command again"
            if (folder / ".parts").exists()
            else "prepare it with `python -m nmm data prepare`"
        )
        raise ValueError(f"{folder} is not a prepared corpus (no corpus.json): {state}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        written = description["format"]
        if isinstance(written, int) and written > FORMAT_VERSION:
            raise NewerCorpus(
                f"{path} has format {written}, and this version of nmm reads {FORMAT_VERSION}: update nmm"
            )
        if written != FORMAT_VERSION:
            raise ValueError(f"its format is {written!r}, this version reads {FORMAT_VERSION}")
        _check(description)
        return Corpus(folder, description, url)
    except NewerCorpus:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error or type(error).__name__}): prepare the corpus again") from None
