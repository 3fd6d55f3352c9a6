"""Four modalities in one token space: text, images, audio and video of the generated world, with codes for all that is not text.

The documents are those of `nmm.data.generated.world`, `.audio` and `.video`: texts, captioned images, clips with transcripts, films with
captions. Texts, captions and films draw their words from the same tables, images and films their objects; clips have kinds of their own,
and share with the others the list of names. Each modality has a tokenizer, means of its patches, frames and tubelets. What codes leave to
be told is counted over every kind of object and note, so that the lowest loss of each modality in each data type is known.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nmm.data.codes import ImageTokenizer, fit_means
from nmm.data.documents import Span
from nmm.data.generated import audio, video
from nmm.data.generated.audio import Melodies, templates
from nmm.data.generated.video import MOTIONS, Films
from nmm.data.generated.world import (
    GRID,
    LENGTHS,
    PATCH_DIM,
    PATCHES_PER_IMAGE,
    SAID,
    WORDS_PER_CAPTION,
    World,
    draw_objects,
    render,
)

KINDS = ("caption", "text", "audio", "video")       # data types, in the order of `nmm.config.GENERATED`
MODALITY = {"caption": "image", "audio": "audio", "video": "video"}     # of the codes of a data type
N_CODES = 128               # of each tokenizer
SPANS = 6000                # images, clips and films that a tokenizer is trained on
FOLDER = Path(__file__).parent


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
    world = World(seed)
    made = {
        "image": (world.documents("caption", spans * LENGTHS["caption"], seed), lambda data: render(data).reshape(-1, PATCH_DIM)),
        "audio": (Melodies(world).documents(spans * audio.LENGTH, seed), audio.render),
        "video": (Films(world).documents(spans * video.LENGTH, seed), video.render),
    }
    return {
        modality: draw([segment.data for document in documents for segment in document.segments if isinstance(segment, Span)])
        for modality, (documents, draw) in made.items()
    }


def _entropy(share: np.ndarray) -> float:
    """Of probabilities, which may be zero [nats]."""
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())


def _entropy_of(rows: np.ndarray, share: np.ndarray) -> float:
    """Of what rows of codes (n, positions) say, each with its probability [nats]."""
    _, which = np.unique(rows, axis=0, return_inverse=True)
    return _entropy(np.bincount(which.ravel(), weights=share))


def _rolled(codes: np.ndarray, axis: int) -> np.ndarray:
    """Codes of an object in row 0, with every row it may stand in: a column is a ring; (GRID, ...)."""
    return np.stack([np.roll(codes, row, axis=axis) for row in range(GRID)])


def image_codes(world: World, coder: ImageTokenizer) -> list[np.ndarray]:
    """Of each column, the codes of its four patches with every row and every kind of object, (GRID, kinds, GRID)."""
    index = np.indices(world.kind_probability.shape).reshape(3, -1)
    patches = draw_objects(*(np.repeat(values[:, None], GRID, axis=1) for values in index))        # (kinds, columns, numbers)
    empty = int(coder.encode(np.zeros((1, PATCH_DIM), np.float32))[0])
    found = []
    for column in range(GRID):
        codes = np.full((patches.shape[0], GRID), empty)
        codes[:, 0] = coder.encode(patches[:, column])
        found.append(_rolled(codes, 1))
    return found


def film_codes(world: World, coder: ImageTokenizer) -> list[np.ndarray]:
    """Of each column, the codes of its eight tubelets with every row, kind and motion, (GRID, kinds * motions, 8)."""
    colour, shape, texture = np.indices(world.kind_probability.shape).reshape(3, -1).astype(np.uint8)
    steps = video.POSITIONS // GRID**2
    found: list[list[np.ndarray]] = [[] for _ in range(GRID)]
    for motion in range(len(MOTIONS)):
        every = []
        for begin in range(0, len(colour), 1 << 10):
            part = slice(begin, begin + (1 << 10))
            of_kind = colour[part], shape[part], texture[part]
            films = np.stack([np.zeros_like(of_kind[0]), *of_kind, np.full_like(of_kind[0], motion)], axis=-1)[:, None].repeat(GRID, 1)
            tubelets = video.render([film.tobytes() for film in films]).reshape(-1, coder.patch_dim)
            occupied = tubelets.any(axis=1)
            codes = np.full(len(tubelets), int(coder.encode(np.zeros((1, coder.patch_dim), np.float32))[0]))
            codes[occupied] = coder.encode(tubelets[occupied])
            every.append(codes.reshape(-1, steps, GRID, GRID))        # film, step, column, row
        whole = np.concatenate(every)
        for column in range(GRID):
            found[column].append(whole[:, :, column])
    # kinds first, then motions, as probabilities are laid out below
    return [_rolled(np.stack(own, axis=1).reshape(-1, steps, GRID), 2).reshape(GRID, -1, steps * GRID) for own in found]


def _told(codes: list[np.ndarray], kinds: np.ndarray) -> tuple[float, float]:
    """Entropy of the codes of all columns, and of what is said of their objects once the codes are seen [nats].

    Args:
        codes: of each column, with every row and every thing that is said, (GRID, said, positions).
        kinds: probability of each thing that is said, (said,); a row is not said.
    """
    alone = jointly = 0.0
    for own in codes:
        rows, share = own.reshape(-1, own.shape[-1]), np.tile(kinds / GRID, GRID)
        alone += _entropy_of(rows, share)
        number = np.tile(np.arange(len(kinds)), GRID)[:, None]
        jointly += _entropy_of(np.concatenate([number, rows], axis=1), share)
    return alone, jointly - alone


def floors(world: World, coders: Mapping[str, ImageTokenizer]) -> dict[str, dict[str, float]]:
    """The lowest possible loss of each modality's targets in each data type under next-token prediction of all [nats per token].

    Codes come before what is said of them. The first token of a document is no target; markers and ends are certain.
    """
    word, kinds = world.word_entropy, world.kind_probability.reshape(-1)
    image, of_image = _told(image_codes(world, coders["image"]), kinds)
    moving = np.repeat(kinds / len(MOTIONS), len(MOTIONS))
    film, of_film = _told(film_codes(world, coders["video"]), moving)
    notes = coders["audio"].encode(templates()).reshape(-1, audio.POSITIONS_PER_NOTE)
    p = Melodies(world).kind_probability.reshape(-1)
    note = _entropy_of(notes, p)
    clip = GRID * audio.POSITIONS_PER_NOTE
    return {
        "caption": {
            "text": (of_image + WORDS_PER_CAPTION * word) / (SAID * GRID + WORDS_PER_CAPTION + 1), "image": image / PATCHES_PER_IMAGE,
        },
        "text": {"text": world.entropy()["text"]},
        "audio": {"text": GRID * (_entropy(p) - note) / (audio.LENGTH - 1 - clip), "audio": GRID * note / clip},
        "video": {
            "text": (of_film + (video.OPENING + video.CLOSING - 1) * word) / video.TARGETS, "video": film / video.POSITIONS,
        },
    }


TARGETS = {         # of each modality in a document
    "caption": {"text": SAID * GRID + WORDS_PER_CAPTION + 1, "image": PATCHES_PER_IMAGE}, "text": {"text": LENGTHS["text"] - 1},
    "audio": {"text": audio.LENGTH - 1 - GRID * audio.POSITIONS_PER_NOTE, "audio": GRID * audio.POSITIONS_PER_NOTE},
    "video": {"text": video.TARGETS, "video": video.POSITIONS},
}


def entropy(world: World, coders: Mapping[str, ImageTokenizer]) -> dict[str, float]:
    """The lowest possible loss of each data type [nats per target token]."""
    lowest = floors(world, coders)
    return {
        kind: sum(lowest[kind][each] * count for each, count in targets.items()) / sum(targets.values())
        for kind, targets in TARGETS.items()
    }
