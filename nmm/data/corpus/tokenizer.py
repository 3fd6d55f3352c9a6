"""The tokenizer of a corpus: any `tokenizer.json`, or a byte-level BPE trained on the corpus's own text."""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from nmm.config import INPUTS

END = "<|endofdocument|>"  # after every document
PAD = "<|padding|>"
MARKERS = {entry.name: f"<|{entry.name}|>" for entry in INPUTS}     # before the positions of what is not text
IMAGE = MARKERS["image"]
SPECIAL = (END, IMAGE, PAD)
MIN_VOCABULARY = 256 + len(SPECIAL)
MAX_VOCABULARY = 1 << 20    # larger than any tokenizer in use; a table with a row for each id must fit into memory
# letters of all planes, which no vocabulary lists all of: a tokenizer that has ids for them has some for any text
LETTERS = [letter for number in range(33, 0x32000, 53) if unicodedata.category(letter := chr(number))[0] in "LNPS"]


class Tokenizer:
    """A thin layer over `tokenizers.Tokenizer` that makes sure of the three special tokens.

    Special tokens missing from the file are appended; text that merely spells one is encoded as plain text.
    """

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        inner.add_special_tokens([token for token in SPECIAL if inner.token_to_id(token) is None])
        inner.encode_special_tokens = True
        inner.no_truncation()
        inner.no_padding()
        self.inner = inner
        self._known: set[str] = set()       # characters that have ids
        self.end = inner.token_to_id(END)
        self.markers = {modality: inner.token_to_id(token) for modality, token in MARKERS.items()}
        self.pad = inner.token_to_id(PAD)
        self.vocab_size = max(inner.get_vocab(with_added_tokens=True).values()) + 1
        if self.vocab_size > MAX_VOCABULARY:
            raise ValueError(f"the tokenizer has ids up to {self.vocab_size - 1}, a model at most {MAX_VOCABULARY - 1}")

    def marker(self, modality: str) -> int:
        """The id of the token before a span of a modality.

        Raises:
            ValueError: the vocabulary has none.
        """
        if self.markers[modality] is None:
            raise ValueError(
                f"the tokenizer has no {MARKERS[modality]}, which stands before {modality}: add it to the vocabulary"
            )
        return self.markers[modality]

    def with_markers(self, modalities: Iterable[str]) -> "Tokenizer":
        """The tokenizer with a marker for each of these modalities: itself where it has them."""
        lacks = [MARKERS[modality] for modality in modalities if self.markers[modality] is None]
        if not lacks:
            return self
        inner = tokenizers.Tokenizer.from_str(self.to_json())
        inner.add_special_tokens(lacks)
        return Tokenizer(inner)

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a `tokenizer.json`.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not a tokenizer.
        """
        data = Path(path).read_bytes()
        try:
            return cls(tokenizers.Tokenizer.from_str(data.decode("utf-8")))
        except Exception as error:  # noqa: BLE001 - the Rust library raises plain Exception
            raise ValueError(f"{path} is not a tokenizer.json of the tokenizers library: {error}") from None

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> "Tokenizer":
        """Byte-level BPE with a vocabulary of at most `vocab_size`, the special tokens included.

        Raises:
            ValueError: `vocab_size` cannot hold the 256 bytes and the special tokens, or is beyond all use.
        Source: Sennrich et al. 2016 (BPE), Radford et al. 2019 (on bytes), as the `tokenizers` library has them.
        """
        check_size(vocab_size)
        inner = tokenizers.Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size, special_tokens=list(SPECIAL), show_progress=False, min_frequency=2,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        )
        inner.train_from_iterator(texts, trainer)
        return cls(inner)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray | None]:
        """Token ids of each text, int32 (T,), without any token added; None for a text that would lose a character.

        Raises:
            ValueError: the tokenizer cannot encode a text.
        """
        known = [self._is_complete or self._knows(set(text)) for text in texts]
        return [ids if whole else None for ids, whole in zip(self._encode(texts), known)]

    def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        try:
            encoded = self.inner.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:  # noqa: BLE001 - the Rust library raises plain Exception
            raise ValueError(
                f"the tokenizer cannot encode some text ({error}): take one with an unknown token or on bytes"
            ) from None
        return [np.array(item.ids, np.int32) for item in encoded]

    def _knows(self, characters: set[str]) -> bool:
        """Whether each of these, but for spaces and what has no shape, has an id."""
        new = [each for each in characters - self._known if unicodedata.category(each)[0] not in "ZC"]
        found = {each for each, ids in zip(new, self._encode(new)) if len(ids)}
        self._known |= found
        return len(found) == len(new)

    @cached_property
    def _is_complete(self) -> bool:
        """Whether every letter has an id of its own, of its bytes, or of the unknown token."""
        return all(map(len, self._encode(LETTERS)))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens spelled out."""
        return self.inner.decode([int(i) for i in ids], skip_special_tokens=False)

    def to_json(self) -> str:
        """The file's text; equal tokenizers give equal text."""
        return self.inner.to_str(pretty=False)

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits of the file's text."""
        return hashlib.blake2b(self.to_json().encode(), digest_size=8).hexdigest()

    @cached_property
    def id_bytes(self) -> np.ndarray | None:
        """UTF-8 bytes of text that each id stands for, int64 (vocab_size,), 0 for special tokens; None where ids do not tell:
        known are byte-level tokenizers, where a letter of a token is a byte, and words with a space between.
        """
        kind = json.loads(self.to_json())
        by_bytes = "ByteLevel" in json.dumps(kind.get("decoder"))
        if not by_bytes and kind["model"]["type"] != "WordLevel":
            return None
        sizes = np.zeros(self.vocab_size, np.int64) if by_bytes else self.word_bytes.copy()
        if by_bytes:
            for token, number in self.inner.get_vocab(with_added_tokens=True).items():
                sizes[number] = len(token)
        sizes[[token["id"] for token in kind["added_tokens"]]] = 0
        sizes[[self.end, self.pad, *filter(None, self.markers.values())]] = 0
        return sizes

    @cached_property
    def word_bytes(self) -> np.ndarray:
        """UTF-8 bytes that each id stands for when ids are shown as words with a space between, int64 (vocab_size,)."""
        sizes = np.zeros(self.vocab_size, np.int64)
        for token, number in self.inner.get_vocab(with_added_tokens=True).items():
            sizes[number] = len(token.encode()) + 1
        return sizes


def check_size(vocab_size: int) -> None:
    """Refuse a vocabulary that does not hold the bytes, or is beyond all use."""
    if not MIN_VOCABULARY <= vocab_size <= MAX_VOCABULARY:
        raise ValueError(f"vocabulary size {vocab_size} is out of range: at least {MIN_VOCABULARY} (256 bytes and "
                         f"{len(SPECIAL)} special tokens), at most {MAX_VOCABULARY:,}")
