"""Four modalities in one token space: text, images, audio and video of the generated world, with codes for all that is not text.

Texts and captioned images are those of `nmm.data.generated.world`, clips those of `.audio`, films those of `.video` with what is said of
them and no words before and after. All objects stand in the uppermost row, or begin there: where one stands at random, a model is long
busy with that before it sees what stands there. Texts and captions draw their words from the same tables, images and films their objects;
clips have kinds of their own, and share with the others the list of names.

Each modality has a tokenizer, means of its patches, frames and tubelets. What codes leave to be told is counted over every kind of object
and note, so that the lowest loss of each modality in each data type is known.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from nmm.data.codes import ImageTokenizer, fit_means
from nmm.data.documents import Document, Span, Text
from nmm.data.generated import audio, video
from nmm.data.generated.audio import Melodies, templates
from nmm.data.generated.surprisal import surprisal
from nmm.data.generated.video import MOTIONS, Films
from nmm.data.generated.world import (
    GRID,
    PATCH_DIM,
    PATCHES_PER_IMAGE,
    SAID,
    WORDS_PER_CAPTION,
    World,
    draw_objects,
    render,
)
from nmm.data.generated.world import LENGTHS as WORLD_LENGTHS

KINDS = ("caption", "text", "audio", "video")       # data types, in the order of `nmm.config.GENERATED`
MODALITY = {"caption": "image", "audio": "audio", "video": "video"}     # of the codes of a data type
N_CODES = 128               # of each tokenizer
SPANS = 6000                # images, clips and films that a tokenizer is trained on
ROWS = 1 << 10              # films drawn at once: bounds the memory
FOLDER = Path(__file__).parent
OBJECT = {"caption": 4, "video": 5}     # bytes of an object in a scene and a film; the first is its row
FILM_SAID = (SAID + 1) * GRID           # words of a film: of each object what it is and how it moves
LENGTHS = {                 # tokens of a document
    **{kind: WORLD_LENGTHS[kind] for kind in ("caption", "text")}, "audio": audio.LENGTH, "video": 1 + video.POSITIONS + FILM_SAID + 1,
}


def documents(world: World, kind: str, tokens: int, seed: int) -> Iterator[Document]:
    """Documents of one data type, at least `tokens` tokens in all; the first do not depend on `tokens`.

    Raises:
        ValueError: an unknown data type.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown data type {kind!r}: four modalities have {', '.join(KINDS)}")
    count = -(-tokens // LENGTHS[kind])
    if kind == "audio":
        found = Melodies(world).documents(count * audio.LENGTH, seed)
    elif kind == "video":
        found = (_film(document) for document in Films(world).documents(count * video.LENGTH, seed))
    else:
        found = (_raised(document, kind) for document in world.documents(kind, count * WORLD_LENGTHS[kind], seed))
    yield from itertools.islice(found, count)


def _raised(document: Document, kind: str) -> Document:
    """The document with the objects of its images in the uppermost row."""
    if kind not in OBJECT:
        return document
    segments = []
    for segment in document.segments:
        if isinstance(segment, Span):
            data = bytearray(segment.data)
            data[::OBJECT[kind]] = bytes(GRID)
            segment = Span(bytes(data), segment.format, segment.positions)
        segments.append(segment)
    return Document(tuple(segments), document.name)


def _film(document: Document) -> Document:
    """A film with what is said of it alone, its objects beginning in the uppermost row."""
    _, film, words = document.segments
    return _raised(Document((film, Text(ids=words.ids[:FILM_SAID])), document.name), "video")


def kept() -> dict[str, ImageTokenizer]:
    """The tokenizers of the study, by modality. They are kept, for another machine's means would differ in last digits, and with them
    codes and the names of runs; `train_tokenizers` made them.
    """
    return {modality: ImageTokenizer.read(FOLDER / f"four-{modality}.safetensors") for modality in MODALITY.values()}


def train_tokenizers(seed: int = 0, codes: int = N_CODES) -> dict[str, ImageTokenizer]:
    """Means of the patches, frames and tubelets of training documents, by modality."""
    seen = samples(seed, SPANS)
    return {modality: fit_means(vectors, codes, seed, {"world": str(seed), "vectors": str(len(vectors))})
            for modality, vectors in seen.items()}


def samples(seed: int, spans: int) -> dict[str, np.ndarray]:
    """What stands at the positions of the first images, clips and films of a world, by modality, (spans * positions, numbers)."""
    world, found = World(seed), {}
    draw = {"caption": lambda data: render(data).reshape(-1, PATCH_DIM), "audio": audio.render, "video": video.render}
    for kind, modality in MODALITY.items():
        segments = (document.segments for document in documents(world, kind, spans * LENGTHS[kind], seed))
        found[modality] = draw[kind]([segment.data for own in segments for segment in own if isinstance(segment, Span)])
    return found


def _entropy(share: np.ndarray) -> float:
    """Of probabilities, which may be zero [nats]."""
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


def _entropy_of(rows: np.ndarray, share: np.ndarray) -> float:
    """Of what rows of codes (n, positions) say, each with its probability [nats]."""
    _, which = np.unique(rows, axis=0, return_inverse=True)
    return _entropy(np.bincount(which.ravel(), weights=share))


def image_codes(world: World, coder: ImageTokenizer) -> list[np.ndarray]:
    """Of each column, the code of every kind of object, (kinds, 1): its other patches are always empty."""
    index = np.indices(world.kind_probability.shape).reshape(3, -1)
    patches = draw_objects(*(np.repeat(values[:, None], GRID, axis=1) for values in index))        # (kinds, columns, numbers)
    return [coder.encode(patches[:, column])[:, None] for column in range(GRID)]


def film_codes(world: World, coder: ImageTokenizer) -> list[np.ndarray]:
    """Of each column, the codes of its eight tubelets with every kind and motion, (kinds * motions, 8)."""
    colour, shape, texture = np.indices(world.kind_probability.shape).reshape(3, -1).astype(np.uint8)
    steps, empty = video.POSITIONS // GRID**2, int(coder.encode(np.zeros((1, coder.patch_dim), np.float32))[0])
    found: list[list[np.ndarray]] = [[] for _ in range(GRID)]
    for motion in range(len(MOTIONS)):
        every = []
        for begin in range(0, len(colour), ROWS):
            of_kind = [values[begin:begin + ROWS] for values in (colour, shape, texture)]
            films = np.stack([np.zeros_like(of_kind[0]), *of_kind, np.full_like(of_kind[0], motion)], axis=-1)[:, None].repeat(GRID, 1)
            tubelets = video.render([film.tobytes() for film in films])
            occupied, codes = tubelets.any(axis=1), np.full(len(tubelets), empty)
            codes[occupied] = coder.encode(tubelets[occupied])
            every.append(codes.reshape(-1, steps, GRID, GRID))        # film, step, column, row
        whole = np.concatenate(every)
        for column in range(GRID):
            found[column].append(whole[:, :, column].reshape(len(whole), -1))
    return [np.stack(own, axis=1).reshape(-1, steps * GRID) for own in found]      # kinds first, then motions


def _told(codes: list[np.ndarray], said: np.ndarray) -> tuple[float, float]:
    """Entropy of the codes of all columns, and of what is said of their objects once the codes are seen [nats].

    Codes are a function of what is said, so that both together have the entropy of what is said.

    Args:
        codes: of each column, those of every thing that can be said, (said, positions).
        said: probability of each, (said,).
    """
    alone = sum(_entropy_of(own, said) for own in codes)
    return alone, len(codes) * _entropy(said) - alone


def floors(world: World, coders: Mapping[str, ImageTokenizer]) -> dict[str, dict[str, float]]:
    """The lowest possible loss of each modality's targets in each data type under next-token prediction of all [nats per token].

    Codes come before what is said of them. The first token of a document is no target; markers and ends are certain.
    """
    word, kinds = world.word_entropy, world.kind_probability.reshape(-1)
    image, of_image = _told(image_codes(world, coders["image"]), kinds)
    moving = np.repeat(kinds / len(MOTIONS), len(MOTIONS))
    film, of_film = _told(film_codes(world, coders["video"]), moving)
    notes, melodies = coders["audio"].encode(templates()).reshape(-1, audio.POSITIONS_PER_NOTE), Melodies(world)
    p = melodies.kind_probability.reshape(-1)
    note = _entropy_of(notes, p)
    said = np.stack([*np.indices(audio.NOTES)[:2], melodies.kind_name], axis=-1).reshape(-1, 3)     # of a note; its touch is only heard
    clip = GRID * audio.POSITIONS_PER_NOTE
    return {
        "caption": {
            "text": (of_image + WORDS_PER_CAPTION * word) / (SAID * GRID + WORDS_PER_CAPTION + 1), "image": image / PATCHES_PER_IMAGE,
        },
        "text": {"text": world.entropy()["text"]},
        "audio": {
            "text": GRID * (_entropy_of(np.hstack([notes, said]), p) - note) / (audio.LENGTH - 1 - clip), "audio": GRID * note / clip,
        },
        "video": {"text": of_film / (FILM_SAID + 1), "video": film / video.POSITIONS},
    }


TARGETS = {         # of each modality in a document
    "caption": {"text": SAID * GRID + WORDS_PER_CAPTION + 1, "image": PATCHES_PER_IMAGE},
    "text": {"text": WORLD_LENGTHS["text"] - 1},
    "audio": {"text": audio.LENGTH - 1 - GRID * audio.POSITIONS_PER_NOTE, "audio": GRID * audio.POSITIONS_PER_NOTE},
    "video": {"text": FILM_SAID + 1, "video": video.POSITIONS},
}


def entropy(world: World, coders: Mapping[str, ImageTokenizer]) -> dict[str, float]:
    """The lowest possible loss of each data type [nats per target token]."""
    lowest = floors(world, coders)
    return {
        kind: sum(lowest[kind][each] * count for each, count in targets.items()) / sum(targets.values())
        for kind, targets in TARGETS.items()
    }


def held_out_floors(world: World, coders: Mapping[str, ImageTokenizer], count: int, seed: int) -> dict[str, float]:
    """What the first documents of each data type cost at best, by modality: -ln of their true probability [nats per token].

    Those documents are the held-out ones, and some hundred of them lie off the entropy by more than a good model does.

    Args:
        count: documents of each data type; seed: of the documents.
    """
    data = {
        kind: [document.segments[0].data for document in documents(world, kind, count * LENGTHS[kind], seed)] for kind in MODALITY
    }
    kinds, clip = world.kind_probability.reshape(-1), GRID * audio.POSITIONS_PER_NOTE
    images = coders["image"].encode(render(data["caption"])).reshape(count, GRID, GRID)[:, :, :1]          # image, column, uppermost row
    films = coders["video"].encode(video.render(data["video"])).reshape(count, -1, GRID, GRID).transpose(0, 2, 1, 3)
    notes = coders["audio"].encode(audio.render(data["audio"])).reshape(-1, audio.POSITIONS_PER_NOTE)
    every_note = coders["audio"].encode(templates()).reshape(-1, audio.POSITIONS_PER_NOTE)
    moving = np.repeat(kinds / len(MOTIONS), len(MOTIONS))
    shown = sum(_surprise(own, kinds, images[:, at]) for at, own in enumerate(image_codes(world, coders["image"])))
    filmed = sum(_surprise(own, moving, films[:, at].reshape(count, -1)) for at, own in enumerate(film_codes(world, coders["video"])))
    return {
        "text": float(surprisal(world, documents(world, "text", count * LENGTHS["text"], seed)).mean()),
        "image": shown / PATCHES_PER_IMAGE,
        "audio": GRID * _surprise(every_note, Melodies(world).kind_probability.reshape(-1), notes) / clip,
        "video": filmed / video.POSITIONS,
    }


def _surprise(rows: np.ndarray, share: np.ndarray, found: np.ndarray) -> float:
    """Mean of -ln p of rows of codes that were found, among all rows that there are, each with its probability [nats]."""
    different, which = np.unique(rows, axis=0, return_inverse=True)
    p = dict(zip(map(bytes, different), np.bincount(which.ravel(), weights=share), strict=True))
    return float(-np.log([p[bytes(row)] for row in np.ascontiguousarray(found, different.dtype)]).mean())
