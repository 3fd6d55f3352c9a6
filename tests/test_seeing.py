"""What a token says decides its loss: measured in training's own evaluation, read from records; every architecture sees at laptop
size before any is compared with another (trained here: some 10 s each)."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from nmm import record as records
from nmm.data.batches.loader import collate
from nmm.data.corpus import store
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.generated.world import WORDS_PER_CAPTION
from nmm.models import build
from nmm.runs import load, sees
from nmm.runs.seeing import CHANCE, LIMIT, SEEN, share_of_chance
from nmm.studies import MIXTURE
from nmm.studies.architectures import ARCHITECTURES, SPARSE
from nmm.studies.laptop import LAPTOP
from nmm.training.objectives.objective import targets
from nmm.training.probes.tokens import TokenLosses
from nmm.training.run import train

SMALLEST = min(LAPTOP.budgets)


@pytest.fixture(scope="module")
def laptop_corpus(tmp_path_factory):
    """A generated corpus for the laptop study's smallest budget."""
    return embedded_corpus(tmp_path_factory.mktemp("laptop"), tokens=SMALLEST, weights=MIXTURE)


def measured(corpus, tiny, kind: str) -> tuple[dict[str, float], torch.Tensor, torch.Tensor]:
    """An untrained model's losses by kind of token, its logits and their targets."""
    torch.manual_seed(0)
    model = build(tiny.model(16, vocab_size=corpus.vocab_size, patch_dim=corpus.patch_dim))
    batch = collate([corpus.sources[kind].validation[number] for number in range(3)])
    probe, logits = TokenLosses.of(model, corpus), model(batch)
    return probe.told(probe.measure(logits, batch)), logits, targets(batch)


def test_an_untrained_model_guesses(corpus, tiny):
    losses, *_ = measured(corpus, tiny, "caption")
    assert set(losses) == {"special", "colour", "shape", "pattern", "name", "word"}
    assert all(abs(loss - math.log(756)) < 1.5 for loss in losses.values())


def caption_loss(losses: dict[str, float]) -> float:
    """Mean over the targets of a caption: four objects of four tokens each, ten words and the end."""
    said = 4 * sum(losses[kind] for kind in ("colour", "shape", "pattern", "name"))
    return (said + WORDS_PER_CAPTION * losses["word"] + losses["special"]) / 27


def test_kinds_are_weighed_as_in_the_whole(corpus, tiny):
    """The mean over all targets of a caption is the mean by kind."""
    losses, logits, labels = measured(corpus, tiny, "caption")
    whole = F.cross_entropy(logits, labels).item()
    assert whole == pytest.approx(caption_loss(losses), rel=1e-5)


def test_a_kind_is_what_the_vocabulary_says(tmp_path, tiny):
    """Of every data type, audio and video too: each token's own kind."""
    corpus = embedded_corpus(tmp_path, tokens=4_000, weights={**MIXTURE, "audio": 0.2, "video": 0.2}, kinds=(*MIXTURE, "audio", "video"))
    starts = [first for first, _ in corpus.token_kinds]
    named = {corpus.tokenizer.decode([first]).strip(): kind for first, kind in corpus.token_kinds}
    assert starts == sorted(starts) and starts[0] == 0
    told = {"a3": "pitch", "flute": "instrument", "rests": "motion", "<|audio|>": "special", "<|video|>": "special"}
    assert told.items() <= named.items()
    losses = TokenLosses(corpus.token_kinds)
    assert losses.names.count("special") == 1
    logits = torch.zeros(3, corpus.vocab_size)
    batch = {"labels": torch.tensor([[starts[-1], 2, starts[1]]])}
    assert losses.told(losses.measure(logits, batch)).keys() == {"special", "place", "motion"}


def test_a_corpus_of_an_earlier_version_is_told_its_kinds(tmp_path):
    """The hash stays, so that its runs stay its runs; data of others have no kinds."""
    made = embedded_corpus(tmp_path, tokens=2_000, weights=MIXTURE)
    path = tmp_path / "corpus.json"
    plain = json.loads(path.read_text())
    del plain["token_kinds"]
    path.write_text(json.dumps(plain))
    assert store.open(tmp_path).token_kinds == []
    again = embedded_corpus(tmp_path, tokens=2_000, weights=MIXTURE)
    assert (again.hash, again.token_kinds) == (made.hash, made.token_kinds)
    assert store.open(tmp_path).token_kinds == made.token_kinds


def test_seeing_is_read_from_the_record(run, corpus, tmp_path):
    record = train(run, corpus)
    assert record.losses_by_token.keys() == record.losses.keys()
    by_kind = record.losses_by_token["caption"]
    assert record.losses["caption"] == pytest.approx(caption_loss(by_kind), rel=1e-5)
    again = records.read(records.write(record, tmp_path))
    assert again == record
    assert share_of_chance(again) == {
        "colour": by_kind["colour"] / math.log(16), "shape": by_kind["shape"] / math.log(24), "pattern": by_kind["pattern"] / math.log(64)}
    row = load(tmp_path).iloc[0]
    assert {kind: row[f"{kind}_of_chance"] for kind in SEEN} == share_of_chance(record)
    assert share_of_chance(replace(record, losses_by_token=None)) == {}


def test_who_sees():
    """Every kind below a tenth of chance; where nothing tells, missing."""
    rows = [dict.fromkeys(CHANCE, 0.04), dict.fromkeys(CHANCE, 0.04) | {"pattern_of_chance": 0.11}, {}]
    assert sees(pd.DataFrame(rows, columns=list(CHANCE))).tolist() == [True, False, pd.NA]


@pytest.mark.parametrize("bad", [{"caption": {}}, {"caption": {"colour": math.nan}}, {"captions": {"colour": 1.0}}])
def test_bad_losses_by_token_are_refused(run, bad):
    with pytest.raises(records.RecordError, match="losses_by_token must be"):
        records.RunRecord(config=run, status="failed", reason="-", losses_by_token=bad)


@pytest.mark.parametrize("arm", ARCHITECTURES.arms, ids=lambda arm: arm.name)
def test_every_architecture_sees_at_the_smallest_budget(laptop_corpus, arm):
    """Colour, shape and pattern hardly above zero, as narrow as the narrowest, with the rates that its study trains it with."""
    plan = replace(LAPTOP, widths=(min(ARCHITECTURES.widths),), budgets=(SMALLEST,), seeds=(0,), arms=(arm,))
    (config,) = plan.grid(laptop_corpus).values()
    record = train(config, laptop_corpus)
    limit = LIMIT if arm == SPARSE else LIMIT / 2       # of the narrowest mixture's loss on colours about 6 % are left
    assert all(share < limit for share in share_of_chance(record).values()), record.losses_by_token
