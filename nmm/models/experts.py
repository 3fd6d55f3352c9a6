"""Experts of a mixture: SwiGLU layers with stacked weights, and the products of grouped rows that they are made of.

Shape suffixes: R routed rows, sorted by expert, E experts, D width, F SwiGLU width of one expert, I in, O out.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# rows (R, I), weights (E, O, I), rows of each expert (E,), to (R, O)
Product = Callable[[Tensor, Tensor, Tensor], Tensor]

GROUPED = getattr(F, "grouped_mm", None)                # torch 2.7 has none
GROUPED_BYTES = 16                                      # its kernels want rows that are whole multiples of this
GROUPED_DTYPE = torch.bfloat16                          # compiled blocks and the kernels on GPUs refuse others


class Experts(nn.Module):
    """E SwiGLU layers without biases, each applied to its own stretch of rows.

    The weights of expert e are laid out as those of a dense `SwiGLU`, so that stacks of them are what grouped products
    take.

    Attributes:
        backend: how products are computed: "grouped", "loop", or "auto"; see `product`.
    """

    def __init__(self, n_experts: int, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.empty(n_experts, 2 * d_hidden, d_model))
        self.out = nn.Parameter(torch.empty(n_experts, d_model, d_hidden))
        self.backend = "auto"

    def initialise(self, n_layers: int) -> None:
        """Draw the weights as those of a dense layer, see `nmm.models.layers.initialise`."""
        nn.init.normal_(self.gate_up, std=self.gate_up.shape[2] ** -0.5)
        nn.init.normal_(self.out, std=(2 * n_layers * self.out.shape[2]) ** -0.5)

    def forward(self, x_RD: Tensor, rows_E: Tensor) -> Tensor:
        """Expert 0 of the first rows_E[0] rows, expert 1 of the next, and so on; (R, D) in and out.

        Args:
            x_RD: rows sorted by expert.
            rows_E: how many rows each expert has; they sum to R.
        """
        dtype = (
            torch.get_autocast_dtype(x_RD.device.type) if torch.is_autocast_enabled(x_RD.device.type) else x_RD.dtype
        )
        x_RD, gate_up, out = (tensor.to(dtype) for tensor in (x_RD, self.gate_up, self.out))  # no autocast there
        multiply = product(self.backend, x_RD.device, dtype, widths=self.out.shape[1:])
        gate_RF, up_RF = multiply(x_RD, gate_up, rows_E).chunk(2, dim=-1)
        return multiply(F.silu(gate_RF) * up_RF, out, rows_E)


def product(backend: str, device: torch.device, dtype: torch.dtype, *, widths: tuple[int, ...]) -> Product:
    """The function that multiplies each stretch of rows with the weights of its expert.

    "grouped" is torch's grouped matrix product, one kernel without waiting for the device; "loop" is one product per
    expert, for any torch and device. "auto" takes the grouped one where torch has it and it takes the numbers: bfloat16
    on CUDA and CPU, in widths of whole multiples of 16 bytes.

    Args:
        backend: "auto", "grouped" or "loop".
        device, dtype: of the rows and the weights.
        widths: of the rows, in and out.
    Raises:
        ValueError: another backend is named; grouped products are asked for and this torch has none, or they do not
            take these numbers or widths.
    """
    if backend not in ("auto", "grouped", "loop"):
        raise ValueError(f"the products of experts are auto, grouped or loop: got {backend!r}")
    aligned = all(width * dtype.itemsize % GROUPED_BYTES == 0 for width in widths)
    if backend == "grouped":
        if GROUPED is None:
            raise ValueError(
                f'experts="grouped" needs torch.nn.functional.grouped_mm, which torch {torch.__version__} lacks: '
                'take "loop" or "auto", or torch 2.11'
            )
        if dtype is not GROUPED_DTYPE:
            raise ValueError(
                f'experts="grouped" needs numbers of {GROUPED_DTYPE}: got {dtype}; take precision "bf16", or "loop" or '
                '"auto"'
            )
        if not aligned:
            raise ValueError(f'experts="grouped" needs rows of multiples of {GROUPED_BYTES} bytes: got widths '
                             f'{", ".join(map(str, widths))} of {dtype}; take "loop" or "auto", or other widths')
        return grouped
    suits = GROUPED is not None and aligned and dtype is GROUPED_DTYPE and device.type in ("cuda", "cpu")
    return grouped if backend == "auto" and suits else loop


def grouped(x_RI: Tensor, w_EOI: Tensor, rows_E: Tensor) -> Tensor:
    """All experts in one kernel, (R, O). Its rows past the last offset are undefined: every row has an expert, so none
    is.
    """
    assert GROUPED is not None
    return GROUPED(x_RI, w_EOI.transpose(1, 2), offs=rows_E.cumsum(0, dtype=torch.int32))


@torch.compiler.disable         # the sizes are new in every step, and each would be compiled for
def loop(x_RI: Tensor, w_EOI: Tensor, rows_E: Tensor) -> Tensor:
    """One product per expert, (R, O)."""
    stretches = x_RI.split(rows_E.tolist())
    return torch.cat([F.linear(x, w) for x, w in zip(stretches, w_EOI.unbind(), strict=True)])
