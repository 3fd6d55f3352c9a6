"""Two towers, of images and of text, that meet in one space: what an image encoder is trained in first. No torch here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from nmm.architectures.late import LateFusionConfig
from nmm.config.model import Counts, architecture


@architecture
@dataclass(frozen=True, kw_only=True)
class ContrastConfig(LateFusionConfig):
    """Late fusion's encoder beside a text tower of the decoder's blocks, without an output embedding (Radford et al. 2021, CLIP)."""

    arch: ClassVar[str] = "contrast"

    @property
    def counts(self) -> Counts:
        """Parameters by group [parameters]; the connector is the two projections into the common space, as wide as the text tower, and
        the norms have the encoder's last one and the temperature among them.
        """
        counts, both = super().counts, self.d_vision + self.d_model
        return replace(counts, unembedding=0, connector=both * self.d_model, norms=counts.norms + self.d_vision + 1)

    def flops(
        self, *, context: float, tokens: Mapping[str, float], targets: float, patches_per_image: float = 0.0,
        frozen_encoder: bool = False,
    ) -> dict[str, float]:
        """Training FLOPs by part, as `nmm.config.model.ModelConfig` asks for them; the text tower reads text alone, and products of pairs
        are left out: they are fewer than those of one layer of attention.
        """
        text = {name: count for name, count in tokens.items() if name == "text"}
        parts = super().flops(context=context, tokens=tokens, targets=targets, patches_per_image=patches_per_image)
        tower = super(LateFusionConfig, self).flops(context=context, tokens=text, targets=targets)
        return parts | {
            "blocks": tower["blocks"], "attention scores": tower["attention scores"], "output embedding": 0.0,
            "connector and routers": 6.0 * self.counts.connector * targets,
        }
