"""Draw the picture of README and front page, book/_static/frontier*.png, from the committed records: python book/picture.py"""

from pathlib import Path

import altair as alt
import pandas as pd

from nmm import laws, runs
from nmm.charts import runs as draw
from nmm.charts import theme

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT, SCALE = 340, 250, 2.5      # small, so that a phone shows its words in a size to read


def main() -> None:
    theme.enable()
    table = runs.load(ROOT / "runs" / "laptop")
    table = table[table["status"] == "finished"]
    frontier = laws.fit_frontier(table["C"], table["L"])
    edge = pd.DataFrame({"C": draw.spread(table["C"].min(), table["C"].max(), margin=2)})
    title = alt.Title(f"{len(table)} models of {table['N'].nunique()} sizes", subtitle=f"On their frontier L falls as C^{frontier.c:.3f}")
    chart = draw.against_compute(table, edge.assign(L=frontier.predict(edge["C"])))
    spec = chart.properties(title=title, width=WIDTH, height=HEIGHT).to_dict()
    spec["config"]["legend"]["layout"] = {"top": {"direction": "vertical", "anchor": "start", "margin": 4}}     # one under the other
    for name, dark in (("frontier", False), ("frontier-dark", True)):
        (ROOT / "book" / "_static" / f"{name}.png").write_bytes(theme.png(spec, dark=dark, scale=SCALE))


if __name__ == "__main__":
    main()
