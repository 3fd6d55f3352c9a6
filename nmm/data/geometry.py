"""What the model sees of everything but text: sizes of images and patches, numbers at a position of audio and video."""

from dataclasses import dataclass

from nmm.config import INPUTS, MODALITIES


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Square images cut into square patches of `patch * patch` pixels with 3 channels; frames of audio, tubelets of
    video.

    With several image sizes each image gets the largest that is not above its own short side, or else the smallest.
    """

    image_size: int | tuple[int, ...]  # side of an image as the model sees it; several in rising order [pixels]
    patch: int                         # side of a patch [pixels]
    audio_dim: int = 0                 # numbers at one position of audio; 0: no audio
    video_dim: int = 0                 # numbers at one position of video; 0: no video
    codes: int = 0                     # of an image tokenizer, where an image's positions hold codes for patches; 0: patches
    audio_codes: int = 0               # the same of frames of audio, and of tubelets of video
    video_codes: int = 0

    def __post_init__(self) -> None:
        given = (self.image_size,) if isinstance(self.image_size, int) else tuple(sorted(set(self.image_size)))
        bad = [size for size in given if size < 1 or self.patch < 1 or size % self.patch]
        if bad or not given:
            raise ValueError(
                f"image size {', '.join(map(str, bad)) or 'missing'} is not a multiple of patch {self.patch}: "
                "choose, for example, 224 and 14"
            )
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
        """Numbers in one patch: pixels times channels; 0 where a position holds a code."""
        return 0 if self.codes else 3 * self.patch * self.patch

    def patches(self, side: int) -> int:
        """Positions that an image takes whose own short side is `side` pixels."""
        fitting = [size for size in self.sizes if size <= side] or self.sizes[:1]
        return (fitting[-1] // self.patch) ** 2

    @property
    def codes_of(self) -> dict[str, int]:
        """Codes of each modality whose positions hold codes, in the order of their ids, which end the vocabulary."""
        every = {"image": self.codes, "audio": self.audio_codes, "video": self.video_codes}
        return {modality: codes for modality, codes in every.items() if codes}

    @property
    def all_codes(self) -> int:
        """Codes of all modalities together; 0 where none is coded."""
        return sum(self.codes_of.values())

    def width(self, modality: str) -> int:
        """Numbers at one position of a modality other than text; 0 where the corpus has none of it."""
        return getattr(self, MODALITIES[modality].width)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities other than text that a corpus of this geometry may hold."""
        return tuple(entry.name for entry in INPUTS if getattr(self, entry.width) or entry.name in self.codes_of)
