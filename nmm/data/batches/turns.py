"""Conversations as tokens: whose turn it is at each position.

A turn ends as a document does, with `<|endofdocument|>`, so that a model of any vocabulary can be asked: after the first such
token within a document somebody answers, after the second somebody asks again, and so on. A document with none inside it, as
all others are, is nobody's turn.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nmm.data.batches.loader import IGNORE


def answers_only(batch: dict[str, Tensor], end: int) -> Tensor:
    """Labels of a batch without those of questions, (B, L); of documents that are no conversation all stay.

    An answer's end is a part of it.

    Args:
        end: id of the token that ends turns and documents.
    """
    labels, document_BL = batch["labels"], batch["document_ids"]
    end_BL = ((batch["input_ids"] == end) & (batch["modality"] == 0) & (document_BL >= 0)).long()
    same_BL = document_BL[:, 1:] == document_BL[:, :-1]
    at_L = torch.arange(document_BL.shape[1], device=document_BL.device)
    first_BL = torch.where(F.pad(~same_BL, (1, 0), value=True), at_L, 0).cummax(1).values
    last_BL = torch.where(F.pad(~same_BL, (0, 1), value=True), at_L, len(at_L) - 1).flip(1).cummin(1).values.flip(1)
    until_BL = F.pad(end_BL.cumsum(1), (1, 0))                  # ends before each position
    turn_BL = (until_BL[:, 1:] - until_BL.gather(1, first_BL))  # ends up to each position within its document
    inner_BL = until_BL.gather(1, last_BL) - until_BL.gather(1, first_BL)       # and before the document's last position
    return labels.where((turn_BL % 2 == 1) | (inner_BL == 0), IGNORE)
