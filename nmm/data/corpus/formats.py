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


def _pictures(data: bytes, positions: int, geometry: Geometry) -> np.ndarray:
    return images.to_pixels(images.decode([data], [positions], geometry, [None])[None], geometry)


def _codes(blobs: Sequence[bytes], positions: Sequence[int], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    raise ValueError("codes are token ids, and not patches, frames or tubelets: the tokenizer of their corpus decodes them")


@dataclass(frozen=True)
class Format:
    """How the bytes of a span are stored: the modality, what decodes them, and the raw bytes behind one position.

    Raw is RGB pixels and 16-bit PCM samples; None: as many as the position has numbers. `raw` gives them of a span, as whole numbers of
    8 or 16 bits, from its data, positions and geometry; None: they are lost, as behind codes.
    """

    modality: str
    decode: Decoder
    raw_bytes: int | None = None
    raw: Callable[[bytes, int, Geometry], np.ndarray] | None = None


FORMATS: dict[str, Format] = {
    **{name: Format("image", images.decode, raw=_pictures) for name in ("jpeg", "png", "webp")},
    "scene": Format("image", _scene, raw=lambda data, positions, geometry: world.picture(data, positions)),
    "notes": Format("audio", _notes, raw_bytes=sound.RAW_BYTES, raw=lambda data, positions, geometry: audio.samples(data)),
    "pcm": Format("audio", sound.decode, raw_bytes=sound.RAW_BYTES, raw=lambda data, positions, geometry: np.frombuffer(data, "<i2")),
    "strip": Format("video", film.decode, raw=lambda data, positions, geometry: film.frames(data)),
    "film": Format("video", _film, raw=lambda data, positions, geometry: video.frames(data)),
    **{name: Format(modality, _codes) for modality, name in CODED.items()},
}


def known(name: str) -> Format:
    """A storage format by its name.

    Raises:
        ValueError: the format is unknown.
    """
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}: known are {', '.join(FORMATS)}")
    return FORMATS[name]
