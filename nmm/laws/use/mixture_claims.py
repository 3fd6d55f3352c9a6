"""What the study claims of mixtures, measured: claims 10 to 13 as findings, with what is missing for each said beside it.

Fewer than `paired.MIN_SEEDS` seeds decide nothing, nor do fewer than all mixtures; a finding then stands with its interval, unresolved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nmm.claims import Finding
from nmm.laws.core.fitting import Fit
from nmm.laws.forms.worth import fit_worth, spanned
from nmm.laws.use import mixture_runs
from nmm.laws.use.mixture_runs import MEAN, WORDS, Laws, Planned, Shares, middle
from nmm.laws.use.paired import MIN_SEEDS

if TYPE_CHECKING:
    import pandas as pd

ABOUT = 10.0            # per cent by which exponents may differ and still be "similar": ours
# of the claim in App. B.2: whose loss, tokens of what, and the sign of their worth
HELP = (("interleaved", "text", 1), ("caption", "text", -1), ("caption", "interleaved", -1), ("interleaved", "caption", -1))
POINTS = 10             # of a share, per which slopes are told


def of_study(
    table: pd.DataFrame, shares: Shares, planned: Planned, sees: Sequence[bool], columns: Mapping[str, str], n: int = 200, seed: int = 0,
) -> list[Finding]:
    """`findings` of a study's finished runs of one arm, from those mixtures that are whole.

    Args:
        table: runs of mixtures that `shares` knows; planned, sees: as for `mixture_runs.of_whole`.
        columns: loss -> its column: the data types, and `MEAN`.
    """
    done = mixture_runs.of_whole(table, planned, sees)
    if not len(done):
        return []
    types = {kind: column for kind, column in columns.items() if kind != MEAN}
    h = mixture_runs.weights(done, shares, list(types))
    worth = {}
    if spanned(h):
        worth = {kind: fit_worth(done["N"], done["D"], h, done[column], kind, list(types)) for kind, column in types.items()}
    return findings(done, mixture_runs.laws(done, columns, {}, n, seed), shares, types, worth, n, seed)


def findings(
    table: pd.DataFrame, laws: Laws, shares: Shares, columns: Mapping[str, str], worth: Mapping[str, Fit], n: int = 200, seed: int = 0,
) -> list[Finding]:
    """All that runs of whole mixtures say of claims 10 to 13; of a claim that nothing can be said of, nothing.

    Args:
        table: runs of whole mixtures.
        laws: of the same runs.
        columns: data type -> column of its loss.
        worth: data type -> what tokens of others are worth to it; empty where it cannot be told.
    """
    here = [name for name in shares if name in set(table["mixture"])]
    if not here:
        return []
    seeds = int(table.groupby("mixture")["seed"].nunique().min())
    enough = seeds >= MIN_SEEDS and len(here) == len(shares)
    lacks = [f"{seeds} seed{'s' * (seeds > 1)} of each mixture"] if seeds < MIN_SEEDS else []
    lacks += [f"{len(here)} of {len(shares)} mixtures"] if len(here) < len(shares) else []
    so_far = enough, ", ".join(lacks)
    return [*_similar(laws, here, *so_far), *_captions(laws, here, shares, *so_far), *_own(laws, here, shares, columns, *so_far),
            *_others(table, worth, *so_far, n, seed)]


def _found(
    claim: int, quantity: str, value: float, draws: np.ndarray, claimed: tuple[float, float], enough: bool, *beside: str,
) -> list[Finding]:
    """A finding from draws, where there are some."""
    found = middle(value, draws)
    if found is None:
        return []
    return [Finding(claim=claim, quantity=quantity, **vars(found), claimed=claimed, enough=enough, beside="; ".join(filter(None, beside)))]


def _similar(laws: Laws, here: list[str], enough: bool, beside: str) -> list[Finding]:
    """Claim 10: the frontiers' exponents of the mixtures, each beside the first's."""
    known = [name for name in here if ("c", name, MEAN) in laws.values]
    found = []
    for name in known[1:]:
        def ratio(values, name=name):
            return 100 * (values["c", name, MEAN] / values["c", known[0], MEAN] - 1)
        words = f"c of {name} over c of {known[0]}, less one [%]"
        found += _found(10, words, ratio(laws.values), ratio(laws.draws), (-ABOUT, ABOUT), enough,
                        "the range is ours; floors bend frontiers", beside)
    return found


def _captions(laws: Laws, here: list[str], shares: Shares, enough: bool, beside: str) -> list[Finding]:
    """Claim 11: a of the mixtures with more captions than the mean of all less that of those with fewer."""
    known = [name for name in here if ("a", name, MEAN) in laws.values]
    middle_share = np.mean([each["caption"] for each in shares.values()])
    many, few = ([name for name in known if (shares[name]["caption"] > middle_share) == more] for more in (True, False))
    if not many or not few:
        return []

    def contrast(values):
        more, less = (np.mean([values["a", name, MEAN] for name in names], axis=0) for names in (many, few))
        return more - less

    doubtful = [f"the fit of {name} is {laws.fits[name][MEAN].status}" for name in known if laws.fits[name][MEAN].status != "ok"]
    words = f"a of {', '.join(many)} less a of {', '.join(few)} (b is 1 - a)"
    return _found(11, words, float(contrast(laws.values)), contrast(laws.draws), (-np.inf, 0), enough, "by Eq. 1", *doubtful, beside)


def _own(
    laws: Laws, here: list[str], shares: Shares, columns: Mapping[str, str], enough: bool, beside: str,
) -> list[Finding]:
    """Claim 12: how the exponent of a data type's frontier, without its sign, changes with the type's share."""
    found = []
    for kind in columns:
        known = [name for name in here if ("c", name, kind) in laws.values]
        share = np.array([100 * shares[name][kind] / POINTS for name in known])
        if len(np.unique(share.round(9))) < 2:
            continue

        def slope(values, kind=kind, known=known, share=share):
            heights = -np.array([values["c", name, kind] for name in known])
            centred = share - share.mean()
            return 1000 * np.tensordot(centred, heights, axes=1) / np.sum(centred**2)

        claimed = (-np.inf, 1.0) if kind == "text" else (0.0, np.inf)
        found += _found(12, f"exponent of {WORDS[kind]} on their own share, per {POINTS} points [thousandths]", float(slope(laws.values)),
                        slope(laws.draws), claimed, enough, "the range of text is ours" if kind == "text" else "",
                        "other shares move too, and how near a loss is to its floor", beside)
    return found


def _others(table: pd.DataFrame, worth: Mapping[str, Fit], enough: bool, beside: str, n: int, seed: int) -> list[Finding]:
    """Claim 13: the worth of others' tokens by law, own tokens equal."""
    found: list[Finding] = []
    labels = table["cluster"].to_numpy()
    boots = {kind: fit.bootstrap(n, seed, starts=1, cluster=labels).samples for kind, fit in worth.items()}
    for kind, other, sign in HELP:
        if kind not in boots:
            continue
        name, fit = f"w[{other}]", worth[kind]
        doubt = f"the fit is {fit.status}" if fit.status != "ok" else ""
        found += _found(13, f"worth of a token of {WORDS[other]} in tokens of {WORDS[kind]}, own tokens equal", fit.values[name],
                        boots[kind][name].to_numpy(), (0, np.inf) if sign > 0 else (-np.inf, 0), enough,
                        "by a law in which a share moves nothing else", doubt, beside)
    return found
