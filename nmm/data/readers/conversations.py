"""Conversations about images, as LLaVA has them (Liu et al. 2023).

    [{"id": "1", "image": "1.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is this?"},
                                                     {"from": "gpt", "value": "A red disc."}]}, ..]

One array, or an object a line. `image` is a name, or a list of as many as there are `<image>`; without any mark the images
come first. Such files are small and made by hand, so nothing is left out of them: what is wrong is an error.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nmm.data.documents import Document, Span, Text
from nmm.data.readers.detect import DAMAGED, bad_shard, open_stream
from nmm.data.readers.images import MAX_FILE, ImageRoot
from nmm.data.readers.rejects import Rejects

MARK = "<image>"
ASKS, ANSWERS = ("human", "user"), ("gpt", "assistant")


def read_conversations(path: Path, rejects: Rejects, images: ImageRoot | None = None) -> Iterator[Document]:
    """The conversations of a file, each a document of an image and turns.

    Raises:
        BadShard: an item is no conversation, or its image is not there; file and item are named, and what to do.
    """
    for number, item in enumerate(_items(path), 1):
        name = f"{path.name}: conversation {number}" + (f" (id {item['id']})" if isinstance(item, dict) and "id" in item else "")
        try:
            yield Document(tuple(_segments(item, images)), name)
        except ValueError as error:
            raise bad_shard(path, f"conversation {name.partition(': conversation ')[2]} {error}",
                            "`conversations` whose turns alternate, and an image file for each image meant") from None


def _items(path: Path) -> list[Any]:
    try:
        with open_stream(path) as stream:
            text = stream.read().decode("utf-8")
        return json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError, *DAMAGED) as error:
        raise bad_shard(path, f"is no JSON ({error})", "an array of conversations, or one a line") from None


def _segments(item: Any, images: ImageRoot | None) -> Iterator[Text | Span]:
    turns = item.get("conversations") if isinstance(item, dict) else None
    if not isinstance(turns, list) or len(turns) < 2 or len(turns) % 2:
        raise ValueError(f"has no `conversations` of a question and an answer, or of several: got {str(turns)[:80]}")
    named = item.get("image") or []
    spans = [_image(name, images) for name in ([named] if isinstance(named, str) else named)]
    marks = sum(str(turn.get("value")).count(MARK) for turn in turns if isinstance(turn, dict))
    if marks != len(spans) and (marks or not spans):
        raise ValueError(f"means {marks} images ({MARK} in its turns) and names {len(spans)}: give as many names, or take the marks "
                         "out")
    if not marks:
        yield from spans
    left = iter(spans)
    for number, turn in enumerate(turns):
        who = ANSWERS if number % 2 else ASKS
        said = turn.get("value") if isinstance(turn, dict) else None
        if not isinstance(said, str) or turn.get("from") not in who:
            raise ValueError(f"has at turn {number + 1} {str(turn)[:80]}, where {who[0]!r} should say something")
        if not said.replace(MARK, "").strip():
            raise ValueError(f"has at turn {number + 1} nothing said by {who[0]!r}: write it, or take the turn and its fellow out")
        *before, last = said.split(MARK)
        for text in before:
            if text.strip():
                yield Text(text.strip())
            yield next(left)
        yield Text(last.strip(), turn=number < len(turns) - 1)


def _image(name: Any, images: ImageRoot | None) -> Span:
    if images is None:
        raise ValueError(f"has the image {name!r}, and there is no folder of images: put one named `images` beside the file, or give "
                         "--image-root")
    data, reason = images.read(str(name), MAX_FILE)
    if data is None:
        raise ValueError(f"has the image {name!r}: {reason} in {images.path}; put it there, or take the conversation out")
    return Span(data, "")
