"""Where the GPU benchmark runs, at which sizes, and what it found so far."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from synthetic import synthetic_batch
from torch import Tensor, nn

from nmm.architectures import ModelConfig
from nmm.studies.presets import PAPER_EARLY, PAPER_LATE, PAPER_MOE

MODELS = {
    "early-932M": PAPER_EARLY["932M"].model, "moe-932M": PAPER_MOE["932M"].model, "early-275M": PAPER_EARLY["275M"].model,
    "moe-275M": PAPER_MOE["275M"].model, "late-1B": PAPER_LATE["1B"].model,
}


@dataclass
class Bench:
    """Where and how large everything is run, and the results so far."""

    device: torch.device
    tiny: bool
    path: Path
    seconds: float                          # measured of each model, at least
    backend: str                            # of torch.compile; "none": nothing is compiled
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def context(self) -> int:
        return 64 if self.tiny else 1024

    @property
    def image_tokens(self) -> int:
        return 16 if self.tiny else 256

    def model(self, name: str) -> ModelConfig:
        small = {"d_model": 64, "n_layers": 2, "n_heads": 2, "vocab_size": 128, "patch_dim": 12, "ffn_multiple": 8}
        if name.startswith("late"):
            small |= {"d_vision": 32, "n_vision_layers": 2, "n_vision_heads": 1}
        return replace(MODELS[name], **small) if self.tiny else MODELS[name]

    def batch(self, config: ModelConfig, sequences: int) -> dict[str, Tensor]:
        return synthetic_batch(sequences, context=self.context, image_tokens=self.image_tokens, vocab_size=config.vocab_size,
                               patch_dim=config.patch_dim, device=self.device)

    def compile(self, blocks: Iterable[nn.Module]) -> None:
        """Compile each block; layers of one kind share what is compiled."""
        if self.backend != "none":
            torch._dynamo.utils.counters.clear()
            for block in blocks:
                block.compile(dynamic=False, backend=self.backend)

    def compiled(self) -> dict[str, Any]:
        """Graphs compiled since `compile`, and why code between them was not: each graph of a layer costs seconds."""
        if self.backend == "none":
            return {}
        counters = torch._dynamo.utils.counters
        return {"graphs": counters["stats"]["unique_graphs"], "breaks": dict(counters["graph_break"])}

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)

    def put(self, section: str, **values: Any) -> None:
        """Add to a section's results and write all of them."""
        self.results.setdefault(section, {}).update(values)
        write(self.path, self.results)
        for name, value in values.items():
            shown = {key: entry for key, entry in value.items() if key != "profile"} if isinstance(value, dict) else value
            print(f"{section} {name}: {json.dumps(shown)}", flush=True)


def write(path: Path, results: dict[str, Any]) -> None:
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(path)
