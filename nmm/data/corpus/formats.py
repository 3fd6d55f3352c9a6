"""From stored bytes to what the model sees: one decoder a storage format.

A decoder takes all items of a batch in one call, so a vectorised renderer costs one call a batch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nmm.data import film, images, sound
from nmm.data.generated import audio, video, world
from nmm.data.geometry import Geometry
from nmm.data.images import Draw

# Of the tokenizer of a modality, 16-bit whole numbers; the positions hold them as token ids too
CODED = {"image": "codes", "audio": "audio codes", "video": "video codes"}

# Items, positions of each, geometry, draws -> float32 (sum of positions, width of the modality).
Decoder = Callable[[Sequence[bytes], Sequence[int], Geometry, Sequence[Draw]], np.ndarray]


def _scene(blobs: Sequence[bytes], positions: Sequence[int], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    lengths = set(positions)
    if len(lengths) == 1:
        return world.render(blobs, math.isqrt(positions[0])).reshape(-1, geometry.patch_dim)
    out = np.empty((sum(positions), geometry.patch_dim), np.float32)
    first = np.cumsum((0, *positions))
    for length in lengths:
        mine = [item for item, own in enumerate(positions) if own == length]
        out[first[mine][:, None] + np.arange(length)] = world.render([blobs[item] for item in mine], math.isqrt(length))
    return out


def _notes(blobs: Sequence[bytes], positions: Sequence[int], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    return audio.render(blobs)


def _film(blobs: Sequence[bytes], positions: Sequence[int], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    return video.render(blobs)


def _codes(blobs: Sequence[bytes], positions: Sequence[int], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    raise ValueError("codes are token ids, and not patches, frames or tubelets: the tokenizer of their corpus decodes them")


@dataclass(frozen=True)
class Format:
    """How the bytes of a span are stored: the modality, what decodes them, and the raw bytes behind one position.

    Raw is RGB pixels and 16-bit PCM samples; None: as many as the position has numbers.
    """

    modality: str
    decode: Decoder
    raw_bytes: int | None = None


FORMATS: dict[str, Format] = {
    **{name: Format("image", images.decode) for name in ("jpeg", "png", "webp")},
    "scene": Format("image", _scene), "notes": Format("audio", _notes, raw_bytes=sound.RAW_BYTES),
    "pcm": Format("audio", sound.decode, raw_bytes=sound.RAW_BYTES), "strip": Format("video", film.decode),
    "film": Format("video", _film), **{name: Format(modality, _codes) for modality, name in CODED.items()},
}


def known(name: str) -> Format:
    """A storage format by its name.

    Raises:
        ValueError: the format is unknown.
    """
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}: known are {', '.join(FORMATS)}")
    return FORMATS[name]
