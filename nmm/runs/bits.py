"""What trained models make of a byte, beside what a token stands for."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from nmm.data.corpus.factors import Factor
from nmm.record import RunRecord
from nmm.runs.table import with_records

MEASURES = {"raw": "raw bytes", "packed": "after zstd", "model": "as a model writes it"}        # column [bytes/token] -> in words


def by_modality(record: RunRecord) -> dict[tuple[str, str], float]:
    """Bits per byte of one run by data type and modality; of a model that predicts text alone, of its text."""
    whole = {(kind, "text"): bits for kind, bits in (record.bits_per_byte or {}).items()}
    return whole | {(kind, name): bits for kind, by in (record.bits_per_byte_by_modality or {}).items() for name, bits in by.items()}


def best(folder: str | Path, corpus: str) -> dict[tuple[str, str], float]:
    """The lowest bits per byte that any finished run of a folder on one corpus reached, by data type and modality.

    Args:
        corpus: hash of the corpus.
    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no run of this corpus says anything of bytes.
    """
    found: dict[tuple[str, str], float] = {}
    seen = set()
    for row, record in with_records(folder):
        seen.add(row["corpus"])
        if row["corpus"] == corpus:
            for key, bits in by_modality(record).items():
                found[key] = min(bits, found.get(key, np.inf))
    if not found:
        raise ValueError(f"no run in {folder} tells bits per byte on corpus {corpus}; it has runs of {', '.join(sorted(seen)) or 'none'}")
    return found


def beside(factors: Iterable[Factor], bits: Mapping[tuple[str, str], float] | None = None) -> pd.DataFrame:
    """Factors as a table, with what a model makes of the same tokens: `model`, its bits per byte times raw bytes, in bytes.

    Args:
        bits: of `best`, told of the corpus's own tokenizer alone; None: nothing trained.
    """
    rows = [{
        "source": each.source, "modality": each.modality, "tokenizer": each.tokenizer, "own": each.own, "raw": each.raw,
        "packed": each.packed, "ratio": each.ratio,
        "bits": (bits or {}).get((each.kind, each.modality), np.nan) if each.own else np.nan,
    } for each in factors]
    table = pd.DataFrame(rows)
    return table.assign(model=table["raw"] * table["bits"] / 8)


def written(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `beside` with columns and numbers for people."""
    def words(column: str, form: str) -> list[str]:
        return [form.format(value) if np.isfinite(value) else "-" for value in table[column]]

    shown = {
        "source": table["source"], "modality": table["modality"], "tokenizer": table["tokenizer"],
        "raw B/token": words("raw", "{:.2f}"), "zstd B/token": words("packed", "{:.2f}"), "raw/zstd": words("ratio", "{:.1f}"),
        "model bits/B": words("bits", "{:.4f}"), "model B/token": words("model", "{:.3f}"),
    }
    return pd.DataFrame(shown)


def per_nat(folder: str | Path) -> dict[tuple[str, str], float]:
    """Bits per byte that one nat per token is, by data type and modality: the same for all runs of a study, read off one of them.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no finished run has losses by modality.
    """
    for _, record in with_records(folder):
        bits = record.bits_per_byte_by_modality or {}
        if bits:
            return {(kind, name): by[name] / record.losses_by_modality[kind][name] for kind, by in bits.items() for name in by}
    raise ValueError(f"no finished run in {folder} has bits per byte by modality: train a study of codes")
