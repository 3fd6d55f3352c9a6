"""From stored bytes to patches: the geometry of an image and one decoder per storage format.

A decoder takes all items of a batch in one call, so a vectorised renderer costs one call a batch.
A later modality (audio frames, video tubelets) adds a decoder here and nothing elsewhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Draw = tuple[int, ...] | None  # what seeds an item's augmentation; None: no randomness


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Square images cut into square patches of `patch * patch` pixels with 3 channels."""

    image_size: int  # side of the image as the model sees it [pixels]
    patch: int       # side of a patch [pixels]

    def __post_init__(self) -> None:
        if self.image_size < 1 or self.patch < 1 or self.image_size % self.patch:
            raise ValueError(
                f"image size {self.image_size} is not a multiple of patch {self.patch}: choose, for example, 224 and 14"
            )

    @property
    def patches_per_image(self) -> int:
        """Positions that one image takes in a sequence."""
        return (self.image_size // self.patch) ** 2

    @property
    def patch_dim(self) -> int:
        """Numbers in one patch: pixels times channels."""
        return 3 * self.patch * self.patch


Decoder = Callable[[Sequence[bytes], Geometry, Sequence[Draw]], np.ndarray]


def _pixels(blobs: Sequence[bytes], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    from nmm.data.images import decode  # pillow is not needed where only generated data is read

    return decode(blobs, geometry, draws)


def _scene(blobs: Sequence[bytes], geometry: Geometry, draws: Sequence[Draw]) -> np.ndarray:
    from nmm.data.generated import render

    return render(blobs)


DECODERS: dict[str, Decoder] = {"jpeg": _pixels, "png": _pixels, "webp": _pixels, "scene": _scene}


def decoder(name: str) -> Decoder:
    """The decoder of a storage format.

    Raises:
        ValueError: the format is unknown.
    """
    if name not in DECODERS:
        raise ValueError(f"unknown image format {name!r}: known are {', '.join(DECODERS)}")
    return DECODERS[name]
