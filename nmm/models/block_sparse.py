"""Mixture-of-block attention: a gate chooses which blocks of earlier keys each query reads; backends by device.

Lu et al. 2025 (MoBA), Sec. 2. Keys lie in blocks. A query reads its own block, causally, and of the blocks before it in
its document those whose mean key has the largest products with it. Every head chooses for itself.

Blocks are counted from the start of each document, so that a packed document has the blocks it would have alone. An image
belongs to the block in which it begins: one that a boundary would cut makes its block longer and the next one shorter, so
that its patches, which see each other, always lie in one block.

Shape suffixes: B batch, L sequence, H heads, K head width, N blocks of a sequence, P earlier blocks that a query reads,
S the longest block, R rows of queries (B * H * L), G blocks of all heads (B * H * N), T tiles, W queries of a tile.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nmm.models.attention import Attend, PackedMask, backend_for, flex_attend, flex_functions

TILE = 64           # queries that share one product with the keys of a block
FLEX_BLOCK = 128    # side of the squares of scores that FlexAttention's kernels pass over


@dataclass(frozen=True)
class Blocks:
    """The blocks of packed sequences.

    Attributes:
        mask: who may attend whom in full attention.
        number_BL: number of the block of each position, counted through the sequence.
        first_BL: number of the first block of each position's document.
        count: N, blocks of the sequence that has most.
    """

    mask: PackedMask
    number_BL: Tensor
    first_BL: Tensor
    count: int

    @cached_property
    def lengths_BN(self) -> Tensor:
        """Positions of each block, 0 of those that a sequence does not have."""
        zeros = self.number_BL.new_zeros(len(self.number_BL), self.count)
        return zeros.scatter_add(1, self.number_BL, torch.ones_like(self.number_BL))

    @cached_property
    def member_BNL(self) -> Tensor:
        """Whether a block holds a position."""
        return self.number_BL[:, None, :] == torch.arange(self.count, device=self.number_BL.device)[:, None]

    @cached_property
    def earlier_BLN(self) -> Tensor:
        """Whether a block lies before a position's own in its document."""
        at_N = torch.arange(self.count, device=self.number_BL.device)
        return (at_N < self.number_BL[:, :, None]) & (at_N >= self.first_BL[:, :, None])

    @cached_property
    def own_BLL(self) -> Tensor:
        """Whether query row may see key column in their own block."""
        return self.mask.dense()[:, 0] & (self.number_BL[:, :, None] == self.number_BL[:, None, :])


def blocks_of(mask: PackedMask, length: int) -> Blocks:
    """The blocks of packed sequences.

    Args:
        mask: documents and images of the sequences.
        length: positions of a block, but for one that ends with a cut image, one after such an image, and the last of a
            document.
    """
    document_BL, span_BL = mask.document_ids, mask.span_ids
    at_L = torch.arange(document_BL.shape[1], device=document_BL.device)
    starts_BL = _changes(document_BL)
    begin_BL = torch.where(starts_BL, at_L, 0).cummax(1).values             # of the document
    image_BL = torch.where(_changes(span_BL) | starts_BL, at_L, 0).cummax(1).values       # of the image
    place_BL = torch.where(span_BL >= 0, image_BL, at_L) - begin_BL
    number_BL = (starts_BL | _changes(place_BL // length)).cumsum(1) - 1
    return Blocks(mask, number_BL, number_BL.gather(1, begin_BL), int(number_BL.max()) + 1)


def _changes(values_BL: Tensor) -> Tensor:
    """Where a row's value is another than before; at its start too."""
    return F.pad(values_BL[:, 1:] != values_BL[:, :-1], (1, 0), value=True)


def gate(q_BHLK: Tensor, k_BHLK: Tensor, blocks: Blocks, read: int) -> tuple[Tensor, Tensor]:
    """The earlier blocks that each query reads, (B, H, L, P), and whether there are so many, (B, H, L, P).

    In float32 and without a gradient: a choice has none.

    Args:
        read: blocks that a query reads, its own included.
    """
    with torch.no_grad(), torch.autocast(q_BHLK.device.type, enabled=False):
        scores_BHLN = (q_BHLK.float() @ mean_keys(k_BHLK, blocks).mT).masked_fill(~blocks.earlier_BLN[:, None], -math.inf)
        score_BHLP, number_BHLP = scores_BHLN.topk(min(read - 1, blocks.count), dim=-1)
        return number_BHLP, score_BHLP > -math.inf


def mean_keys(k_BHLK: Tensor, blocks: Blocks) -> Tensor:
    """The mean key of each block, (B, H, N, K) float32."""
    return blocks.member_BNL[:, None].float() @ k_BHLK.float() / blocks.lengths_BN.clamp(min=1)[:, None, :, None]


def chosen(number_BHLP: Tensor, there_BHLP: Tensor, count: int) -> Tensor:
    """Whether each query has chosen each block, (B, H, L, N); its own is not among them."""
    return torch.zeros(*number_BHLP.shape[:3], count, dtype=torch.bool, device=number_BHLP.device).scatter(
        3, number_BHLP, there_BHLP
    )


def read_mask(blocks: Blocks, chosen_BHLN: Tensor) -> Tensor:
    """Whether query row reads key column, (B, H, L, L)."""
    B, H, L, _ = chosen_BHLN.shape
    return blocks.own_BLL[:, None] | chosen_BHLN.gather(3, blocks.number_BL[:, None, None].expand(B, H, L, L))


def masked(blocks: Blocks, read: int) -> Attend:
    """Every score is computed, and those not read are masked: for any device, and to hold the others against."""

    def attend(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor) -> Tensor:
        mask = read_mask(blocks, chosen(*gate(q_BHLK, k_BHLK, blocks, read), blocks.count))
        dtype = v_BHLK.dtype
        return F.scaled_dot_product_attention(q_BHLK.to(dtype), k_BHLK.to(dtype), v_BHLK, attn_mask=mask)

    return attend


class _Moved(torch.autograd.Function):
    """Rows in another order, each taken once at most: the backward pass gathers as the forward pass does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return x[there.clamp(min=0)]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        back, = ctx.saved_tensors
        return grad[back.clamp(min=0)].masked_fill_((back < 0)[:, None], 0), None, None


@dataclass(frozen=True)
class Move:
    """Row i of the result is row there[i] of what is moved, which goes to row back[there[i]] = i; -1: to none, from none.

    What stands in a row from none does not matter.
    """

    there: Tensor
    back: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        return _Moved.apply(rows, self.there, self.back)

    def undo(self, rows: Tensor) -> Tensor:
        return _Moved.apply(rows, self.back, self.there)


def gathered(blocks: Blocks, read: int) -> Attend:
    """Only what is read is computed: queries that read one block meet its keys in tiles, without a kernel of their own.

    The parts that a query reads, its own block and each chosen one, have sums of exponentials of their own, which are put
    together at the end, as in MoBA's own code.
    """
    B, N, S = len(blocks.number_BL), blocks.count, int(blocks.lengths_BN.max())
    real_BNS, cuts = _cut(blocks)
    own_BNSS = _own(blocks, real_BNS)

    def attend(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor) -> Tensor:
        H, K = q_BHLK.shape[1], q_BHLK.shape[3]
        number_BHLP, there_BHLP = gate(q_BHLK, k_BHLK, blocks, read)
        q_RK = (q_BHLK * K**-0.5).to(v_BHLK.dtype).reshape(-1, K)
        cut = cuts(H)
        q_GSK, k_GSK, v_GSK = (
            cut(rows.to(v_BHLK.dtype).reshape(-1, K)).view(-1, S, K) for rows in (q_RK, k_BHLK, v_BHLK)
        )
        own = own_BNSS[:, None].expand(B, H, N, S, S).reshape(-1, S, S)
        parts = [cut.undo(part.flatten(0, 1))[:, None] for part in _part(q_GSK, k_GSK, v_GSK, own)]
        if there_BHLP.any():
            P = number_BHLP.shape[3]
            move, block_T = _tiles(number_BHLP, there_BHLP, N)
            q_TWK = move(q_RK[:, None].expand(-1, P, K).reshape(-1, K)).view(-1, TILE, K)
            real_TS = real_BNS[:, None].expand(B, H, N, S).reshape(-1, S)[block_T]
            of_tiles = _part(q_TWK, k_GSK[block_T], v_GSK[block_T], real_TS[:, None])
            more = [move.undo(part.flatten(0, 1)).view(-1, P, part.shape[2]) for part in of_tiles]
            more[2] = more[2].masked_fill(~there_BHLP.reshape(-1, P, 1), -math.inf)
            parts = [torch.cat(pair, dim=1) for pair in zip(parts, more, strict=True)]
        sums_RPK, total_RP1, most_RP1 = parts
        weight_RP1 = (most_RP1 - most_RP1.amax(1, keepdim=True)).exp()
        y_RK = (weight_RP1 * sums_RPK).sum(1) / (weight_RP1 * total_RP1).sum(1)
        return y_RK.view(q_BHLK.shape).to(v_BHLK.dtype)

    return attend


def _part(q_WK: Tensor, k_SK: Tensor, v_SK: Tensor, real_WS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Attention of stacked queries to stacked keys before it is normalised: values times exponentials, (.., W, K), the sum of
    those, (.., W, 1), and the largest score, (.., W, 1), that was taken off all: a constant, on which nothing depends.
    """
    scores_WS = (q_WK @ k_SK.mT).float().masked_fill(~real_WS, -math.inf)
    most_W1 = scores_WS.detach().amax(-1, keepdim=True)
    weights_WS = (scores_WS - most_W1).exp()
    return (weights_WS.to(v_SK.dtype) @ v_SK).float(), weights_WS.sum(-1, keepdim=True), most_W1


def _cut(blocks: Blocks) -> tuple[Tensor, Callable[[int], Move]]:
    """Which of S places of each block hold a position, (B, N, S), and by number of heads the move of rows (B * H * L) there."""
    number_BL, lengths_BN = blocks.number_BL, blocks.lengths_BN
    B, L = number_BL.shape
    N, S = blocks.count, int(lengths_BN.max())
    start_BN = lengths_BN.cumsum(1) - lengths_BN
    at_S, at_L = torch.arange(S, device=number_BL.device), torch.arange(L, device=number_BL.device)
    real_BNS = at_S < lengths_BN[:, :, None]
    there_BNS = (start_BN[:, :, None] + at_S).where(real_BNS, -1)
    back_BL = number_BL * S + at_L - start_BN.gather(1, number_BL)

    @cache
    def of(H: int) -> Move:
        row_H = torch.arange(B * H, device=number_BL.device).view(B, H)
        there = there_BNS.flatten(1)[:, None] + (row_H * L)[:, :, None]
        there = there.where(there_BNS.flatten(1)[:, None] >= 0, -1)
        return Move(there.flatten(), (back_BL[:, None] + (row_H * N * S)[:, :, None]).flatten())

    return real_BNS, of


def _own(blocks: Blocks, real_BNS: Tensor) -> Tensor:
    """Whether each position of a block sees each other, (B, N, S, S); places that hold none see all, for no row may be empty."""
    span_BL, lengths_BN = blocks.mask.span_ids, blocks.lengths_BN
    S = real_BNS.shape[2]
    at_S = torch.arange(S, device=span_BL.device)
    at_BNS = ((lengths_BN.cumsum(1) - lengths_BN)[:, :, None] + at_S).clamp(max=span_BL.shape[1] - 1)
    span_BNS = span_BL.gather(1, at_BNS.flatten(1)).view_as(at_BNS)
    same_image = (span_BNS[..., None] == span_BNS[:, :, None]) & (span_BNS >= 0)[..., None]
    return ((at_S <= at_S[:, None]) | same_image) & real_BNS[:, :, None] | ~real_BNS[..., None]


def _tiles(number_BHLP: Tensor, there_BHLP: Tensor, N: int) -> tuple[Move, Tensor]:
    """Queries that read one block side by side: the move of rows (R * P) into tiles (T * W), and the block of each tile, (T,)."""
    B, H, _, _ = number_BHLP.shape
    G = B * H * N
    head_BH = torch.arange(B * H, device=number_BHLP.device).view(B, H, 1, 1)
    block = (number_BHLP + head_BH * N).where(there_BHLP, G).flatten()
    count_G = block.bincount(minlength=G + 1)[:G]
    tiles_G = (count_G + TILE - 1) // TILE
    pair = block.argsort()[: int(count_G.sum())]        # those that are there, block by block
    block_of_pair = block[pair]
    shift_G = (tiles_G.cumsum(0) - tiles_G) * TILE - (count_G.cumsum(0) - count_G)
    slot = torch.arange(len(pair), device=pair.device) + shift_G[block_of_pair]
    there = slot.new_full((int(tiles_G.sum()) * TILE,), -1).scatter(0, slot, pair)
    back = slot.new_full((len(block),), -1).scatter(0, pair, slot)
    return Move(there, back), torch.repeat_interleave(tiles_G)


def flex(blocks: Blocks, read: int, *, compiled: bool = True) -> Attend:
    """FlexAttention with a block mask made from the gate in every layer: squares of scores of which nothing is read are
    never computed, and neither is the mask within them.

    Args:
        compiled: as for `nmm.models.attention.flex`.
    """
    _, flex_attention = flex_functions(compiled)

    def attend(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor) -> Tensor:
        squares = squares_read(blocks, chosen(*gate(q_BHLK, k_BHLK, blocks, read), blocks.count))
        return flex_attend(flex_attention, squares, q_BHLK, k_BHLK, v_BHLK)

    return attend


def squares_read(blocks: Blocks, chosen_BHLN: Tensor) -> Any:
    """FlexAttention's `BlockMask` of what is read: the squares of which some is.

    From which blocks the queries of a square's rows read, and which blocks its columns belong to: L * N numbers a head
    are looked at, not the L * L of the mask.
    """
    from torch.nn.attention.flex_attention import BlockMask  # its import takes seconds, so it waits for the first use

    number_BL = blocks.number_BL.int()
    L = number_BL.shape[1]
    visible = blocks.mask.visible()

    def mask_mod(b: Tensor, h: Tensor, row: Tensor, column: Tensor) -> Tensor:
        own = (number_BL[b, row] == number_BL[b, column]) & visible(b, h, row, column)
        return own | chosen_BHLN[b, h, row, number_BL[b, column]]

    member_BLN = blocks.member_BNL.mT
    rows_BHQN = _any_of(chosen_BHLN | member_BLN[:, None])
    columns_BQN = _any_of(member_BLN)
    # The own block takes in later keys of it, too: those squares are at or near the diagonal, and the mask empties what it must.
    read_BHQQ = (rows_BHQN.float() @ columns_BQN[:, None].float().mT) > 0
    count = read_BHQQ.sum(-1, dtype=torch.int32)
    order = read_BHQQ.int().argsort(dim=-1, descending=True, stable=True).int()
    return BlockMask.from_kv_blocks(count, order, BLOCK_SIZE=FLEX_BLOCK, mask_mod=mask_mod, seq_lengths=(L, L))


def _any_of(values_LN: Tensor) -> Tensor:
    """Whether any of each `FLEX_BLOCK` rows is true, (.., L, N) to (.., L / FLEX_BLOCK, N)."""
    short = -values_LN.shape[-2] % FLEX_BLOCK
    return F.pad(values_LN, (0, 0, 0, short)).unflatten(-2, (-1, FLEX_BLOCK)).any(-2)


def block_sparse(mask: PackedMask, length: int, read: int, backend: str = "auto") -> Attend:
    """The block-sparse attention of one forward pass, as `nmm.models.attention.attention` gives the full one.

    Args:
        mask: documents and images of the sequences.
        length: positions of a block.
        read: blocks that a query reads, its own included.
        backend: "flex", "sdpa" (a mask over all scores), or "auto": FlexAttention on CUDA, gathered tiles elsewhere.
    Raises:
        ValueError: as for `attention`.
    """
    blocks = blocks_of(mask, length)
    make = {"flex": flex, "sdpa": masked, "other": gathered}[backend_for(mask, backend)]
    return make(blocks, read)
