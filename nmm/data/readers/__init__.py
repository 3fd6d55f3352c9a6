"""Readers of the study's real formats. Each gives `Document`s and counts the samples that it leaves out.

| kind | formats |
|---|---|
| caption | WebDataset tars as img2dataset writes them, compressed or not; parquet with image bytes and captions |
| audio | WebDataset tars of WAV, FLAC, OGG or MP3 with transcripts; parquet with audio bytes and transcripts |
| video | WebDataset tars of MP4, WebM or GIF with captions; parquet with video bytes and captions |
| interleaved | parquet with `images` and `texts`, lists of equal length, as OBELICS has them |
| conversation | JSON or JSON lines with `conversations` and `image`, as LLaVA has them |
| text | JSON lines, parquet or plain text; the first and the last also under zstd, gzip, xz, bzip2 or lz4 |

A format is recognised by a file's content. A bad sample is counted and left out; a bad file is a `BadShard`; a file
that is not read is named.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from nmm.data.documents import Document
from nmm.data.readers.conversations import read_conversations
from nmm.data.readers.detect import BadShard
from nmm.data.readers.images import ImageRoot
from nmm.data.readers.lines import read_jsonl, read_plain
from nmm.data.readers.rejects import Rejects
from nmm.data.readers.sources import files_of, format_of
from nmm.data.readers.tables import (
    read_audio_table,
    read_caption_table,
    read_interleaved_table,
    read_text_table,
    read_video_table,
)
from nmm.data.readers.tars import read_audio_tar, read_caption_tar, read_video_tar

__all__ = ["BadShard", "ImageRoot", "files_of", "read"]

Reader = Callable[[Path, Rejects, ImageRoot | None], Iterator[Document]]
READERS: dict[str, dict[str, Reader]] = {
    "caption": {"tar": read_caption_tar, "parquet": read_caption_table},
    "interleaved": {"parquet": read_interleaved_table},
    "conversation": {"json": read_conversations, "jsonl": read_conversations},
    "text": {"jsonl": read_jsonl, "parquet": read_text_table, "plain": read_plain},
    "audio": {"tar": read_audio_tar, "parquet": read_audio_table},
    "video": {"tar": read_video_tar, "parquet": read_video_table},
}


def read(path: Path, kind: str, rejects: Rejects, images: ImageRoot | None = None) -> Iterator[Document]:
    """The documents of one file, in its order. Image bytes are as found: `nmm.data.readers.clean` checks them.

    Args:
        path: a file that `files_of` lists for this kind.
        kind: caption, interleaved, conversation, text, audio or video.
        rejects: takes what is left out.
        images: where the images of interleaved documents and conversations are.
    Raises:
        BadShard: the file is damaged or is not what its kind expects.
        OSError: the file cannot be read.
    """
    return READERS[kind][format_of(path, kind)](path, rejects, images)
