"""What a model of text and images writes, and how much of it is right: of scenes, where a text tells what its image shows."""

from typing import Any

import torch
from composer import State
from composer.loggers import Logger
from composer.utils import dist
from torch import Tensor, nn

from nmm.data.corpus.store import Corpus
from nmm.data.generated.scenes import TRAITS, WORDS, Scenes, right
from nmm.models.generation import Vocabulary, filled, images_of_texts, texts_of_images
from nmm.training.objectives.objective import Batch
from nmm.training.probes.probe import Probe

WRITTEN = 64        # held-out captions that a model is asked about
WAYS = ("image of text", "text of image", "image filled in")


class Writing(Probe):
    """Shares of rows, colours, shapes, patterns and names that are right, as `RunRecord.written`; taken greedily.

    Asked about the first held-out captions: for an image of the text, a text of the image, and the image where it is missing before its
    text. The truth is what the caption's text tells. One process alone measures it.

    Args:
        model: the model itself, within whatever the Trainer wraps it in.
    """

    field = "written"

    def __init__(self, model: nn.Module, corpus: Corpus) -> None:
        super().__init__()
        self.model, self.corpus, self.vocabulary, self.left = model, corpus, Vocabulary(corpus), WRITTEN

    @classmethod
    def of(cls, module: nn.Module, corpus: Corpus) -> "Writing | None":
        kinds = Scenes().token_kinds
        scenes = corpus.geometry.codes and corpus.token_kinds[:len(kinds)] == kinds
        return cls(module, corpus) if scenes and dist.get_world_size() == 1 else None

    def eval_start(self, state: State, logger: Logger) -> None:
        super().eval_start(state, logger)
        self.left = WRITTEN

    def measure(self, logits: Tensor, batch: Batch) -> Tensor:
        """Objects that are right, and objects asked about, by way and trait, (3, 5, 2) float64; none of documents without text or image."""
        found = torch.zeros(len(WAYS), len(TRAITS), 2, dtype=torch.float64)
        shown = self._captions(batch)[:self.left] if self.left else []
        if not shown:
            return found
        own, world = self.vocabulary, Scenes()
        self.left -= len(shown)
        codes, texts = (torch.stack(part).numpy() for part in zip(*shown, strict=True))
        told, how = world.heard(texts), {"context": self.corpus.context}
        documents = [[own.marker, *image, *text, self.corpus.tokenizer.end] for image, text in zip(codes, texts, strict=True)]
        inside = filled(self.model, self.corpus, documents, [(1, 1 + codes.shape[1])] * len(codes), **how)
        seen = (images_of_texts(self.model, self.corpus, texts, **how), inside - own.first_code)
        drawn, put = (world.seen(self.corpus.image_tokenizer.decode(image)) for image in seen)
        said = world.heard(texts_of_images(self.model, self.corpus, codes - own.first_code, WORDS, **how))
        for way, answer in zip(WAYS, (drawn, said, put), strict=True):
            names = told[..., 4] if answer is said else None       # images show none
            asked = told[..., 0].size
            for trait, share in right(answer, told[..., :4], names).items():
                found[WAYS.index(way), TRAITS.index(trait)] = torch.tensor([share * asked, asked], dtype=torch.float64)
        return found

    def _captions(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """Ids of the codes and of the words of each packed document that has both whole."""
        text = self.vocabulary.only("text")
        found = []
        for row, documents in zip(batch["input_ids"].cpu(), batch["document_ids"].cpu(), strict=True):
            for number in range(int(documents.max()) + 1):
                ids = row[documents == number]
                codes, words = ids[ids >= self.vocabulary.first_code], ids[text[ids]]
                if len(codes) == self.corpus.patches_per_image and len(words) == WORDS:
                    found.append((codes, words))
        return found

    def told(self, total: Tensor) -> dict[str, dict[str, float]]:
        return {way: {trait: right / asked for trait, (right, asked) in zip(TRAITS, by, strict=True) if asked}
                for way, by in zip(WAYS, total.tolist(), strict=True)}

    @property
    def fields(self) -> dict[str, Any]:
        return {self.field: {label: self.told(total) for label, total in self.sums.items() if total.any()}}
