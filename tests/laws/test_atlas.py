"""The atlas on small tables of the public layouts, made here from a known law: no file of another repository is in this one."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nmm.atlas import readers, results
from nmm.atlas.adapter import commit, license_of
from nmm.atlas.entries import ENTRIES
from nmm.atlas.fit import fit_folder
from nmm.cli import main
from nmm.laws.forms.repetition import effective_tokens

A, B, ALPHA, BETA, E = 400.0, 1500.0, 0.34, 0.37, 1.8
BY_NAME = {entry.name: entry for entry in ENTRIES}


def runs(sizes=5, budgets=5, noise=0.002, seed=0):
    """N, D, L of a grid of small models."""
    grid = np.meshgrid(np.geomspace(2e7, 1e9, sizes), np.geomspace(1e9, 5e10, budgets), indexing="ij")
    N, D = (np.rint(axis.ravel()) for axis in grid)
    L = (E + A / N**ALPHA + B / D**BETA) * np.exp(np.random.default_rng(seed).normal(0, noise, len(N)))
    return N, D, L


def written(folder, name: str, content) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pd.DataFrame):
        lines = name.endswith(".jsonl")
        path.write_text(content.to_json(orient="records", lines=True) if lines else content.to_csv(index=False))
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def chinchilla(folder):
    N, D, L = runs(6, 6)
    written(folder, "chinchilla_figure_4.svg", "<svg/>")
    written(folder, "data/svg_extracted_data.csv", pd.DataFrame({"x": 1.0, "Model Size": N, "Training FLOP": 6 * N * D, "loss": L}))


def isoflops(folder):
    N, D, L = runs()
    table = pd.DataFrame({"source": "marin_202603", "condition": "", "experiment": "marin", "tokens": D, "params": N, "loss": L,
                          "outlier": False})
    others = table.head(2).assign(source="epochai_chinchilla"), table.head(3).assign(outlier=True, loss=9.0)
    written(folder, "data/isoflops/transform/isoflops.csv", pd.concat([table, *others]))


def gemstones(folder):
    N, D, L = runs()
    table = pd.DataFrame({"run_name": [f"r{n:.0f}" for n in N], "params_active_precise": N, "width": 64, "tokens": D, "final_loss": L})
    written(folder, "wandb_dfs/wandb_df_for_fitting_cool_end.jsonl", table)
    written(folder, "LICENSE", "MIT License\n\nCopyright")


def over_training(folder):
    for k, (N, D, L) in enumerate(zip(*runs())):
        written(folder, f"exp_data/models/m{k}.json", {
            "dataset_name": "c4", "hyperparameters": {"params": N, "params_no_embed": 0.7 * N, "tokens": D},
            "results": [{"loss": 9.0, "val_data": ["other"]}, {"loss": L, "val_data": ["x/c4_val/0.tar"]}],
        })  # fmt: skip


def ladder(folder):
    for size, N in (("190M", 19e7), ("370M", 37e7), ("760M", 76e7), ("1B", 13e8)):
        for times in (0.5, 1, 2, 10):
            D = 20 * times * N
            L = E + A / N**ALPHA + B / D**BETA
            table = pd.DataFrame({"_step": [1, 2, 3], "eval/c4_en-validation/CrossEntropyLoss": [9.0, L, None],
                                  "throughput/total_tokens": [1.0, D, D]})
            written(folder, f"src/scripts/paper/data/ladder-runs/{size}-{times:g}xC.csv", table)
    written(folder, "src/scripts/paper/data/ladder-runs/peteish7_eval_full.csv", pd.DataFrame({"_step": [1], "x": [2]}))


def loss_to_loss(folder):
    N, D, L = runs()
    written(folder, "data/sweep.csv", pd.DataFrame({"data": "starcoder", "params": N, "tokens": D, "val_loss": L}))
    big = {"N": 3e9, "D": 6e10}
    L = E + A / big["N"] ** ALPHA + B / big["D"] ** BETA
    table = pd.DataFrame({"data": ["starcoder"], "params": [big["N"]], "tokens": [big["D"]], "val_loss": [L]})
    written(folder, "data/extrapolation.csv", table)


def step_law(folder):
    N, D, L = runs()
    table = pd.DataFrame({"N": N, "D": D, "smooth loss": L, "lr": 1e-3})
    written(folder, "data/dense_lr_bs_loss.csv", pd.concat([table, table.assign(**{"smooth loss": 1.2 * L, "lr": 1e-2})]))


def misfitting(folder):
    N, D, L = runs()
    table = pd.DataFrame({"loss": L, "N": N, "N_no_emb": 0.5 * N, "D": D, "peak_lr": 1e-3})
    written(folder, "data/scaling_results_last_ckpt_only.csv", table)


def notebook(folder):
    sizes = {"7m": 7e6, "14m": 1.4e7, "146m": 1.465e8, "1b1": 1.0963e9, "2b8": 2.81e9}
    names = {}
    for size, N in sizes.items():
        for tokens, D in (("1b5", 1.5e9), ("4b", 4e9), ("12b", 12e9), ("55b", 55e9)):
            for different, U in (("100m", 1e8), ("1b5", 1.5e9), ("12b", 12e9)):
                if U <= D:
                    names[f"{size}{tokens}{different}"] = float(E + A / N**ALPHA + B / effective_tokens(D, U, 5.0) ** BETA)
    names["7m4b100mdedup"], names["7m4b4b"], names["2b855b55bc4seed2"] = 9.0, 0, float(E + A / 2.81e9**ALPHA + B / 55e9**BETA)
    cell = f"# losses\nNAMES_TO_VAL_LOSSES = {names!r}\nPARAMS_MAP = {sizes!r}\n"
    cells = [{"cell_type": "code", "source": [source]} for source in (cell.replace("4b", "5b"), "!wget x", cell)]
    written(folder, "utils/parametric_fit.ipynb", {"cells": [{"cell_type": "markdown", "source": ["NAMES_TO_VAL_LOSSES ="]}, *cells]})


def routing(folder):
    rows = []
    for k, N in enumerate(np.geomspace(1e7, 1e9, 6)):
        for step in (0, 10_000, 249_000):
            rows.append({"hyper_id": k, "step": step, "router_type": "Dense", "flop_increase": 1.0, "dense_parameter_count": N,
                         "loss_validation": 2 + A / N**ALPHA + 5 / (step + 1)})
    rows.append({**rows[-1], "hyper_id": 99, "router_type": "Hash"})
    written(folder, "data/curves.csv.gz", pd.DataFrame(rows))   # a reader takes what is inside, compressed or not


def nanochat(folder):
    lines = []
    for style, a in (("Kaplan", 0.54), ("Chinchilla", 0.37)):
        lines += [f"{style}-style (all of {style})", "", "FLOPs        Eff Params      Tokens", "---"]
        lines += [f"{C:.0e}        {round(1e8 * (C / 1e18) ** a):,}     {round(1e9):,}   11.2       0.8972"
                  for C in (1e18, 2e18, 5e18, 1e19)]
    written(folder, "dev/LOG.md", "\n".join(["# log", *lines, "Swept FLOPs 1e18..1e19"]))


def regmix(folder):
    rng = np.random.default_rng(0)
    h = rng.dirichlet([1, 1, 1], 40).round(3)
    weights = {f"train_the_pile_{n}": h[:, k] for k, n in enumerate("abc")}
    written(folder, "data/train_mixture_1m.csv", pd.DataFrame({"index": range(40), **weights}))
    written(folder, "data/train_pile_loss_1m.csv", pd.DataFrame({"index": range(40), "metric/the_pile_pile_cc_val_loss": 5 + h[:, 0]}))


MAKERS = {
    "chinchilla": chinchilla, "isoflops": isoflops, "gemstones": gemstones, "over-training": over_training, "ladder": ladder,
    "loss-to-loss": loss_to_loss, "step-law": step_law, "misfitting": misfitting, "data-constrained": notebook, "repetition": notebook,
    "routing": routing, "nanochat": nanochat, "regmix": regmix,
}  # fmt: skip


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Every layout as a clone in one folder, fitted."""
    folder = tmp_path_factory.mktemp("clones")
    for name, make in MAKERS.items():
        if name != "repetition":        # the same clone as data-constrained
            make(folder / name)
    return {record["name"]: record for record in fit_folder(folder, bootstrap=4)}


def test_every_entry_has_a_layout_here_and_is_recognised_alone(fitted):
    assert MAKERS.keys() == BY_NAME.keys() == fitted.keys()
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    assert all("," not in name for name in BY_NAME), "--only separates names by commas"


@pytest.mark.parametrize("name", [name for name, entry in BY_NAME.items() if entry.law == "eq1" and name != "routing"])
def test_the_law_comes_back(fitted, name):
    record = fitted[name]
    (fit,) = record["fits"]
    assert record["refused"] is None and fit["status"] != "unidentified"
    for key, truth in (("alpha", ALPHA), ("beta", BETA), ("E", E)):
        value = fit["values"][key]
        assert value["value"] == pytest.approx(truth, rel=0.12), (key, value)
    if fit["runs"] >= 15:        # a smaller table leaves too few to predict from
        assert [one["what"] for one in fit["hold_outs"]] == ["the largest size", "the largest budget"]


def test_what_a_reader_leaves_out(fitted):
    assert fitted["chinchilla"]["runs"] == 36 - 5                   # the five highest losses
    assert fitted["isoflops"]["runs"] == 25                         # neither others' runs nor marked ones
    assert fitted["step-law"]["runs"] == 25                         # the best rate of two
    assert fitted["data-constrained"]["runs"] < fitted["repetition"]["runs"]


def test_runs_beyond_are_predicted_and_not_fitted(fitted):
    (fit,) = fitted["loss-to-loss"]["fits"]
    assert fit["runs"] == 25 and fit["beyond"]["runs"] == 1 and fit["beyond"]["inside"] == 1
    assert abs(fit["beyond"]["mean error"]) < 0.02
    published = fit["published"][0]["values"]
    assert published["a"] == pytest.approx(published["beta"] / (published["alpha"] + published["beta"]))


def test_runs_of_one_course_are_clusters_and_countings_are_compared(fitted):
    (fit,) = fitted["gemstones"]["fits"]
    assert fit["clusters"] == 5
    rows = fitted["over-training"]["counting"]
    assert [row["counted"] for row in rows] == ["all parameters", "without embeddings"]
    assert rows[0]["a"] == pytest.approx(rows[1]["a"], abs=0.01), "a factor of N changes no exponent"
    assert rows[1]["share"] == pytest.approx(0.7)


def test_what_cannot_be_known_is_said(fitted):
    (fit,) = fitted["routing"]["fits"]
    assert fit["status"] == "unidentified" and "D is constant" in " ".join(fit["warnings"])
    assert fitted["regmix"]["refused"] and not fitted["regmix"]["fits"]


def test_repeated_tokens(fitted):
    (fit,) = fitted["repetition"]["fits"]
    assert fit["values"]["R"]["value"] == pytest.approx(5.0, rel=0.05)
    assert [one["values"]["R"] for one in fit["published"]] == [15.387756, 2.9157212]


def test_published_optima_give_a_line(fitted):
    values = {fit["group"]: fit["values"]["a"] for fit in fitted["nanochat"]["fits"]}
    assert values["all of Kaplan"]["value"] == pytest.approx(0.54, abs=1e-4)
    assert values["all of Chinchilla"]["low"] <= 0.37 <= values["all of Chinchilla"]["high"] + 1e-6


@pytest.mark.parametrize(("name", "size", "tokens", "different"), [
    ("2b855b11bc4seed1", "2b8", 55e9, 11e9), ("7m100m100m", "7m", 1e8, 1e8), ("2b84b84b8", "2b8", 4.8e9, 4.8e9),
    ("1b11b51b5", "1b1", 1.5e9, 1.5e9),
    ("2b855b1b25", "2b8", 55e9, 1.25e9), ("14m12b12b", "14m", 12e9, 12e9), ("2b84b284bopt", "2b8", 4e9, 284e9),
])  # fmt: skip
def test_names_of_runs(name, size, tokens, different):
    sizes = ("7m", "14m", "1b1", "2b8")
    if name.startswith("2b84b284"):
        with pytest.raises(ValueError, match="reads as 0 combinations"):
            readers.run_of("2b84bx", sizes)
    assert readers.run_of(name, sizes) == (size, tokens, different)


def test_the_commit_of_a_clone_alone(tmp_path):
    gemstones(tmp_path / "clone")
    assert commit(tmp_path / "clone") is None and license_of(tmp_path / "clone") == "MIT"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@y"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], cwd=tmp_path / "clone", check=True)
    found = commit(tmp_path / "clone")
    assert len(found) == 40 and commit(tmp_path / "clone" / "wandb_dfs") is None, "a folder inside a clone is no clone"
    assert license_of(tmp_path) is None


def test_the_command(tmp_path, capsys):
    nanochat(tmp_path / "one")
    assert main(["atlas", "list"]) == 0
    assert "epoch-research/analyzing-chinchilla" in capsys.readouterr().out
    out = tmp_path / "atlas.json"
    out.write_text(json.dumps({"tables": [{"name": "gemstones"}, {"name": "nanochat", "old": True}]}))
    assert main(["atlas", "fit", str(tmp_path / "one"), "--json", str(out)]) == 0
    assert "no commit" in capsys.readouterr().out
    tables = json.loads(out.read_text())["tables"]
    assert [one["name"] for one in tables] == ["gemstones", "nanochat"] and "old" not in tables[1]
    assert main(["atlas", "fit", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["atlas", "fit", str(tmp_path / "empty")]) == 2
    assert "no clone that the atlas knows" in capsys.readouterr().err
    assert main(["atlas", "fit", str(tmp_path / "one"), "--only", "moon"]) == 2
    assert "no table 'moon'" in capsys.readouterr().err


def test_a_repository_that_changed_is_refused_in_one_line(tmp_path):
    written(tmp_path, "data/dense_lr_bs_loss.csv", pd.DataFrame({"N": [1.0], "tokens": [2.0]}))
    (record,) = fit_folder(tmp_path)
    assert "no column D, smooth loss in dense_lr_bs_loss.csv" in record["refused"] and not record["fits"]


def test_results_are_read_as_tables(fitted):
    records = list(fitted.values())
    table = results.exponents(records)
    assert not table.duplicated(["row", "quantity"]).any()
    routing_a = table.query("row == 'Routing, dense' and quantity == 'a'").iloc[0]
    assert not routing_a["known"] and np.isnan(routing_a["low"]), "a is not known where beta is not"
    given = results.published(records).query("row == 'Chinchilla' and quantity == 'alpha'")
    assert list(given["published"]) == [0.34, 0.34781]
    assert given["inside"].iloc[0] == (given["low"].iloc[0] <= 0.34 <= given["high"].iloc[0])
    assert (results.held_out(records)["what"] == "runs beyond the table").sum() == 1
    assert len(results.counting(records)) == 2 * 3
    assert results.refused(records).keys() == {"Routing, dense models", "RegMix, 1M models"}
    assert len(results.sources(records)) == len(records)


def test_committed_results_are_of_the_entries_there_are_and_hold_no_run():
    records = results.load(Path(__file__).parents[2] / "benchmarks" / "atlas.json")
    assert [record["name"] for record in records] == [entry.name for entry in ENTRIES], "run the atlas again: an entry came or went"
    for record in records:
        assert len(record["commit"]) == 40 and record["repository"] == BY_NAME[record["name"]].repository
        for fit in record["fits"]:
            assert fit["runs"] <= record["runs"] and all(one["what"] for one in fit.get("hold_outs", []))
            assert len(fit.get("outliers", [])) < 0.2 * fit["runs"]
