"""One run: what Composer trains is what a bare loop would, twice the same, resumable, and honest about failure."""

import gc
import math
import os
import resource
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from composer import Trainer

import nmm
from nmm import record as records
from nmm.architectures import LateFusionConfig, MoEConfig
from nmm.config import TASKS, InitConfig
from nmm.config.flops import exact_train_flops
from nmm.data.batches.loader import collate, train_batches
from nmm.data.batches.reading import reading
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.generated.world import CONTEXT, World
from nmm.models import build
from nmm.models.io.weights import file_hash
from nmm.studies import MIXTURE, find_study
from nmm.training import compat
from nmm.training import trainer as trainers
from nmm.training.model import LanguageModel
from nmm.training.objectives.objective import targets
from nmm.training.optimisation import cooldown_step, parameter_groups
from nmm.training.parts import assemble
from nmm.training.run import train
from nmm.training.schedule import lr_factor
from nmm.training.trainer import make_trainer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def longer(tiny, corpus):
    return next(iter(tiny.grid(corpus, budgets=(20_000,)).values()))


@pytest.fixture(scope="module")
def record(longer, corpus):
    """The record of an undisturbed run of 20,000 tokens."""
    return train(longer, corpus, entropy=World(0).entropy())


def test_the_record_is_complete(record, longer, corpus, tmp_path):
    assert record.status == "finished"
    assert record.config == longer
    tokens = record.tokens
    steps = len(reading(longer, corpus)[1])
    positions = steps * longer.data.batch_tokens
    assert record.D == tokens["text"] + tokens["image"] == positions - tokens["padding"]
    assert longer.tokens <= record.D < longer.tokens + longer.data.batch_tokens
    assert record.share.keys() == set(TASKS)
    assert sum(record.share.values()) == pytest.approx(1)
    for name, share in record.share.items():
        assert share == pytest.approx(MIXTURE[name], abs=0.01)
    seen, losses = zip(*record.curve, strict=True)
    assert list(seen) == sorted(set(seen))
    assert seen[-1] == record.D
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    assert set(record.losses) == set(record.entropy) == set(TASKS)
    assert record.wall_seconds > 0
    assert record.tokens_per_second > 0
    assert record.versions.keys() == {"nmm", "python", "torch", "composer"}
    assert record.versions["torch"] == torch.__version__
    assert record.versions["nmm"] == nmm.__version__
    assert record.device.endswith("CPU, 1 thread") or torch.cuda.is_available()
    assert record.flops_exact == exact_train_flops(
        longer.model, context=CONTEXT, tokens={name: tokens[name] for name in ("text", "image")}, targets=tokens["target"]
    )
    assert records.read(records.write(record, tmp_path)) == record


def test_bits_per_byte_of_text_are_known_where_images_are_patches(record, longer, corpus):
    held = corpus.sources["text"].validation
    ids = torch.cat([targets(collate([held[k]])) for k in range(min(len(held), longer.data.validation_sequences))])
    size = corpus.tokenizer.id_bytes[ids.numpy()].sum()
    assert record.bits_per_byte["text"] == pytest.approx(record.losses["text"] * len(ids) / math.log(2) / size, rel=1e-5)
    assert record.bits_per_byte.keys() == set(TASKS) and record.bits_per_byte_by_modality is None and record.losses_by_modality is None


def test_tokens_are_those_of_the_batches(record, longer, corpus):
    mixture, seen = reading(longer, corpus)
    batches = list(train_batches(mixture, batch_size=4, steps=len(seen)))
    image = sum(int((batch["span_ids"] >= 0).sum()) for batch in batches)
    padding = sum(int((batch["document_ids"] < 0).sum()) for batch in batches)
    target = sum(len(targets(batch)) for batch in batches)
    text = sum(batch["input_ids"].numel() for batch in batches) - image - padding
    assert record.tokens == {"text": text, "image": image, "padding": padding, "target": target}
    assert seen.tolist() == np.cumsum([int((batch["document_ids"] >= 0).sum()) for batch in batches]).tolist()


def test_the_loss_falls(record):
    """From a guess over 756 words to far below it, on held-out data too."""
    curve = [loss for _, loss in record.curve]
    assert curve[0] > math.log(756) - 0.5
    assert np.mean(curve[-5:]) < 0.75 * curve[0]
    assert all(record.entropy[task] < record.losses[task] < 0.85 * math.log(756) for task in TASKS)


def test_same_seed_same_loss_another_seed_another(record, longer, corpus):
    again = train(longer, corpus)
    assert again.losses == record.losses
    assert again.curve == record.curve
    other = train(replace(longer, seed=1), corpus)
    assert all(other.losses[task] != record.losses[task] for task in TASKS)
    assert other.L == pytest.approx(record.L, rel=0.1)


@pytest.mark.parametrize("arch", ["early", "moe"])
def test_a_bare_loop_stands_in_for_composer(run, corpus, monkeypatch, arch):
    """Weights, the last loss and held-out losses, all to the last bit: what Composer is given is all that a loop needs."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    from trainer import bare, held_out, ours

    config = run if arch == "early" else replace(run, model=MoEConfig(**asdict(run.model), n_experts=4))
    one, loss = bare(config, corpus)
    two, same = ours(config, corpus)
    assert loss == same
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    assert held_out(config, corpus, one) == train(config, corpus).losses


def test_rates_follow_the_schedule(run, corpus):
    """The rate of every step, as the optimizer has it, from the tokens before the step."""
    parts = assemble(run, corpus)
    rates = []
    parts.optimizer.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    make_trainer(parts).fit()
    before = np.concatenate([[0], reading(run, corpus)[1]])[:-1]
    expected = [run.optim.lr * lr_factor(n, run.data.batch_tokens, total=10_000, warmup=2_000, cooldown=0.2) for n in before]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_leaving_out_what_nobody_hears_changes_nothing(run, corpus, monkeypatch):
    lean_run = train(run, corpus)
    monkeypatch.setattr(compat, "call_listeners_only", lambda trainer: None)
    monkeypatch.setattr(compat, "Shared", dict)
    whole = train(run, corpus)
    assert whole.losses == lean_run.losses
    assert whole.curve == lean_run.curve
    assert whole.tokens == lean_run.tokens


def test_a_run_that_diverges_is_recorded_as_failed(run, corpus, tmp_path):
    absurd = replace(run, optim=replace(run.optim, lr=1e30, warmup_tokens=0))
    record = train(absurd, corpus)
    assert record.status == "failed"
    assert record.reason.startswith("the training loss became ")
    assert record.losses is None
    assert record.L is None
    assert records.read(records.write(record, tmp_path)) == record


class Killed(BaseException):
    """Stands for a kill at a moment of our choice; nothing in the code under test catches it."""


def test_a_run_killed_after_its_last_step_is_only_measured(record, longer, corpus, tmp_path, monkeypatch):
    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "eval", killed)
        train(longer, corpus, scratch=tmp_path)
    steps = []
    resumed = train(longer, corpus, scratch=tmp_path, progress=steps.append)
    assert not steps
    assert (resumed.losses, resumed.curve, resumed.tokens) == (record.losses, record.curve, record.tokens)


def interrupted(config, corpus, scratch, after: int) -> None:
    """Train with a checkpoint at every step, until `after` reports of progress have come."""
    calls = 0

    def progress(tokens):
        nonlocal calls
        calls += 1
        if calls == after:
            raise Killed

    with pytest.raises(Killed):
        train(config, corpus, scratch=scratch, progress=progress)


def test_a_resumed_run_is_the_undisturbed_one(record, longer, corpus, tmp_path):
    steps = len(reading(longer, corpus)[1])
    interrupted(longer, corpus, tmp_path, after=20)
    interrupted(longer, corpus, tmp_path, after=9)          # the first tells of the 20 before: it went on, not back
    checkpoint = (tmp_path / "latest-rank0.pt").resolve()
    assert int(checkpoint.name[2:].split("-")[0]) > 0.5 * steps
    resumed = train(longer, corpus, entropy=record.entropy, scratch=tmp_path)
    assert replace(resumed, wall_seconds=None, tokens_per_second=None) == replace(record, wall_seconds=None, tokens_per_second=None)
    assert resumed.wall_seconds > 0


@pytest.mark.parametrize("moment", ["written, not linked", "half written, not linked", "link taken away", "old one not removed"])
def test_a_kill_in_the_midst_of_a_checkpoint(record, longer, corpus, tmp_path, moment):
    """What saving leaves behind at each of its steps: the run goes on from a whole checkpoint."""
    interrupted(longer, corpus, tmp_path, after=10)
    (whole,) = tmp_path.glob("ba*-rank0.pt")
    number = int(whole.name[2:].split("-")[0])
    latest = tmp_path / "latest-rank0.pt"
    content = whole.read_bytes()
    if moment in ("written, not linked", "half written, not linked"):
        (tmp_path / f"ba{number + 1}-rank0.pt").write_bytes(content if moment.startswith("written") else content[:5000])
    if moment in ("half written, not linked", "link taken away"):
        latest.unlink()
    if moment == "old one not removed":
        (tmp_path / f"ba{number - 1}-rank0.pt").write_bytes(content)
    reports = []
    resumed = train(longer, corpus, scratch=tmp_path, progress=reports.append)
    assert resumed.losses == record.losses
    assert len(reports) < 32, "it went on from the checkpoint"


@pytest.mark.parametrize("harm", ["cut", "zeroed inside", "one byte"])
def test_a_damaged_checkpoint_is_set_aside_and_the_run_goes_on(record, longer, corpus, tmp_path, harm, capsys):
    """From the last good one, here a copy of an earlier one; or from its start."""
    interrupted(longer, corpus, tmp_path, after=10)
    (earlier,) = tmp_path.glob("ba*-rank0.pt")
    kept = earlier.read_bytes()
    interrupted(longer, corpus, tmp_path, after=5)
    last = (tmp_path / "latest-rank0.pt").resolve()
    assert last.name != earlier.name
    earlier.write_bytes(kept)
    os.utime(earlier, (0, 0))
    data = bytearray(last.read_bytes())
    if harm == "cut":
        del data[-3000:]
    elif harm == "zeroed inside":
        with zipfile.ZipFile(last) as archive:
            (pickled,) = (item for item in archive.infolist() if item.filename.endswith("data.pkl"))
        data[pickled.header_offset + 100:pickled.header_offset + 300] = bytes(200)
    else:
        data[len(data) // 2] ^= 1
    last.write_bytes(data)
    reports = []
    assert train(longer, corpus, scratch=tmp_path, progress=reports.append).losses == record.losses
    assert len(reports) < 32, "it went on from the earlier checkpoint"
    aside = last.with_name(f"{last.name}.damaged")
    assert f"it was set aside as {aside}" in capsys.readouterr().err and aside.read_bytes() == bytes(data)


def test_a_checkpoint_of_another_model_is_named(longer, corpus, tmp_path):
    """As after a change of the code between a kill and the next call."""
    interrupted(longer, corpus, tmp_path, after=5)
    other = replace(longer, model=replace(longer.model, n_layers=4))
    with pytest.raises(ValueError, match=f"checkpoint in {tmp_path} does not fit the model .*Delete the folder") as raised:
        train(other, corpus, scratch=tmp_path)
    assert "blocks.*.attention.qkv.weight: in the model alone" in str(raised.value)
    wide = replace(longer, model=replace(longer.model, d_model=32))
    with pytest.raises(ValueError, match=r"norm.gain: \(16,\) in the file, \(32,\) in the model"):
        train(wide, corpus, scratch=tmp_path)


@pytest.mark.parametrize("kind", [KeyError, torch.cuda.OutOfMemoryError, RuntimeError])
def test_what_is_no_misfit_is_told_as_what_it_is(longer, corpus, tmp_path, monkeypatch, kind):
    """A checkpoint lies there and fits: nobody is advised to delete it."""
    interrupted(longer, corpus, tmp_path, after=5)

    def fails(*_, **__):
        raise kind("no room")

    monkeypatch.setattr(trainers, "Trainer", fails)
    with pytest.raises(kind, match="^'?no room'?$"):
        train(longer, corpus, scratch=tmp_path)


def test_a_full_disk_at_a_checkpoint_is_one_clear_error(run, corpus, tmp_path):
    """A limit on file size stands for it; what is left behind does not hinder the next call."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match=f"cannot write a checkpoint in {tmp_path}: .*Free space or choose another folder"):
            train(run, corpus, scratch=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert train(run, corpus, scratch=tmp_path).status == "finished"


def test_another_corpus_is_refused(run, tmp_path):
    other = embedded_corpus(tmp_path, tokens=2_000, weights=MIXTURE)
    with pytest.raises(ValueError, match=f"configured for corpus {run.data.corpus_id}, but {tmp_path} is {other.hash}"):
        train(run, other)


def test_a_corpus_too_small_is_refused_with_the_remedy(run, corpus):
    hungry = replace(run, tokens=2_000_000)
    with pytest.raises(ValueError, match=r"max_epochs"):
        train(hungry, corpus)
    patient = replace(hungry, tokens=60_000, data=replace(run.data, max_epochs=4))
    assert reading(patient, corpus)[1][-1] >= 60_000


def test_a_branch_is_the_run_trained_alone(record, longer, corpus, tmp_path):
    """Killed and resumed on the way, too: weights of the trunk, rates and data of its own."""
    study = replace(find_study("smoke"), widths=(16,), budgets=(20_000,), warmup_tokens=2_000, validation_sequences=8)
    long = next(iter(study.grid(corpus).values()))
    short = replace(long, tokens=12_000)
    alone = train(short, corpus)
    trunk = train(long, corpus, scratch=tmp_path / "long", checkpoint_seconds=3600, branches={12_000: tmp_path / "short"})
    assert (trunk.losses, trunk.curve) == (record.losses, record.curve)
    assert not list((tmp_path / "long").glob("*.pt"))
    interrupted(short, corpus, tmp_path / "short", after=2)
    reports = []
    branch = train(short, corpus, scratch=tmp_path / "short", progress=reports.append)
    assert 0.8 * 12_000 < branch.branched_at <= 0.8 * 12_000 + 4 * CONTEXT
    assert sum(reports) == branch.D - branch.branched_at
    measured = {"wall_seconds": None, "tokens_per_second": None, "branched_at": None}
    assert replace(branch, **measured) == replace(alone, **measured)


@pytest.mark.parametrize("tokens", [1_000, 12_000, 20_000])
def test_the_step_where_a_cooldown_begins(longer, corpus, tokens):
    """Up to it all budgets have the same rates; from it on they differ."""
    _, seen = reading(longer, corpus)
    before = np.concatenate([[0], seen])
    settings = {"warmup": 2_000, "cooldown": 0.2}
    step = cooldown_step(seen, tokens, 0.2)
    own, endless = ([lr_factor(n, 544, total=total, **settings) for n in before[:-1]] for total in (tokens, 1e9))
    assert own[:step] == endless[:step]
    assert step == len(seen) or own[step] < endless[step]


@pytest.mark.parametrize(("scales", "expected"), [({}, 1), ({"encoder_lr_scale": 0.1}, 2), ({"encoder_lr_scale": 0.0}, 1)])
def test_the_encoder_has_a_rate_of_its_own(longer, scales, expected):
    late = LateFusionConfig(d_model=32, n_layers=2, n_heads=2, vocab_size=64, patch_dim=192, ffn_multiple=8, d_vision=16,
                            n_vision_layers=1, n_vision_heads=1)
    model = build(late)
    groups = parameter_groups(model, replace(longer.optim, **scales))
    assert len(groups) == expected
    encoder = {id(parameter) for name, parameter in model.named_parameters() if name.startswith("vision.")}
    assert encoder
    scale = scales.get("encoder_lr_scale", 1.0)
    for group in groups:
        mine = {id(parameter) for parameter in group["params"]}
        if expected == 2:
            assert mine == encoder or not mine & encoder
        assert group["lr"] == longer.optim.lr * (scale if mine == encoder else 1.0)
    trained = {id(parameter) for group in groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert (encoder <= trained) == bool(scale)


def test_models_of_earlier_runs_are_let_go(run, corpus, tmp_path):
    """A worker trains hundreds of runs: no more than the last one's model stays."""
    for seed in range(3):
        train(replace(run, seed=seed), corpus, scratch=tmp_path / str(seed))
    gc.collect()
    assert sum(type(thing) is LanguageModel for thing in gc.get_objects()) <= 1


def test_text_alone_is_trained_by_a_model_without_images(run, corpus, tmp_path):
    """What early fusion may start from (Sec. 3.3): measured on text, and a start for a model with images."""
    text = replace(run, model=replace(run.model, patch_dim=0), data=replace(run.data, weights={"text": 1.0}, max_epochs=8))
    record = train(text, corpus, save_weights=tmp_path / "text.safetensors")
    assert list(record.losses) == ["text"] and record.L is None
    assert record.tokens["image"] == 0
    start = replace(run, init=InitConfig(decoder=file_hash(tmp_path / "text.safetensors")))
    started = train(start, corpus, weights={"decoder": tmp_path / "text.safetensors"})
    alone = train(run, corpus)
    assert started.losses["text"] < alone.losses["text"]


@pytest.mark.parametrize(("change", "said"), [
    ({"patch_dim": 0}, "source 'caption' has image tokens of 192 numbers, and the model has patch_dim = 0: give patch_dim = 192, or"),
    ({"patch_dim": 588}, "source 'caption' has image tokens of 192 numbers, and the model has patch_dim = 588"),
    ({"vocab_size": 50432}, "the model has vocab_size = 50432, and the corpus .* 756"),
])
def test_a_model_that_cannot_read_the_corpus_is_refused(run, corpus, change, said):
    with pytest.raises(ValueError, match=said):
        train(replace(run, model=replace(run.model, **change)), corpus)
