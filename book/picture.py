"""Draw the README's picture, book/_static/frontier.png, from the committed records: python book/picture.py"""

from pathlib import Path

import pandas as pd

from nmm import laws, runs
from nmm.charts import runs as draw
from nmm.charts import theme

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    theme.enable()
    table = runs.load(ROOT / "runs" / "laptop")
    table = table[table["status"] == "finished"]
    frontier = laws.fit_frontier(table["C"], table["L"])
    edge = pd.DataFrame({"C": draw.spread(table["C"].min(), table["C"].max(), margin=1)})
    chart = draw.against_compute(table, edge.assign(L=frontier.predict(edge["C"])))
    title = f"{len(table)} models, {table['N'].nunique()} sizes: L falls as C^{frontier.c:.3f} along the frontier"
    (ROOT / "book" / "_static" / "frontier.png").write_bytes(theme.png(chart.properties(title=title).to_dict()))


if __name__ == "__main__":
    main()
