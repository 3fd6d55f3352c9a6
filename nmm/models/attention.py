"""Attention under a packed multimodal mask: one description of who may attend whom, backends by device.

Shape suffixes: B batch, L sequence, H heads, K head width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # queries, keys, values, each (B, H, L, K), to values of that shape

BACKENDS = ("auto", "flex", "sdpa")
FLEX_WIDTH = 16         # FlexAttention's kernels take no narrower heads: those are filled up with zeros
SLAB = 512              # queries that SDPA takes at once, of longer sequences
RECOMPILATIONS = 256    # of one function in a process; torch's default of 8 is less than the sizes of a sweep


@dataclass(frozen=True)
class PackedMask:
    """Which positions of packed sequences may attend to which.

    Text is causal, the patches of one image see each other in both directions, and nothing crosses from one
    packed document to another (Sec. 2.3, App. A).

    Attributes:
        document_ids: (B, L) number of the document at each position, -1 on padding.
        span_ids: (B, L) number of the image (or other span of patches) at each position, -1 on text.
    """

    document_ids: Tensor
    span_ids: Tensor

    def dense(self) -> Tensor:
        """The mask as booleans, (B, 1, L, L), True where query row may see key column.

        Padding forms a document of its own, so that no row is empty: a softmax over nothing is NaN.
        """
        document, image = self.document_ids, self.span_ids
        L = document.shape[1]
        causal = torch.ones(L, L, dtype=torch.bool, device=document.device).tril()
        same_document = document[:, :, None] == document[:, None, :]
        same_image = (image[:, :, None] == image[:, None, :]) & (image >= 0)[:, :, None]
        return ((causal | same_image) & same_document)[:, None]

    def visible(self) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """The mask as FlexAttention's `mask_mod`: whether in sequence b, for any head, query row may see key column."""
        document, image = self.document_ids.int(), self.span_ids.int()      # kernels read them once a score

        def mask_mod(b: Tensor, h: Tensor, row: Tensor, column: Tensor) -> Tensor:
            same_image = (image[b, row] == image[b, column]) & (image[b, row] >= 0)
            return ((column <= row) | same_image) & (document[b, row] == document[b, column])

        return mask_mod


def sdpa(mask: PackedMask) -> Attend:
    """Scaled dot-product attention with the dense mask, for any device; of long sequences, slab by slab of queries, each with
    the columns alone that one of them sees.
    """
    dense = mask.dense()
    slabs = [(rows, columns, dense[:, :, rows, columns]) for rows, columns in _slabs(dense)]

    def attend(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor) -> Tensor:
        dtype = v_BHLK.dtype        # under autocast norms leave queries and keys in float32
        q_BHLK, k_BHLK = q_BHLK.to(dtype), k_BHLK.to(dtype)
        parts = [
            F.scaled_dot_product_attention(q_BHLK[:, :, rows], k_BHLK[:, :, columns], v_BHLK[:, :, columns], attn_mask=own)
            for rows, columns, own in slabs
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    return attend


def _slabs(dense: Tensor) -> list[tuple[slice, slice]]:
    """Rows of each slab, and the columns from the first to the last that they see; all of a sequence of one slab."""
    L = dense.shape[-1]
    if L <= SLAB:
        return [(slice(0, L), slice(0, L))]
    slabs = []
    for start in range(0, L, SLAB):
        seen = dense[:, :, start:start + SLAB].flatten(0, 2).any(0).nonzero()
        slabs.append((slice(start, start + SLAB), slice(int(seen[0]), int(seen[-1]) + 1)))
    return slabs


@cache
def flex_functions(compiled: bool) -> tuple[Callable, Callable]:
    """`create_block_mask` and `flex_attention`; their import takes seconds, so it waits for the first use.

    Compiled once: masks of the same shape share a kernel, and from the second shape on its batch and length are
    variables. Within a compiled block the block's compilation takes them in.
    """
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    if not compiled:
        return create_block_mask, flex_attention
    # Heads and their width are constants of a kernel. Past the limit torch would quietly run without compiling.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILATIONS)
    return torch.compile(create_block_mask), torch.compile(flex_attention)


def flex(mask: PackedMask, *, compiled: bool = True) -> Attend:
    """FlexAttention (Dong et al. 2024): blocks of the scores that the mask empties are never computed.

    Args:
        mask: its block mask is made here, once for all layers.
        compiled: False runs the same mask without kernels: slowly, and also where there is no CUDA.
    """
    create_block_mask, flex_attention = flex_functions(compiled)
    B, L = mask.document_ids.shape
    blocks = create_block_mask(mask.visible(), B, None, L, L, device=mask.document_ids.device.type)

    def attend(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor) -> Tensor:
        return flex_attend(flex_attention, blocks, q_BHLK, k_BHLK, v_BHLK)

    return attend


def flex_attend(flex_attention: Callable, blocks: Any, q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor) -> Tensor:
    """`flex_attention` under a block mask, with numbers of one type and heads as wide as its kernels take."""
    width = q_BHLK.shape[-1]
    q, k, v = (tensor.to(v_BHLK.dtype) for tensor in (q_BHLK, k_BHLK, v_BHLK))
    if width < FLEX_WIDTH:
        q, k, v = (F.pad(tensor, (0, FLEX_WIDTH - width)) for tensor in (q, k, v))
    return flex_attention(q, k, v, block_mask=blocks, scale=width**-0.5)[..., :width]


def attention(mask: PackedMask, backend: str = "auto") -> Attend:
    """The attention of one forward pass.

    The mask is prepared once and shared by all layers. Returns a function of queries, keys and values, each
    (B, H, L, K), to the attended values (B, H, L, K).

    Args:
        mask: who may attend whom, on the model's device.
        backend: "flex", "sdpa", or "auto": FlexAttention on CUDA, SDPA elsewhere.
    Raises:
        ValueError: no backend has the name, or "flex" is asked for where there is no CUDA.
    """
    return {"flex": flex, "sdpa": sdpa, "other": sdpa}[backend_for(mask, backend)](mask)


def backend_for(mask: PackedMask, backend: str) -> str:
    """"flex" or "sdpa", or "other": "auto" was asked for where there is no CUDA.

    Raises:
        ValueError: as for `attention`.
    """
    device = mask.document_ids.device
    if backend not in BACKENDS:
        raise ValueError(f"attention must be one of {', '.join(BACKENDS)}: got {backend!r}")
    if backend == "flex" and device.type != "cuda":
        raise ValueError(
            f'attention="flex" needs a CUDA device, and the batch is on {device.type}: take "auto" or "sdpa"'
        )
    return backend if backend != "auto" else "flex" if device.type == "cuda" else "other"
