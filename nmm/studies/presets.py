"""The models of the paper under the names it prints."""

from dataclasses import dataclass

from nmm.architectures import EarlyFusionConfig, LateFusionConfig, ModelConfig, MoEConfig


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A model of the paper under the name it prints, with its peak learning rate (Table 6)."""

    name: str
    model: ModelConfig
    lr: float


# 50432 is GPT-NeoX's vocabulary, padded; 14 x 14 patches of RGB. Heads are not printed: 32 divides every width.
PAPER = {"n_layers": 24, "vocab_size": 50432, "patch_dim": 3 * 14 * 14}
HEAD = 32
EARLY_WIDTHS = {"275M": 800, "464M": 1088, "932M": 1632, "1.63B": 2208, "2.28B": 2624, "3.35B": 3232}
EARLY_LR = (1.5e-3, 1.5e-3, 5e-4, 4.2e-4, 4e-4, 3.5e-4)     # of the mixtures of experts too
LATE_WIDTHS = {                                             # encoder, decoder
    "289M": (384, 768), "494M": (512, 1024), "1B": (768, 1536), "1.75B": (1024, 2048), "2.43B": (1184, 2464), "3.7B": (1536, 3072),
}
LATE_LR = (1.5e-3, 1.5e-3, 5e-4, 4.2e-4, 3.8e-4, 3.3e-4)


def paper_early(d_model: int) -> EarlyFusionConfig:
    """Early fusion in the study's recipe, 24 blocks deep, at any width that 32 divides."""
    return EarlyFusionConfig(d_model=d_model, n_heads=d_model // HEAD, **PAPER)


def paper_late(d_vision: int, d_model: int) -> LateFusionConfig:
    """Late fusion in the study's recipe: encoder and decoder 24 blocks deep."""
    return LateFusionConfig(
        d_model=d_model, n_heads=d_model // HEAD, d_vision=d_vision, n_vision_layers=24, n_vision_heads=d_vision // HEAD, **PAPER
    )


def paper_moe(d_model: int, *, n_experts: int = 8, top_k: int = 1, fine_grained: bool = False, routing: str = "learned") -> MoEConfig:
    """Sparse early fusion in the study's recipe. Fine-grained experts are 1 / top_k as wide, so that as much is active as in
    the dense model (Krajewski et al. 2024); the study does not print their width.
    """
    dense = paper_early(d_model)
    return MoEConfig(
        d_model=d_model, n_heads=dense.n_heads, n_experts=n_experts, top_k=top_k, routing=routing,
        d_expert=dense.d_hidden // top_k if fine_grained else 0, **PAPER,
    )


def _presets(models: dict[str, ModelConfig], rates: tuple[float, ...]) -> dict[str, Preset]:
    return {name: Preset(name=name, model=model, lr=lr) for (name, model), lr in zip(models.items(), rates, strict=True)}


PAPER_EARLY = _presets({name: paper_early(width) for name, width in EARLY_WIDTHS.items()}, EARLY_LR)
PAPER_LATE = _presets({name: paper_late(*widths) for name, widths in LATE_WIDTHS.items()}, LATE_LR)
# Named by their active size
PAPER_MOE = _presets({name: paper_moe(width) for name, width in EARLY_WIDTHS.items()}, EARLY_LR)
# Fig. 19: one encoder, four decoders; rates of the pair with the same decoder
PAPER_LATE_FIXED = _presets(
    {f"300M+{name}": paper_late(1024, width) for name, width in {"250M": 768, "834M": 1536, "2B": 2464, "3B": 3072}.items()},
    (LATE_LR[0], LATE_LR[2], LATE_LR[4], LATE_LR[5]),
)
# Table 13, trained "at 1.5B scale" (Table 4), for which the nearest width of Table 6 is taken; and Fig. 11's other routing
PAPER_MOE_VARIANTS = _presets(
    {
        "1.63B 4-top-1": paper_moe(2208, n_experts=4), "1.63B 8-top-2": paper_moe(2208, top_k=2),
        "1.63B 8-top-2 fine-grained": paper_moe(2208, top_k=2, fine_grained=True),
        "1.63B by modality": paper_moe(2208, n_experts=2, routing="modality"),
    },
    (EARLY_LR[3],) * 4,
)
PAPER_MODELS = (PAPER_EARLY, PAPER_LATE, PAPER_LATE_FIXED, PAPER_MOE, PAPER_MOE_VARIANTS)
