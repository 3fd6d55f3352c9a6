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
    paper = {row["size"]: row for row in rows if row["study"] == "paper"}
    assert list(paper) == ["275M", "464M", "932M", "1.63B", "2.28B", "3.35B"]
    assert paper["932M"]["N"] == paper["932M"]["n_total"] == 931_676_160
    assert 1.9 < paper["932M"]["flops_per_token"] / (3 * 931_676_160) < 2.1, "6 N, less the embedding and more the scores"


def test_bad_input_is_one_line_with_status_2(capsys):
    assert main(["sweep", "--preset", "desktop"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "unknown preset 'desktop'" in error and "laptop" in error
