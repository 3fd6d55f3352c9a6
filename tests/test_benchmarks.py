"""The benchmarks of models at toy sizes on a CPU: that they run and that what they report holds together, not how fast."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
SECTIONS = ("kernels", "early-932M", "moe-932M", "early-275M", "moe-275M", "late-1B")


def gpu(tmp_path: Path, *arguments: str, timeout: float = 590) -> tuple[int, dict, str]:
    """Exit status, JSON and what was printed."""
    out = tmp_path / "gpu.json"
    command = [sys.executable, FOLDER / "gpu.py", "--seconds", "0.01", "--json", out, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=tmp_path)
    return done.returncode, json.loads(out.read_text()) if out.exists() else {}, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_section_runs(tmp_path):
    code, results, said = gpu(tmp_path, "--device", "cpu", "--tiny", "--here")
    assert code == 0, said
    assert set(results) == {"environment", *SECTIONS}
    kernels = results["kernels"]
    assert kernels["matrix_tflops"] > 0 and kernels["attention"]["largest_difference"] < 0.05
    assert set(kernels["attention"]["ms"]) == {"flex", "sdpa_dense_mask", "sdpa_causal", "flex_mask"}
    if hasattr(torch.nn.functional, "grouped_mm"):
        assert kernels["experts"]["largest_difference"] < 0.1
    for name in SECTIONS[1:]:
        ours = results[name]["ours"]
        assert ours["last_loss"] < ours["first_loss"], name
        assert ours["mfu"] > 0 and ours["tokens_per_second"] == pytest.approx(1e3 * ours["tokens"] / ours["step_ms"])
        assert 0.3 < ours["image_share"] < 0.9, "the study's mixture is about half images"
        assert name == "late-1B" or "transformers" in results[name]


def test_a_section_in_a_process_of_its_own_and_the_targets(tmp_path):
    code, results, said = gpu(tmp_path, "--device", "cpu", "--tiny", "--sections", "kernels")
    assert code == 0, said
    assert results["kernels"]["experts"]["ms"]["loop"] > 0
    rows = results["targets"]["rows"]
    assert len(rows) == 7 and all(row["holds"] is None for row in rows), "nothing of them was measured"
    assert said.count("not measured") == 7


def test_sections_for_which_no_time_is_left_are_named(tmp_path):
    code, results, _ = gpu(tmp_path, "--device", "cpu", "--tiny", "--minutes", "0.1", "--sections", "early-275M,late-1B")
    assert code == 1
    assert all(results[name] == {"error": "not started: no time left"} for name in ("early-275M", "late-1B"))


@pytest.mark.parametrize(("arguments", "message"), [
    (["--sections", "kernel", "--device", "cpu"], "no section kernel: there are kernels, early-932M"),
    pytest.param(["--sections", "kernels"], "there is no CUDA device", marks=pytest.mark.skipif(
        torch.cuda.is_available(), reason="there is a CUDA device")),
])
def test_what_cannot_be_run_is_said(tmp_path, arguments, message):
    code, results, said = gpu(tmp_path, *arguments)
    assert code == 2 and message in said and not results


def test_synthetic_batches_have_the_layout(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    from synthetic import synthetic_batch

    batch = synthetic_batch(12, context=1024, image_tokens=256, vocab_size=100, patch_dim=4, device=torch.device("cpu"))
    spans, documents, labels = batch["span_ids"], batch["document_ids"], batch["labels"]
    assert (documents >= 0).all(), "sequences are full"
    for row in range(12):
        for image in range(int(spans[row].max()) + 1):
            assert (at := (spans[row] == image).nonzero().squeeze(1)).numel() == 256 and at[-1] - at[0] == 255
            assert len(documents[row, at].unique()) == 1 and spans[row, at[0] - 1] == -1
    predicted = labels[:, :-1] >= 0
    assert torch.equal(predicted, (spans[:, 1:] < 0) & (documents[:, 1:] == documents[:, :-1]))
    assert (labels[:, -1] < 0).all() and (batch["input_ids"][spans >= 0] == 0).all()
    assert batch["patches"].shape[1] == (spans >= 0).sum(1).max()


def architectures(tmp_path: Path, *arguments: str, **environment: str) -> dict:
    out = tmp_path / "out.json"
    command = [sys.executable, FOLDER / "architectures.py", "--steps", "2", "--repeats", "1", "--json", out, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


def test_architectures_side_by_side(tmp_path):
    results = architectures(tmp_path, "--widths", "32", "--comparisons", "moe,late")
    moe, late = results["moe"]["32"], results["late"]["32"]
    assert moe["n_total"] > 1.5 * moe["N"] and moe["time_ratio"] > 0
    assert 0.9 < late["flops_ratio"] < 1.1 and late["early_width"] >= 32, "an encoder costs: equal C is no narrower decoder"
    assert late["time_ratio_at_equal_C"] == pytest.approx(late["time_ratio"] / late["flops_ratio"])
    assert all(0.3 < late[name] < 3 for name in ("activation_ratio", "state_ratio", "exact_flops_ratio")), late


def test_a_missing_compiler_is_said(tmp_path):
    results = architectures(tmp_path, "--widths", "32", "--comparisons", "compile", PATH="", CXX="")
    assert "needs a C++ compiler" in results["compile"]["32"]


def test_contexts_side_by_side(tmp_path):
    out = tmp_path / "out.json"
    command = [sys.executable, FOLDER / "contexts.py", "--contexts", "64,256", "--width", "16", "--repeats", "1", "--backends", "sdpa",
               "--json", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())
    assert set(results["contexts"]) == {"64", "256"} and results["crossing"] in (None, 64, 256)
    for found in results["contexts"].values():
        assert set(found["seconds"]) == set(found["bytes"]) == {"full", "block-sparse", "block-sparse, sdpa"}
        assert all(value > 0 for by in (found["seconds"], found["bytes"]) for value in by.values())
        assert found["flops_per_token"]["block-sparse"] == found["flops_per_token"]["block-sparse, sdpa"]
    ratios = [found["flops_ratio"] for found in results["contexts"].values()]
    assert 1 > ratios[0] > ratios[1], "the longer the context, the more block-sparse attention saves"
    assert results["contexts"]["256"]["bytes"]["full"] > results["contexts"]["64"]["bytes"]["full"]


def test_contexts_that_have_no_blocks_are_refused():
    done = subprocess.run([sys.executable, FOLDER / "contexts.py", "--contexts", "100"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "contexts must be multiples of 16: got 100" in done.stderr
