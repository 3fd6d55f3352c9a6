"""What finetuned models answer, beside the models that they come from. A row a run, kind of question and sort of image."""

from pathlib import Path

import pandas as pd

from nmm.runs.table import load, with_records

SHARED = ["run", "study", "arm", "arch", "size", "seed", "N", "n_total", "D", "C", "start"]
MEASURES = ["asked", "exact", "chosen", "nats", "nats_of_choices"]
BEFORE = {"arm": "arm_before", "budget": "budget_before", "C": "C_before", "L": "L_before", "cluster": "trunk",
          "L_caption": "L_caption_before"}


def answered(folder: str | Path) -> pd.DataFrame:
    """What every finetuned run of a folder answered, and what the run that it started from had learned.

    Columns:
        run, study, arm, arch, size, seed, N, n_total, D, C, start: as `nmm.runs.load` has them
        L_caption: held-out captions after finetuning [nats per target token]
        arm_before, budget_before, C_before, L_before, L_caption_before: of the run before; trunk: what it shared its luck with
        sort: kind of question; pairs: whether colours and shapes of its image were shown together, or withheld [text]
        asked, exact, chosen, nats, nats_of_choices: as `RunRecord.answered`
    Raises:
        FileNotFoundError: there is no such folder.
    """
    table = _asked(folder, [*SHARED, "L_caption"], finetuned=True)
    before = load(folder)[["run", *BEFORE]].rename(columns={"run": "start", **BEFORE})
    return table.merge(before, on="start", how="left")


def before_finetuning(folder: str | Path) -> pd.DataFrame:
    """The same questions put to the models before they are finetuned: columns run, arm, sort, pairs and the measures."""
    return _asked(folder, ["run", "arm"], finetuned=False)


def _asked(folder: str | Path, own: list[str], finetuned: bool) -> pd.DataFrame:
    """What models were asked at their end, finetuned ones or the others, beside columns of their own."""
    rows = [
        {**row[own], "sort": sort, "pairs": pairs, **found}
        for row, record in with_records(folder) if (record.config.objective == "answers") == finetuned
        for sort, by_pairs in (record.answered or {}).items() for pairs, found in by_pairs.items()
    ]
    return pd.DataFrame(rows, columns=[*own, "sort", "pairs", *MEASURES])


def quoted(folder: str | Path) -> pd.DataFrame:
    """What each finetuned run said to the first questions of each kind: columns run, arm, size, seed, start, sort, pairs, number, said."""
    rows = [
        {**row[["run", "arm", "size", "seed", "start"]], "sort": sort, "pairs": pairs, "number": number, "said": word}
        for row, record in with_records(folder) if record.config.objective == "answers"
        for sort, by_pairs in (record.quoted or {}).items() for pairs, words in by_pairs.items() for number, word in enumerate(words)
    ]
    return pd.DataFrame(rows, columns=["run", "arm", "size", "seed", "start", "sort", "pairs", "number", "said"])


def by_run(table: pd.DataFrame) -> pd.DataFrame:
    """A row a finetuned run: means over kinds of question of what `answered` gives.

    Columns: those of the run and of the run before; accuracy, likeliest of the possible answers, and nats of the true one among them,
    about shown pairs; accuracy_withheld and nats_withheld about withheld ones.
    """
    means = table.groupby(["run", "pairs"])[["chosen", "nats_of_choices"]].mean().unstack("pairs")
    wide = pd.DataFrame({
        f"{name}{ending}": means[column, pairs] for name, column in (("accuracy", "chosen"), ("nats", "nats_of_choices"))
        for ending, pairs in (("", "shown"), ("_withheld", "withheld"))
    })
    own = table.drop(columns=["sort", "pairs", *MEASURES]).drop_duplicates("run")
    return own.merge(wide.reset_index(), on="run")
