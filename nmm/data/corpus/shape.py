"""The shape of a corpus: how long its sequences are, what of each modality a position holds, which documents are held
out.
"""

from dataclasses import asdict, dataclass

from nmm.data.documents import Document
from nmm.data.geometry import Geometry

COUNTS = ("documents", "images", "text_tokens", "image_tokens", "sequences", "text_bytes", "image_bytes", "pixel_bytes")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of a corpus's sequences and its held-out part."""

    context: int               # positions of a sequence [tokens]
    image_size: int | tuple[int, ...]  # several: see `Geometry` [pixels]
    patch: int                 # [pixels]
    validation: float          # held out: below 1 a share by content hash, else the first so many documents
    audio_dim: int = 0         # numbers at one position of audio; 0: there is none
    video_dim: int = 0         # and of video

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", self.geometry.image_size)
        if self.geometry.patches_per_image + 2 > self.context:
            raise ValueError(
                f"an image of {self.geometry.patches_per_image} patches (size {self.geometry.sizes[-1]}, patch "
                f"{self.patch}) does "
                f"not fit the context of {self.context} positions: raise the context or lower the image size"
            )
        if not self.validation > 0 or (self.validation >= 1 and self.validation % 1 != 0):
            raise ValueError(
                f"validation is {self.validation}: a share between 0 and 1, or a whole number of documents"
            )

    @property
    def geometry(self) -> Geometry:
        return Geometry(
            image_size=self.image_size, patch=self.patch, audio_dim=self.audio_dim, video_dim=self.video_dim
        )

    @property
    def settings(self) -> dict:
        """As JSON values, for reports and hashes; without modalities that there are none of."""
        return {name: value for name, value in asdict(self).items() if name not in ("audio_dim", "video_dim") or value}

    @property
    def counts(self) -> tuple[str, ...]:
        """What is counted of each split."""
        more = ("spans", "tokens", "raw_bytes")
        return *COUNTS, *(f"{modality}_{what}" for modality in self.geometry.modalities[1:] for what in more)

    def split_of(self, document: Document, number: int) -> str:
        """The split of document `number` of a source. By content hash, equal documents never part."""
        if self.validation >= 1:
            return "validation" if number < self.validation else "train"
        held = int.from_bytes(document.digest()[:8], "big") < self.validation * 2.0**64
        return "validation" if held else "train"
