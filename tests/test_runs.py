"""The run store: records whole or not at all, and one tidy table of all that is there."""

import copy
import json
import resource
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from nmm import record as records
from nmm import runs
from nmm.architectures import LateFusionConfig, MoEConfig
from nmm.config import TASKS, Origin, to_dict
from nmm.config.flops import train_flops
from nmm.data.generated.world import World
from nmm.record import RecordError, RunRecord
from nmm.runs import specialisation
from nmm.runs.columns import COLUMNS
from nmm.studies import find_study
from nmm.studies.study import STUDIES
from nmm.studies.whole import FEWER

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def record(shape) -> RunRecord:
    config = next(iter(find_study("smoke").grid(shape).values()))
    return RunRecord(
        config=config, status="finished", tokens={"text": 40_500, "image": 39_500, "padding": 104, "target": 36_000},
        share={"caption": 0.45, "interleaved": 0.45, "text": 0.1}, flops_exact=1.5e10,
        losses={"caption": 1.0, "interleaved": 2.0, "text": 3.0},
        entropy=World(0).entropy(), curve=[[520, 6.2], [1040, 5.0]], wall_seconds=3.5, tokens_per_second=20_000.0,
        versions={"torch": "2.7.0"}, device="x86_64 CPU, 1 thread",
    )


@pytest.fixture
def failed(record) -> RunRecord:
    return RunRecord(config=replace(record.config, seed=7), status="failed", reason="it broke")


def test_what_is_written_is_read(record, failed, tmp_path):
    for one in (record, failed):
        path = records.write(one, tmp_path / "new" / "folder")
        assert path.name == f"{one.config.id}.json"
        assert records.read(path) == one
    assert [path.suffix for path in (tmp_path / "new" / "folder").iterdir()] == [".json", ".json"]


def test_the_table(record, failed, tmp_path):
    records.write(record, tmp_path)
    records.write(failed, tmp_path)
    table = runs.load(tmp_path)
    assert list(table.columns) == list(COLUMNS)
    row = table[table["status"] == "finished"].iloc[0]
    counts = record.config.model.counts
    assert row["N"] == row["n_active"] == row["n_total"] == counts.N
    assert row["n_total"] == row["n_embedding"] + row["n_unembedding"] + row["n_blocks"]
    assert row["D"] == 80_000 == row["D_text"] + row["D_image"]
    assert row["C"] == train_flops(counts.N, 80_000)
    assert row["C_exact"] == 1.5e10
    assert row["L"] == 2.0
    assert [row[f"L_{task}"] for task in TASKS] == [1.0, 2.0, 3.0]
    assert row["E_true"] == pytest.approx(np.mean([row[f"E_{task}"] for task in TASKS]))
    assert (row["arch"], row["mixture"], row["study"], row["arm"], row["seed"]) == ("early", "45-45-10", "smoke", "early fusion", 0)
    assert row["wall_seconds"] == 3.5


def test_the_columns_that_chapters_read_are_there():
    promised = {"arch", "mixture", "study", "arm", "design", "seed", "N", "n_active", "n_total", "D", "C",
                "L", "L_caption", "L_interleaved", "L_text", "status", "wall_seconds"}
    assert promised <= set(COLUMNS)


def test_runs_of_one_trunk_have_one_label(record, tmp_path):
    config = record.config
    others = {
        "budget": replace(config, tokens=2 * config.tokens), "seed": replace(config, seed=1),
        "size": replace(config, model=replace(config.model, d_model=2 * config.model.d_model)),
        "design": replace(config, optim=replace(config.optim, clip=2.0)),
    }
    for one in (config, *others.values()):
        records.write(replace(record, config=one), tmp_path)
    labels = runs.load(tmp_path).set_index("run")["cluster"]
    apart = {name for name, one in others.items() if labels[one.id] != labels[config.id]}
    assert apart == {"seed", "size", "design"}, labels.to_dict()


def test_missing_is_nan_and_never_zero(failed, record, tmp_path):
    records.write(failed, tmp_path)
    records.write(replace(record, entropy=None, losses={"caption": 1.0}), tmp_path)
    table = runs.load(tmp_path).set_index("status")
    for column in ("D", "D_text", "C", "C_exact", "L", *(f"L_{task}" for task in TASKS), "wall_seconds", "tokens_per_second"):
        assert pd.isna(table.loc["failed", column]), column
    assert table.loc["failed", "budget"] == 80_000
    assert table.loc["failed", "N"] > 0
    assert pd.isna(table.loc["finished", "L"]), "the mean of three needs all three"
    assert table.loc["finished", "L_caption"] == 1.0
    assert pd.isna(table.loc["finished", "L_text"])
    assert pd.isna(table.loc["finished", "E_true"])


def test_rows_are_in_order(record, tmp_path):
    grid = find_study("smoke").grid(type("Shape", (), {"hash": "0", "context": 136, "vocab_size": 512, "patch_dim": 192,
                                                       "audio_dim": 0, "video_dim": 0}))
    for config in grid.values():
        tokens = {"text": config.tokens, "image": 0, "padding": 0, "target": 1}
        records.write(replace(record, config=config, tokens=tokens), tmp_path)
    table = runs.load(tmp_path)
    assert table[["N", "D"]].apply(tuple, axis=1).tolist() == sorted(table[["N", "D"]].apply(tuple, axis=1))
    assert len(table) == 9


def test_an_empty_folder_is_an_empty_table(tmp_path):
    table = runs.load(tmp_path)
    assert table.empty
    assert list(table.columns) == list(COLUMNS)
    assert runs.curves(tmp_path).empty


def test_a_missing_folder_says_how_to_get_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="no runs folder .*nowhere: run `python -m nmm sweep`"):
        runs.load(tmp_path / "nowhere")


def test_one_law_is_for_one_kind_of_model(record, failed, tmp_path):
    sparse = MoEConfig(**{item.name: getattr(record.config.model, item.name) for item in fields(record.config.model)})
    coarse = replace(record, config=replace(record.config, model=sparse))
    aware = replace(record, config=replace(record.config, model=replace(sparse, n_experts=2, routing="modality")))
    for one in (record, failed, coarse):
        records.write(one, tmp_path)
    table = runs.load(tmp_path)
    assert runs.finished(table, "early")["run"].tolist() == [record.config.id]
    assert runs.finished(table, "moe")["run"].tolist() == [coarse.config.id]
    with pytest.raises(ValueError, match="no finished run of architecture 'late' .*1 of early, 1 of moe"):
        runs.finished(table, "late")
    records.write(aware, tmp_path)
    differing = r'2 runs differ in more than N, D and seed.*: n_experts \(2, 8\); routing \("learned", "modality"\)'
    with pytest.raises(ValueError, match=differing):
        runs.finished(runs.load(tmp_path), "moe")
    assert len(runs.finished(runs.load(tmp_path), "moe", by=("routing",))) == 2


def test_other_trunks_of_the_same_design_join(record, failed, tmp_path):
    """Other seeds do, once each; failed runs and other designs do not; the first table's row stays."""
    mine, others = tmp_path / "mine", tmp_path / "others"
    again = replace(record, config=replace(record.config, seed=record.config.seed + 1))
    hotter = replace(again, config=replace(again.config, origin=replace(again.config.origin, rules={"lr": 9.0})))
    records.write(record, mine)
    for one in (replace(record, wall_seconds=1e6), again, failed):
        records.write(one, others)
    own = runs.finished(runs.load(mine), "early")
    both = runs.with_others(own, runs.load(others))
    assert both["run"].tolist() == [record.config.id, again.config.id] and both["cluster"].nunique() == 2
    assert both["wall_seconds"].max() < 1e6
    assert runs.with_others(own)["run"].tolist() == own["run"].tolist()
    records.write(hotter, tmp_path / "hot")
    assert len(runs.with_others(own, runs.load(tmp_path / "hot"))) == 1


@pytest.mark.parametrize(("part", "change", "named"), [
    ("data", {"corpus_id": "f" * 16}, "corpus_id"), ("data", {"mixture": "x", "weights": {"text": 1.0}}, "mixture"),
    ("optim", {"warmup_tokens": 5}, "warmup_tokens"), ("execution", {"precision": "bf16"}, "precision"),
    ("model", {"n_layers": 4}, "n_layers"),
])
def test_runs_that_differ_in_any_setting_are_not_fitted_together(record, tmp_path, part, change, named):
    other = replace(record.config, **{part: replace(getattr(record.config, part), **change)})
    for one in (record, replace(record, config=other), replace(record, config=replace(record.config, seed=5))):
        records.write(one, tmp_path)
    table = runs.load(tmp_path)
    with pytest.raises(ValueError, match=f"these 3 runs differ in more than N, D and seed.*{named} .*Say by which columns"):
        runs.one_design(table)
    runs.one_design(table, by=["design"])
    records.write(replace(record, config=replace(record.config, seed=6, origin=Origin())), tmp_path)
    with pytest.raises(ValueError, match="has no design on record"):
        runs.finished(runs.load(tmp_path), "early")
    runs.one_design(table.drop(columns="design"))


def test_the_row_of_late_fusion(record, tmp_path):
    shared = {item.name: getattr(record.config.model, item.name) for item in fields(record.config.model)}
    late = LateFusionConfig(d_vision=24, n_vision_layers=3, n_vision_heads=1, **shared)
    records.write(replace(record, config=replace(record.config, model=late), branched_at=32_000), tmp_path)
    (row,) = runs.load(tmp_path).to_dict("records")
    counts = late.counts
    assert (row["N"], row["N_v"], row["n_active"]) == (counts.N, counts.N_v, counts.N + counts.N_v)
    assert row["D_v"] == row["D_image"] > 0
    assert row["C"] == 6 * (counts.N * row["D"] + counts.N_v * row["D_v"])
    assert row["d_vision"] == 24 and row["encoder_lr_scale"] == 1.0
    assert np.isnan(row["n_experts"]) and np.isnan(row["expert_lr_scale"])
    assert row["own_seconds"] == pytest.approx(row["wall_seconds"] * (1 - 32_000 / 80_000))


@pytest.mark.parametrize("routing", [
    {"caption": [[[1, 2]]]}, {"caption": 3}, {"speech": [[[1, 2]] * 8] * 3}, {"caption": [[[1, -2]] * 8] * 3},
])
def test_routing_of_another_shape_is_refused(record, routing):
    sparse = MoEConfig(**{item.name: getattr(record.config.model, item.name) for item in fields(record.config.model)})
    config = replace(record.config, model=sparse)
    assert replace(record, config=config, routing={"caption": [[[1, 2]] * 8] * 3}).routing
    with pytest.raises(records.RecordError, match=r"routing must hold whole numbers of shape \(3, 8, 2\)"):
        replace(record, config=config, routing=routing)


def test_curves(record, failed, tmp_path):
    records.write(record, tmp_path)
    records.write(failed, tmp_path)
    curves = runs.curves(tmp_path)
    assert curves[["tokens", "loss"]].to_numpy().tolist() == record.curve
    assert set(curves["run"]) == {record.config.id}
    assert set(curves["N"]) == {record.config.model.counts.N}


def test_one_corrupt_file_does_not_hide_the_others(record, failed, tmp_path):
    records.write(record, tmp_path)
    path = records.write(failed, tmp_path)
    path.write_text(path.read_text()[:300])
    with pytest.warns(UserWarning, match=f"{path} is no valid run record .*restore it, or delete it and run the sweep again"):
        table = runs.load(tmp_path)
    corrupt = table[table["status"] == "corrupt"].iloc[0]
    assert len(table) == 2
    assert corrupt["run"] == failed.config.id
    assert str(path) in corrupt["reason"]
    assert pd.isna(corrupt["L"])
    with pytest.warns(UserWarning, match=str(path)):
        assert len(runs.curves(tmp_path)) == 2


def damage(plain: dict) -> list[tuple[str, dict]]:
    """Every key taken away or replaced by something of another kind, at the first two levels."""
    cases = []
    for key, now in plain.items():
        for other in (None, "x", -1, [], {}, [1], {"x": 1}, float("inf")):
            cases.append((f"{key} = {other!r}", {**plain, key: other}))
        cases.append((f"no {key}", {k: v for k, v in plain.items() if k != key}))
        if isinstance(now, dict):
            for inner in now:
                for other in (None, "x", -1, [], {}):
                    case = copy.deepcopy(plain)
                    case[key][inner] = other
                    cases.append((f"{key}.{inner} = {other!r}", case))
                case = copy.deepcopy(plain)
                del case[key][inner]
                cases.append((f"no {key}.{inner}", case))
    return cases


@pytest.mark.filterwarnings("ignore:.*is no valid run record:UserWarning")
def test_no_damage_makes_the_table_fail(record, tmp_path):
    """Whatever a record file holds, it is a row: read as it stands, or corrupt; and what is damaged in substance is corrupt."""
    path = records.write(record, tmp_path)
    whole = json.loads(path.read_text())
    for name, case in damage(whole):
        path.write_text(json.dumps(case))
        table = runs.load(tmp_path)
        runs.curves(tmp_path)
        assert len(table) == 1, name
        assert table["status"][0] in ("finished", "corrupt"), name
        first = name.removeprefix("no ").split()[0].split(".")[0]
        # one loss may be missing, and so may what is at its default
        harmless = ("no losses.", "no config.objective", "no config.infilling", "no config.init", "no config.execution", "config.init = {}",
                    "config.execution = {}", "no config.origin", "config.origin = {}")
        if first in ("schema", "id", "config", "tokens", "losses") and not name.startswith(harmless):
            assert table["status"][0] == "corrupt", name
    for text in ("", "[]", "null", "{}", "12", '"x"', "\x00\x01", json.dumps(whole)[:-1]):
        path.write_text(text)
        assert runs.load(tmp_path)["status"].tolist() == ["corrupt"]
    path.write_bytes(b"\xff\xfe" * 50)
    assert runs.load(tmp_path)["status"].tolist() == ["corrupt"]


def test_a_record_under_a_wrong_name_or_changed_by_hand_is_corrupt(record, tmp_path):
    path = records.write(record, tmp_path)
    plain = json.loads(path.read_text())
    plain["config"]["optim"]["lr"] = 0.5
    path.write_text(json.dumps(plain))
    with pytest.raises(RecordError, match="its configuration hashes to"):
        records.read(path)


def test_a_record_of_a_later_version_is_not_called_corrupt(record, tmp_path):
    path = records.write(record, tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": records.SCHEMA + 1}))
    said = f"{path} is a run record of schema {records.SCHEMA + 1}, and .* reads up to {records.SCHEMA}: update nmm"
    with pytest.raises(records.NewerRecord, match=said):
        records.read(path)
    with pytest.warns(UserWarning, match="update nmm"):
        assert runs.load(tmp_path)["status"].tolist() == ["newer"]
    (tmp_path / f"{'0' * 16}.json").mkdir()
    assert len(records.paths(tmp_path)) == 1, "a folder of such a name is no record"


# one record of each arm as the first version of the schema wrote them
FIRST_SCHEMA = {
    "0a6ff0f423c8d493": ("laptop", "early fusion", {"head_dim": 16}),
    "0704eb75a2c60b1e": ("architectures", "late fusion", {"head_dim": 16, "vision_share": 1.0}),
    "0c8cc900d8610cf4": ("architectures", "mixture 8-top-1", {"head_dim": 16}),
    "0db9ef898b7abb03": ("architectures", "experts by modality", {"head_dim": 16}),
}


@pytest.mark.parametrize("name", FIRST_SCHEMA)
def test_records_of_the_first_schema_belong_where_their_study_says(name):
    """They named no arm and no rules; all studies of their time had those told here, the rate being one at 32 features."""
    config = records.read(ROOT / "tests" / "records" / f"{name}.json").config
    study, arm, rules = FIRST_SCHEMA[name]
    scale = (32 / config.model.d_model) ** 0.5
    rate = {rules_lr for rules_lr in (0.007, 0.01) if config.optim.lr == pytest.approx(rules_lr * scale, rel=1e-5)}
    assert (config.origin.study, config.origin.arm, config.origin.rules) == (study, arm, {"lr": rate.pop(), **rules})
    assert config.id == name, "a run keeps its name"


COMMITTED = [folder for folder in sorted((ROOT / "runs").rglob("*")) if folder.is_dir() and list(folder.glob("????????????????.json"))]


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: str(folder.relative_to(ROOT / "runs")))
def test_committed_records_are_those_of_the_study_that_they_name(folder):
    """Whoever runs the study finds them done: the grid of today gives each its name. Those of the first schema are of recipes before."""
    for path in records.paths(folder):
        if json.loads(path.read_text())["schema"] == 1:
            continue
        config = records.read(path).config
        data, model = config.data, config.model
        shape = SimpleNamespace(hash=data.corpus_id, context=data.context, vocab_size=model.vocab_size, patch_dim=model.patch_dim,
                                audio_dim=model.audio_dim, video_dim=model.video_dim)
        plan = replace(find_study(config.origin.study), max_epochs=data.max_epochs)
        assert plan.grid(shape)[config.id] == config


@pytest.mark.parametrize(("change", "message"), [
    ({"status": "running"}, "status must be one of finished, failed: got 'running'"),
    ({"status": "failed"}, "a failed run must say why"),
    ({"losses": None}, "must have losses and tokens"),
    ({"tokens": None}, "must have losses and tokens"),
    ({"losses": {"caption": float("nan")}}, "finite and positive"),
    ({"losses": {"caption": -1.0}}, "finite and positive"),
    ({"tokens": {"text": 5}}, "tokens"),
    ({"tokens": {"text": 5, "image": 5.5, "padding": 0, "target": 5}}, "tokens"),
])
def test_an_invalid_record_cannot_be_made(record, change, message):
    with pytest.raises(RecordError, match=message):
        replace(record, **change)


def test_a_full_disk_is_one_clear_error_and_leaves_no_trace(record, tmp_path):
    """A limit on file size stands for it: the system refuses the write in the same place."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        said = f"cannot write the record {tmp_path}/{record.config.id}.json: .*Free space or choose another folder"
        with pytest.raises(OSError, match=said):
            records.write(record, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_record_before(record, tmp_path):
    path = records.write(record, tmp_path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(OSError, match="cannot write"):
            records.write(replace(record, wall_seconds=9.0), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before


def test_a_record_holds_what_rebuilds_the_run(record, tmp_path):
    plain = json.loads(records.write(record, tmp_path).read_text())
    assert plain["config"] == to_dict(record.config)
    assert plain["id"] == record.config.id
    assert plain["schema"] == records.SCHEMA


def test_a_measure_that_no_run_has_is_nan(record, tmp_path):
    """Real data has no known entropy: its columns are numbers all the same."""
    records.write(replace(record, entropy=None), tmp_path)
    table = runs.load(tmp_path)
    assert table["E_true"].dtype == float
    assert table["E_true"].isna().all()


def _records(losses: list[float], **columns: object) -> pd.DataFrame:
    n = len(losses)
    table = pd.DataFrame({
        "run": [f"r{i}" for i in range(n)], "arm": "early fusion", "mixture": "45-45-10", "size": [f"d{i}" for i in range(n)],
        "budget": 100, "seed": 0, "N": range(n), "D": 100, "L": losses, "status": "finished",
    })
    return table.assign(**columns)


def test_runs_are_paired_by_what_they_are_and_failed_ones_left_out():
    here, there = _records([2.0, 3.0, 4.0]), _records([2.0, 3.3, 4.0], status=["finished", "finished", "failed"])
    pairs = runs.pair_runs(here, there)
    assert pairs["size"].tolist() == ["d0", "d1"]
    assert pairs["difference"].tolist() == pytest.approx([0.0, 0.3])
    assert pairs["relative"].tolist() == pytest.approx([0.0, 0.1])


def test_whole_grids_are_kept_and_unfinished_ones_left_out():
    study = STUDIES["architectures"]
    rows = [{"study": study.name, "arm": arm, "mixture": "45-45-10", "seed": seed, "d_model": width, "budget": budget, "status": "finished"}
            for arm in ("early fusion", "late fusion") for seed in (0, 1) for width in study.widths for budget in study.budgets]
    table = pd.DataFrame(rows)
    assert len(runs.whole(table)) == len(table)
    part = table.drop(index=3)      # of early fusion's seed 0
    kept = runs.whole(part)
    assert set(zip(kept["arm"], kept["seed"])) == {("early fusion", 1), ("late fusion", 0), ("late fusion", 1)}
    assert runs.whole(table.assign(study="of nobody")).empty
    assert runs.whole(table.iloc[:0]).empty
    assert runs.whole(table.assign(seed=99)).empty, "nobody plans that seed"
    # a seed that is planned at fewer widths is whole with those, and one that is planned at all of them is not
    few = [{"study": "study", "arm": "early fusion", "mixture": "45-45-10", "seed": seed, "d_model": width, "budget": budget,
            "status": "finished"} for seed in (0, 3) for width in FEWER for budget in STUDIES["study"].budgets]
    assert set(runs.whole(pd.DataFrame(few).sample(frac=1, random_state=0))["seed"]) == {3}


def test_what_is_not_whole_of_a_study_is_named():
    study = STUDIES["study"]
    grid = {"45-45-10": study.widths, "20-40-40": (24, 40)}
    rows = [{"study": study.name, "arm": "late fusion", "mixture": mixture, "seed": 0, "d_model": width, "budget": budget}
            for mixture, widths in grid.items() for width in widths for budget in study.budgets]
    grids = runs.whole(pd.DataFrame(rows).assign(status="finished"))
    assert runs.lacking(grids, study.name, ["late fusion"]) == ["late fusion in 20-40-40"]
    assert runs.lacking(grids, study.name, ["late fusion", "mixture 2-top-1"], ["45-45-10"]) == ["mixture 2-top-1 in 45-45-10"]
    assert runs.lacking(grids.iloc[:0], study.name, ["early fusion"]) == [
        f"early fusion in {mixture}" for mixture in ("40-20-40", "30-30-40", "20-40-40", "45-45-10")]
    with pytest.raises(ValueError, match="study 'study' has no arm 'early': it has early fusion, late fusion"):
        runs.lacking(grids, study.name, ["early"])


def test_scores_by_seed_are_means_over_the_runs_of_a_seed(record):
    sparse = MoEConfig(**{item.name: getattr(record.config.model, item.name) for item in fields(record.config.model)})
    apart, shared = [[[6, 0]] * 4 + [[0, 6]] * 4] * 3, [[[3, 3]] * 8] * 3

    def one(seed, counts):
        return replace(record, config=replace(record.config, model=sparse, seed=seed), routing={"caption": counts})

    made = [one(1, apart), one(0, shared), one(1, shared)]
    assert specialisation.by_seed(made, "caption") == pytest.approx(np.array([[0.0] * 3, [0.5] * 3]))
    load = specialisation.by_seed(made, "caption", lambda counts: specialisation.load(counts).max(axis=1))
    assert load == pytest.approx(np.full((2, 3), 1 / 8))
    for records_, message in (([], "0 records"), ([record], "routing of 'caption'"), ([*made, replace(record, config=replace(
            record.config, model=replace(sparse, n_layers=4)), routing={"caption": [[[3, 3]] * 8] * 4})], "of 3, 4 layers")):
        with pytest.raises(ValueError, match=message):
            specialisation.by_seed(records_, "caption")
