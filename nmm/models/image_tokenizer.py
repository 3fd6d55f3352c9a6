"""Trains the image tokenizer of `nmm.data.codes`: an autoencoder of patches around finite scalar quantisation.

Source: Mentzer et al. 2023 (arXiv 2309.15505): bounded, rounded, the gradient straight through; no codebook and no auxiliary loss for
one. Ours besides: the decoder's patch must be encoded into the code it came from, or pictures would change when they are read again.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmm.data.codes import LEVELS, ImageTokenizer, bounds

HIDDEN = 128            # features between the two layers of encoder and decoder
BATCH = 512             # patches in a step
CYCLE = 0.1             # weight of coming back to the same code


class Autoencoder(nn.Module):
    """Two layers down to a dimension for each entry of `levels`, rounding, two layers up."""

    def __init__(self, patch_dim: int, levels: Sequence[int], hidden: int = HIDDEN) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.encoder = nn.ModuleList([nn.Linear(patch_dim, hidden), nn.Linear(hidden, len(self.levels))])
        self.decoder = nn.ModuleList([nn.Linear(len(self.levels), hidden), nn.Linear(hidden, patch_dim)])
        for name, values in zip(("reach", "offset", "shift"), bounds(levels)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32))
        self.register_buffer("steps", torch.tensor([count // 2 for count in levels], dtype=torch.float32))

    def bounded(self, patches: Tensor) -> Tensor:
        """Where patches lie before rounding, (n, dimensions); one unit is one level."""
        first, second = self.encoder
        return self.reach * torch.tanh(second(F.relu(first(patches))) + self.shift) - self.offset

    def patches(self, place: Tensor) -> Tensor:
        """Patches of rounded places, (n, patch_dim)."""
        first, second = self.decoder
        return second(F.relu(first(place / self.steps)))

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The patches decoded again, the rounded places, and where the decoded patches lie before rounding."""
        place = self.bounded(patches)
        whole = place + (place.round() - place).detach()
        again = self.patches(whole)
        return again, whole, self.bounded(again)


def train(
    patches: np.ndarray, levels: Sequence[int] = LEVELS, *, steps: int = 2000, seed: int = 0, trained: Mapping[str, str] | None = None,
) -> ImageTokenizer:
    """Train an image tokenizer on patches, about a minute on one core of a CPU.

    Args:
        patches: (n, patch_dim) float32.
        levels: whole numbers that each dimension can take; their product is the number of codes.
        steps: of `BATCH` patches, drawn with replacement.
        seed: of the weights and the draws; torch's global generator is left as it was.
        trained: what to note of the data, see `ImageTokenizer`.
    Raises:
        ValueError: there are no patches, or they are not finite.
    """
    if not len(patches) or not np.isfinite(patches).all():
        raise ValueError(f"{len(patches)} patches to train an image tokenizer on: at least one, and all finite")
    data = torch.from_numpy(np.ascontiguousarray(patches, np.float32))
    scale = data.var(0).mean()
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = Autoencoder(data.shape[1], levels)
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, pct_start=0.1)
        for _ in range(steps):
            batch = data[torch.randint(len(data), (min(BATCH, len(data)),))]
            again, whole, cycle = model(batch)
            loss = F.mse_loss(again, batch) / scale + CYCLE * F.mse_loss(cycle, whole.detach())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    weights = {
        f"{part}.{number}{end}": value.detach().numpy()
        for part in ("encoder", "decoder") for number, layer in enumerate(getattr(model, part))
        for end, value in (("", layer.weight), (".bias", layer.bias))
    }
    return ImageTokenizer("fsq", tuple(levels), weights, {"steps": str(steps), "seed": str(seed), **(trained or {})})
