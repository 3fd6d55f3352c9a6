"""Sparse early fusion: a mixture of experts for the feed-forward layer of every block (Sec. 4.1).

Shape suffixes: B batch, L sequence, D width, T = B * L tokens, E experts, K experts of one token, R = T * K routed
rows, M kinds of tokens: text, and all else.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nmm.architectures import MoEConfig
from nmm.models.attention import Attend
from nmm.models.early_fusion import EarlyFusion
from nmm.models.experts import Experts, product
from nmm.models.layers import Attention, RMSNorm, Rotary
from nmm.models.registry import model_of

PADDING = -1        # modality of a position that holds no token


class Router(nn.Linear):
    """Each token's choice of experts: one linear layer and a softmax, in float32 whatever the model's precision."""

    def __init__(self, d_model: int, n_experts: int, top_k: int) -> None:
        super().__init__(d_model, n_experts, bias=False)
        self.top_k = top_k

    def forward(self, x_TD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The experts of each token, most probable first, (T, K); their weights, (T, K); all probabilities, (T, E).

        Weights are the probabilities of the chosen experts, not scaled to sum to 1: with one expert a token that would
        leave the router without a gradient. Source: Gale et al. 2023 (dropless); Fedus et al. 2021, Eq. 2.
        """
        wide = torch.promote_types(x_TD.dtype, torch.float32)
        share_TE = F.linear(x_TD.to(wide), self.weight.to(wide)).softmax(dim=-1)
        weight_TK, expert_TK = share_TE.topk(self.top_k, dim=-1)
        return expert_TK, weight_TK, share_TE


class MixtureOfExperts(nn.Module):
    """The feed-forward layer of one block: every token is computed by its K experts, none is ever dropped.

    Routing "learned" asks a router; "modality" sends text to expert 0 and all else to expert 1 (Sec. 4.3).
    """

    def __init__(self, config: MoEConfig) -> None:
        super().__init__()
        self.n_experts = config.n_experts
        self.router = Router(config.d_model, config.n_experts, config.top_k) if config.routing == "learned" else None
        self.experts = Experts(config.n_experts, config.d_model, config.expert_hidden)

    def forward(self, x_BLD: Tensor, modality_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The layer's output, (B, L, D); its balancing loss; tokens by expert and kind, (E, M) float32.

        Args:
            x_BLD: normalised states.
            modality_BL: 0 for text, more for what else there is, `PADDING` where there is no token.
        """
        x_TD, modality_T = x_BLD.flatten(0, 1), modality_BL.flatten()
        with torch.autocast(x_BLD.device.type, enabled=False):
            if self.router is None:
                expert_TK, weight_TK, share_TE = (modality_T != 0).long()[:, None], None, None
            else:
                expert_TK, weight_TK, share_TE = self.router(x_TD)
            chosen_TE = torch.zeros(len(x_TD), self.n_experts, device=x_TD.device).scatter(1, expert_TK, 1.0)
            kind_TM = torch.stack((modality_T == 0, modality_T > 0), dim=1).float()
            counts_EM = chosen_TE.T @ kind_TM
            balance = chosen_TE.new_zeros(()) if share_TE is None else balancing_loss(counts_EM, share_TE, kind_TM)
        order_R = expert_TK.flatten().argsort(stable=True)  # row r of the sorted ones is choice r % K of token r // K
        x_RD = x_TD.index_select(0, order_R // expert_TK.shape[1])
        y_RD = self.experts(x_RD, chosen_TE.sum(0, dtype=torch.int64))
        y_TKD = torch.empty_like(y_RD).index_copy(0, order_R, y_RD).unflatten(0, expert_TK.shape)
        y_TD = (y_TKD if weight_TK is None else y_TKD * weight_TK[:, :, None]).sum(1)
        return y_TD.to(x_BLD.dtype).view_as(x_BLD), balance, counts_EM


def balancing_loss(counts_EM: Tensor, share_TE: Tensor, kind_TM: Tensor) -> Tensor:
    """E sum_i f_i P_i: f_i the share of choices that fell on expert i, P_i its mean probability. 1 where both are
    uniform.

    The gradient flows through P alone. Padding is left out. Source: Fedus et al. 2021, Eq. 4, and in this form for
    several experts a token the code of Gale et al. 2023; the study names Shazeer et al. 2017, where the loss was a
    coefficient of variation.

    Args:
        counts_EM: tokens by expert and kind.
        share_TE: probabilities of all experts.
        kind_TM: 1 for the kind of each token, 0 elsewhere; padding has none.
    """
    real_T = kind_TM.sum(1)
    f_E = counts_EM.sum(1) / counts_EM.sum().clamp(min=1)
    P_E = real_T.to(share_TE.dtype) @ share_TE / real_T.sum().clamp(min=1)
    return len(f_E) * (f_E * P_E).sum()


class MixtureBlock(nn.Module):
    """Pre-norm transformer block: attention, then the mixture, each added to the residual."""

    def __init__(self, config: MoEConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model)
        self.attention = Attention(config.d_model, config.n_heads, config.qk_norm)
        self.ffn_norm = RMSNorm(config.d_model)
        self.ffn = MixtureOfExperts(config)

    def forward(
        self, x_BLD: Tensor, rotary: Rotary, attend: Attend, modality_BL: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, D) in and out, with the mixture's balancing loss and its counts by expert and kind, (E, M)."""
        x_BLD = x_BLD + self.attention(self.attention_norm(x_BLD), rotary, attend)
        y_BLD, balance, counts_EM = self.ffn(self.ffn_norm(x_BLD), modality_BL)
        return x_BLD + y_BLD, balance, counts_EM


@model_of(MoEConfig)
class SparseEarlyFusion(EarlyFusion):
    """Early fusion with a mixture of experts in every block.

    In training `config.load_balance` times `balance_loss` is to be added to the loss; held-out losses are without it.

    Attributes:
        balance_loss: balancing loss of the last forward pass, the mean over layers, a scalar with its gradient; it is
            of the tokens of that pass, so of one microbatch where gradients are accumulated. 0 for routing by modality.
        routed: (n_layers, E, M) int64, how many tokens of each kind went to each expert in the last forward pass; a
            token counts for each of its K experts, padding does not count.
    """

    config: MoEConfig
    balance_loss: Tensor
    routed: Tensor

    def __init__(self, config: MoEConfig) -> None:
        super().__init__(config)
        if self.embedding.weight.device.type != "meta":
            for block in self.blocks:
                block.ffn.experts.initialise(config.n_layers)

    def block(self) -> nn.Module:
        return MixtureBlock(self.config)

    def use_experts(self, backend: str, device: torch.device, dtype: torch.dtype) -> None:
        """Choose how the experts' products are computed, for the device and type of numbers they will run in.

        Args:
            backend: "auto", "grouped" or "loop", see `nmm.models.experts.product`.
        Raises:
            ValueError: grouped products are asked for where they cannot be had.
        """
        product(backend, device, dtype, widths=(self.config.d_model, self.config.expert_hidden))
        for block in self.blocks:
            block.ffn.experts.backend = backend

    def decode(self, x_BLD: Tensor, rotary: Rotary, attend: Attend, batch: dict[str, Tensor]) -> Tensor:
        """The decoder's blocks, (B, L, D) in and out; keeps `balance_loss` and `routed`."""
        modality_BL = batch["modality"].where(batch["document_ids"] >= 0, PADDING)
        balances, counts = [], []
        for block in self.blocks:
            x_BLD, balance, counts_EM = block(x_BLD, rotary, attend, modality_BL)
            balances.append(balance)
            counts.append(counts_EM)
        self.balance_loss = torch.stack(balances).mean()
        self.routed = torch.stack(counts).long()
        return x_BLD
