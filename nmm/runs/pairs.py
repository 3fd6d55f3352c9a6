"""Two sets of records of the same study, side by side."""

import pandas as pd


def pair_runs(here: pd.DataFrame, there: pd.DataFrame) -> pd.DataFrame:
    """The finished runs that both tables of records hold, matched by arm, mixture, size, budget and seed.

    Configurations, not hashes, are matched, so that a study on another corpus of the same design can be compared too.

    Returns:
        Columns run, N, D, L, L_other, difference [nats/token] = L_other - L, and relative; sorted by N and D.
    """
    keys = ["arm", "mixture", "size", "budget", "seed"]
    left = here[here["status"] == "finished"][["run", "N", "D", "L", *keys]]
    right = there[there["status"] == "finished"][["L", *keys]]
    pairs = left.merge(right, on=keys, suffixes=("", "_other")).sort_values(["N", "D"]).reset_index(drop=True)
    pairs["difference"] = pairs["L_other"] - pairs["L"]
    pairs["relative"] = pairs["difference"] / pairs["L"]
    return pairs
