"""Next token over text and image codes, some documents causally masked (CM3).

Source: Aghajanyan et al. 2022 (arXiv 2201.07520) and 2023 (arXiv 2301.03728).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from composer.metrics.nlp import LanguageCrossEntropy
from torchmetrics import Metric

from nmm.config import MODALITIES, RunConfig
from nmm.config.flops import exact_train_flops
from nmm.data.batches.infilling import MEAN_SPANS, SENTINELS, draw_spans, rotate
from nmm.data.batches.loader import IGNORE
from nmm.data.batches.mixture import resolve
from nmm.data.corpus.store import Corpus
from nmm.training.objectives.objective import Batch
from nmm.training.objectives.text import TextTargets

STEP = 16       # rows are as long as a multiple of it: few shapes to compile and few tables of positions
MODALITY = {name: entry.number for name, entry in MODALITIES.items()}


@dataclass(frozen=True)
class MixedModal(TextTargets):
    """Mean cross-entropy over every token but a document's first [nats]: text, image markers and codes alike.

    Held-out documents are never masked, so that losses of runs with another `infilling` are of the same thing.

    Attributes:
        infilling: share of training documents that are masked, see `nmm.data.batches.infilling`.
        sentinel: id of the first sentinel of masked spans; None: as the images' ids say, see `prepare`.
    """

    name: ClassVar[str] = "cm3"
    infilling: float = 0.0
    sentinel: int | None = None

    def on(self, corpus: Corpus) -> "MixedModal":
        """The objective on a corpus, which says where its vocabulary has sentinels.

        Raises:
            ValueError: its images are patches: the tokenizer that would make tokens of them is missing.
        """
        if not corpus.geometry.all_codes:
            raise ValueError(f"objective {self.name!r} predicts images as tokens, and an image tokenizer is missing: the images of "
                             f"{corpus.folder} are patches; make a corpus of codes with `nmm.data.corpus.coded.coded_corpus`")
        return replace(self, sentinel=corpus.vocab_size - corpus.geometry.all_codes - SENTINELS)

    def prepare(self, batch: Batch) -> Batch:
        """All tokens in one causal order: an image's too, so nothing of it is seen before its place."""
        draws = batch.get("draws")
        batch = {name: tensor for name, tensor in batch.items() if name != "draws"}
        if self.infilling and draws is not None:
            batch = self.masked(batch, draws.tolist())
        ids, documents = batch["input_ids"], batch["document_ids"]
        labels = torch.full_like(ids, IGNORE)
        same = (documents[:, 1:] == documents[:, :-1]) & (documents[:, 1:] >= 0)
        if "unforeseen" in batch:
            same &= ~batch.pop("unforeseen")[:, 1:]
        labels[:, :-1] = torch.where(same, ids[:, 1:], IGNORE)
        return {**batch, "labels": labels, "span_ids": torch.full_like(batch["span_ids"], -1)}

    def masked(self, batch: Batch, draws: list[list[int]]) -> Batch:
        """Some documents of each row rotated; rows grow by their sentinels. Which, and which spans, depends on the row's draw alone."""
        rows = [
            self._row(*(batch[name][number].numpy() for name in ("input_ids", "document_ids", "span_ids", "modality")), draw)
            for number, draw in enumerate(draws)
        ]
        length = -(-max(len(row["input_ids"]) for row in rows) // STEP) * STEP
        blank = {"input_ids": 0, "document_ids": -1, "span_ids": -1, "modality": 0, "own": False, "unforeseen": False}
        return {
            **batch,
            **{name: torch.from_numpy(np.stack([
                np.pad(row[name], (0, length - len(row[name])), constant_values=value) for row in rows
            ])) for name, value in blank.items()},
        }

    def _row(
        self, ids: np.ndarray, documents: np.ndarray, images: np.ndarray, modality: np.ndarray, draw: list[int],
    ) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([*draw, 1])      # the 1: not the draw of an image's augmentation
        pieces: list[dict[str, np.ndarray]] = []
        for number in range(int(documents.max(initial=-1)) + 1):
            begin, end = np.flatnonzero(documents == number)[[0, -1]] + (0, 1)
            spans = draw_spans(rng, end - begin, _extents(images[begin:end])) if rng.random() < self.infilling else []
            turned = rotate(ids[begin:end], spans, self.sentinel)
            own = turned.source >= 0
            pieces.append({
                "input_ids": turned.ids, "document_ids": np.full(len(own), number), "own": own, "unforeseen": turned.unforeseen,
                "span_ids": np.where(own, images[begin:end][turned.source], -1),
                "modality": np.where(own, modality[begin:end][turned.source], MODALITY["text"]),
            })
        names = ("input_ids", "document_ids", "own", "unforeseen", "span_ids", "modality")
        return {name: np.concatenate([np.zeros(0, bool if name in ("own", "unforeseen") else np.int64), *(p[name] for p in pieces)])
                for name in names}

    def metrics(self) -> dict[str, Metric]:
        return {"L": LanguageCrossEntropy()}

    def flops(self, config: RunConfig, corpus: Corpus, tokens: Mapping[str, int]) -> float:
        """Sentinels are counted as many as are expected; they are in no count of tokens."""
        documents = 0.0
        total = sum(tokens.get(name, 0) for name in MODALITIES)
        for name, share in resolve(config.data.weights, corpus).items():
            counted = corpus.description["sources"][name]["train"]
            documents += total * share * counted["documents"] / sum(counted.get(f"{name}_tokens", 0) for name in MODALITIES)
        more = self.infilling * documents * (2 * MEAN_SPANS + 1)
        return exact_train_flops(
            config.model, context=config.data.context * (1 + more / total), targets=tokens["target"],
            tokens={**{name: tokens.get(name, 0) for name in MODALITIES}, "text": tokens["text"] + more},
            patches_per_image=corpus.patches_per_image,
        )


def _extents(images: np.ndarray) -> list[tuple[int, int]]:
    """First position and the one after the last of each image, from the number of the image at each position."""
    numbers = np.unique(images[images >= 0])
    return [(int(at[0]), int(at[-1]) + 1) for at in (np.flatnonzero(images == number) for number in numbers)]
