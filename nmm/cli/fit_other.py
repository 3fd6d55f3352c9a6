"""`python -m nmm fit RUNS --law NAME`: a law besides Eq. 1, printed and as JSON."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from nmm.laws.use.other import LawFit, PositionFit

LAWS = ("eq1", "sparse", "mixture", "joint", "repetition", "compression", "position")
HELP = """laws, and the columns that each needs besides L, the loss in nats/token:
  eq1          N, D                 parameters and training tokens
  sparse       N, D, S              active parameters; S: share of inactive experts
  mixture      N, D, h_NAME ..      weights of the domains; they move the floor
  joint        N, D, h_NAME ..      the same; they move A and B too
  repetition   N, D, U              U: different tokens that the D were read from
  compression  N, T_NAME ..         bytes of each modality, with --bytes-per-token; L in bits per byte
  position     C, positions, variant   two variants' losses by range of positions
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that choose the law."""
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, HELP
    parser.add_argument("--law", default="eq1", choices=LAWS, help="which law (default: eq1); see below")
    parser.add_argument("--columns", default="", metavar="S=NAME,..", help="columns of other quantities, where they are called otherwise")
    parser.add_argument("--bytes-per-token", default="", metavar="text=4.2,..", help="of each modality's tokenizer, for compression")


def pairs(text: str, option: str) -> dict[str, str]:
    """`a=b,c=d` as a dictionary.

    Raises:
        ValueError: naming the option and the part that is no pair.
    """
    found = {}
    for part in filter(None, text.split(",")):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not (equals and name and value):
            raise ValueError(f"{option} takes NAME=VALUE, separated by commas: got {part!r}")
        found[name] = value
    return found


def fitted(args: argparse.Namespace, table: pd.DataFrame, by: tuple[str, ...], cluster: tuple[str, ...]) -> tuple[list, pd.DataFrame]:
    """The law of the options on a table: fits and rows left out."""
    from nmm.laws.use.other import NEEDS, fit_law_table

    renamed = {name: getattr(args, name) for name in ("N", "D", "L") if name in NEEDS[args.law] and getattr(args, name) != name}
    sizes = {}
    for name, value in pairs(args.bytes_per_token, "--bytes-per-token").items():
        try:
            sizes[name] = float(value)
        except ValueError:
            sizes[name] = 0.0
        if not 0 < sizes[name] < float("inf"):
            raise ValueError(f"--bytes-per-token takes positive numbers: got {name}={value}")
    return fit_law_table(
        args.law, table, {**renamed, **pairs(args.columns, "--columns")}, by, args.delta, args.loss, args.bootstrap, args.seed, cluster,
        args.level, sizes,
    )  # fmt: skip


def report(group: LawFit | PositionFit, level: float) -> str:
    """One group as text."""
    if not hasattr(group, "fit"):
        return _positions(group)
    fit = group.fit
    lines = [
        f"{group.name}: law {fit.law.name} ({fit.law.source}) on {fit.n_runs} runs",
        f"  status {fit.status}; R2 {fit.r2:.4f}; {fit.loss.name} objective {fit.objective:.6e}; "
        f"{fit.starts.agree} of {fit.starts.count} starts agree",
        f"  {'':16}{'value':>12}{f'{100 * level:g} % interval':>28}{'bootstrap s.e.':>18}",
    ]
    for name, row in group.table(level).iterrows():
        if name in fit.unidentified:
            lines.append(f"  {name:16}{row['value']:>12.5g}{'not identified':>28}")
        else:
            interval = f"{row['low']:.4g} to {row['high']:.4g}"
            lines.append(f"  {name:16}{row['value']:>12.5g}{interval:>28}{row['se']:>18.3g}")
    lines += [f"  ! {warning}" for warning in fit.warnings]
    return "\n".join(lines) + "\n"


def _positions(group: PositionFit) -> str:
    """Two variants by range of positions."""
    first, second = group.variants
    at = f"{100 * group.level:g} % interval"
    lines = [
        f"{group.name}: L = K C^c by range of positions, {second} against {first}",
        f"  {'positions':16}{f'c, {first}':>14}{f'c, {second}':>14}{'difference of c':>17}{at:>24}{'ratio at the end':>18}{at:>22}",
    ]
    for name, row in group.values.iterrows():
        ends, ratio = f"{row['c_low']:+.5f} to {row['c_high']:+.5f}", f"{row['ratio_low']:.5f} to {row['ratio_high']:.5f}"
        lines.append(f"  {name:16}{row['c_first']:>14.5f}{row['c_second']:>14.5f}{row['c_difference']:>+17.5f}{ends:>24}"
                     f"{row['ratio']:>18.5f}{ratio:>22}")
    return "\n".join(lines) + "\n"
