"""Attention under a packed multimodal mask: one description of who may attend whom, backends by device.

Shape suffixes: B batch, L sequence, H heads, K head width.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]     # queries, keys, values, each (B, H, L, K), to values of that shape


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


def sdpa(mask: PackedMask) -> Attend:
    """Scaled dot-product attention with the dense mask, for any device."""
    dense = mask.dense()

    def attend(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, attn_mask=dense)

    return attend


def attention(mask: PackedMask) -> Attend:
    """The attention of one forward pass, with the backend for the mask's device.

    The mask is prepared once and shared by all layers. Returns a function of queries, keys and values, each
    (B, H, L, K), to the attended values (B, H, L, K).
    """
    return sdpa(mask)
