"""The command line: what there is, and bad input as one line."""

import json

import pytest

from nmm.cli import COMMANDS, main


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    assert COMMANDS[name] in capsys.readouterr().out


def test_models_lists_the_paper_and_the_laptop(capsys):
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    paper = {(row["arch"], row["size"]): row for row in rows if row["study"] == "paper"}
    assert [size for arch, size in paper if arch == "early"] == ["275M", "464M", "932M", "1.63B", "2.28B", "3.35B"]
    early, late, sparse = paper["early", "932M"], paper["late", "1B"], paper["moe", "932M"]
    assert early["N"] == early["n_active"] == early["n_total"] == sparse["N"] == 931_676_160
    assert early["N_v"] == 0 and early["d_vision"] is None and early["n_experts"] is None
    assert 1.9 < early["flops_per_text_token"] / (3 * 931_676_160) < 2.1, "6 N, less the embedding and more the scores"
    assert late["N"] + late["N_v"] == late["n_total"] and late["flops_per_image_token"] > late["flops_per_text_token"]
    assert sparse["n_total"] > 4.5e9 and sparse["flops_per_text_token"] / early["flops_per_text_token"] < 1.001


def test_bad_input_is_one_line_with_status_2(capsys):
    assert main(["sweep", "--preset", "desktop"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "unknown preset 'desktop'" in error and "laptop" in error
