"""From stored bytes to what the model sees: the geometry of a corpus and one decoder per storage format.

A decoder takes all items of a batch in one call, so a vectorised renderer costs one call a batch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MODALITIES = ("text", "image", "audio", "video")  # a position's number in a batch's `modality` is the place in this list

Draw = tuple[int, ...] | None  # what seeds an item's augmentation; None: no randomness


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Square images cut into square patches of `patch * patch` pixels with 3 channels; frames of audio, tubelets of video.

    With several image sizes each image gets the largest that is not above its own short side, or else the smallest.
    """

    image_size: int | tuple[int, ...]  # side of an image as the model sees it; several in rising order [pixels]
    patch: int                         # side of a patch [pixels]
    audio_dim: int = 0                 # numbers at one position of audio; 0: no audio
    video_dim: int = 0                 # numbers at one position of video; 0: no video

    def __post_init__(self) -> None:
        given = (self.image_size,) if isinstance(self.image_size, int) else tuple(sorted(set(self.image_size)))
        bad = [size for size in given if size < 1 or self.patch < 1 or size % self.patch]
        if bad or not given:
            raise ValueError(f"image size {', '.join(map(str, bad)) or 'missing'} is not a multiple of patch {self.patch}: "
                             "choose, for example, 224 and 14")
        object.__setattr__(self, "image_size", given[0] if len(given) == 1 else given)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides that an image can have, in rising order [pixels]."""
        return (self.image_size,) if isinstance(self.image_size, int) else self.image_size

    @property
    def patches_per_image(self) -> int:
        """Positions that the largest image takes in a sequence."""
        return self.patches(self.sizes[-1])

    @property
    def patch_dim(self) -> int:
        """Numbers in one patch: pixels times channels."""
        return 3 * self.patch * self.patch

    def patches(self, side: int) -> int:
        """Positions that an image takes whose own short side is `side` pixels."""
        fitting = [size for size in self.sizes if size <= side] or self.sizes[:1]
        return (fitting[-1] // self.patch) ** 2

    def width(self, modality: str) -> int:
        """Numbers at one position of a modality other than text; 0 where the corpus has none of it."""
        return {"image": self.patch_dim, "audio": self.audio_dim, "video": self.video_dim}[modality]

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities other than text that a corpus of this geometry may hold."""
        return tuple(name for name in MODALITIES[1:] if self.width(name))


# Items, positions of each, geometry, draws -> float32 (sum of positions, width of the modality).
Decoder = Callable[[Sequence[bytes], Sequence[int], Geometry, Sequence[Draw]], np.ndarray]


def _pixels(blobs: Sequence[bytes], positions: Sequence[int], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    from nmm.data.images import decode  # pillow is not needed where only generated data is read

    return decode(blobs, positions, geometry, draws)


def _scene(blobs: Sequence[bytes], positions: Sequence[int], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    from nmm.data.generated.world import render

    lengths = set(positions)
    if len(lengths) == 1:
        return render(blobs, math.isqrt(positions[0])).reshape(-1, geometry.patch_dim)
    out = np.empty((sum(positions), geometry.patch_dim), np.float32)
    first = np.cumsum((0, *positions))
    for length in lengths:
        mine = [item for item, own in enumerate(positions) if own == length]
        out[first[mine][:, None] + np.arange(length)] = render([blobs[item] for item in mine], math.isqrt(length))
    return out


def _notes(blobs: Sequence[bytes], positions: Sequence[int], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    from nmm.data.generated.audio import render

    return render(blobs)


def _film(blobs: Sequence[bytes], positions: Sequence[int], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    from nmm.data.generated.video import render

    return render(blobs)


@dataclass(frozen=True)
class Format:
    """How the bytes of a span are stored: the modality, what decodes them, and the raw bytes behind one position.

    Raw is RGB pixels and 16-bit PCM samples; None: as many as the position has numbers.
    """

    modality: str
    decode: Decoder
    raw_bytes: int | None = None


FORMATS: dict[str, Format] = {
    **{name: Format("image", _pixels) for name in ("jpeg", "png", "webp")},
    "scene": Format("image", _scene), "notes": Format("audio", _notes, raw_bytes=512), "film": Format("video", _film),
}


def known(name: str) -> Format:
    """A storage format by its name.

    Raises:
        ValueError: the format is unknown.
    """
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}: known are {', '.join(FORMATS)}")
    return FORMATS[name]
