"""What a chart says and what it holds, read from its Vega-Lite specification: its description in words, its data as a table."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

Spec = dict[str, Any]

_CHILDREN = ("hconcat", "vconcat", "concat")
_NAMES = {"color": "colour", "strokeDash": "dashes", "shape": "marker", "facet": "panel", "row": "panel", "column": "panel"}
_AXES = ("x", "y")
_UNREAD = ("url", "order")      # channels that hold no data: addresses of pictures, the order of drawing
_HELPERS = ("piece",)           # columns that only cut a line
_MOST = 12                      # values that a description lists


@dataclass
class _Layer:
    """One kind of mark: what is drawn by it, and the rows that it draws."""

    mark: str
    encoding: Spec
    source: str
    rows: list[Spec] = field(repr=False)

    def fields(self) -> dict[str, list[Spec]]:
        """Column -> channels that it is on."""
        found: dict[str, list[Spec]] = {}
        for channel, given in self.encoding.items():
            for item in given if isinstance(given, list) else [given]:
                if channel not in _UNREAD and isinstance(item, dict) and item.get("field", _HELPERS[0]) not in _HELPERS:
                    found.setdefault(item["field"], []).append({"channel": channel, **item})
        return found


def title(spec: Spec) -> str:
    """The chart's own title as one line; empty if it has none."""
    text = spec.get("title") or ""
    text = text.get("text", "") if isinstance(text, dict) else text
    return " ".join(text) if isinstance(text, list) else text


def is_titled(spec: Spec) -> bool:
    """Whether the chart, or else each of its panels, has a title."""
    return bool(title(spec)) or all(map(title, _panels(spec)))


def describe(spec: Spec) -> str:
    """The chart in words, for those who do not see it: its title, what stands on its axes, which series there are.

    A chart without a title is named by what it draws against what.
    """
    panels = [(title(panel), list(_layers(panel, {}, _Data(spec)))) for panel in _panels(spec)]
    heads = [name or _named(layers) for name, layers in panels]
    words = [title(spec) or "; ".join(dict.fromkeys(heads))]
    for (name, layers), head in zip(panels, heads):
        lead = f"{head}: " if len(panels) > 1 and (name or title(spec)) else ""
        words.append(lead + "; ".join(_channels(layers)))
    subtitle = spec["title"].get("subtitle") if isinstance(spec.get("title"), dict) else None
    if subtitle:
        words.insert(1, " ".join(subtitle) if isinstance(subtitle, list) else subtitle)
    return ". ".join(word.rstrip(".") for word in words if word) + "."


def table(spec: Spec) -> pd.DataFrame:
    """The data that are drawn, a row a mark: `drawn` says as what (point, line, ..), the rest are the columns on axes, in
    legends and under the pointer, with their unit in the name (`C_FLOPs`, `L_nats_per_token`).

    Where a chart computes what it draws (a planner), its inputs are given. Several panels are told apart by `panel`.
    """
    data, tables = _Data(spec), []
    panels = list(_panels(spec))
    for number, panel in enumerate(panels, 1):
        layers = list(_layers(panel, {}, data))
        units = _units(layers)
        for source in dict.fromkeys(layer.source for layer in layers):
            drawn = [layer for layer in layers if layer.source == source]
            rows = pd.DataFrame(drawn[0].rows)
            fields = dict.fromkeys(name for layer in drawn for name in layer.fields())
            shown = [name for name in fields if name in rows] if all(name in rows for name in fields) else list(rows)
            if not shown:
                continue
            marks = ", ".join(dict.fromkeys(layer.mark for layer in drawn))
            renamed = rows[shown].rename(columns={name: _column(name, units.get(name)) for name in shown})
            where = {"panel": title(panel) or number} if len(panels) > 1 else {}
            renamed = renamed.assign(**where, drawn=marks)
            tables.append(renamed[[*where, "drawn", *(name for name in renamed if name not in (*where, "drawn"))]])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"drawn": []})


def csv(spec: Spec) -> str:
    """`table` as CSV text, numbers to nine digits."""
    return table(spec).to_csv(index=False, float_format="%.9g", lineterminator="\n")


class _Data:
    """The rows of a specification's named and inline data."""

    def __init__(self, spec: Spec) -> None:
        self._named = spec.get("datasets", {})

    def of(self, spec: Spec, above: Spec) -> Spec:
        data = spec.get("data")
        if not data:
            return above
        name = data.get("name") or f"inline {id(data)}"
        return {"source": name, "rows": self._named.get(name, data.get("values") or [])}


def _panels(spec: Spec) -> Iterator[Spec]:
    """The charts that stand side by side; a facet is one."""
    children = next((spec[key] for key in _CHILDREN if key in spec), None)
    if children is None:
        yield spec
    else:
        for child in children:
            # data that all panels share are given once, above them
            yield from _panels({**({"data": spec["data"]} if "data" in spec else {}), **child})


def _layers(spec: Spec, above: Spec, data: _Data) -> Iterator[_Layer]:
    here = {"encoding": {**above.get("encoding", {}), **spec.get("encoding", {})}, "data": data.of(spec, above.get("data", {}))}
    if "spec" in spec:
        here["encoding"] = {"facet": spec["facet"], **here["encoding"]}
        yield from _layers(spec["spec"], here, data)
    elif "layer" in spec:
        for part in spec["layer"]:
            yield from _layers(part, here, data)
    elif "mark" in spec:
        mark = spec["mark"]
        kind = mark["type"] if isinstance(mark, dict) else mark
        yield _Layer(kind, here["encoding"], here["data"].get("source", ""), here["data"].get("rows", []))


def _label(layers: list[_Layer], channel: str) -> str:
    """What stands on an axis or a legend: its title, or its column where it has none."""
    items = [item for layer in layers for item in [layer.encoding.get(channel)] if isinstance(item, dict) and "field" in item]
    named = next((item["title"] for item in items if item.get("title")), None)
    return named or next((item["field"] for item in items), "")


def _named(layers: list[_Layer]) -> str:
    x, y = (_label(layers, channel) for channel in _AXES)
    return f"{y} against {x}" if x and y else x or y


def _channels(layers: list[_Layer]) -> list[str]:
    """A phrase an axis, a legend and a division into panels."""
    phrases, told = [], set()
    for channel in (*_AXES, "color", "shape", "strokeDash", "facet", "row", "column", "text"):
        label = _label(layers, channel)
        values = [value for layer in layers for value in _values(layer, channel)]
        if not label or (channel not in _AXES and label in told):
            continue
        told.add(label)
        known = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
        if known and len(known) == len(values) and _is_continuous(layers, channel):
            kind = ", logarithmic" if _is_log(layers, channel) else ""
            amount = f"{kind}, from {min(known):.3g} to {max(known):.3g}"
        else:
            order = {str(value): place for place, value in enumerate(_order(layers, channel))}
            each = sorted(dict.fromkeys(str(value) for value in values), key=lambda value: order.get(value, len(order)))
            amount = ", " + ", ".join(each[:_MOST]) + (f" and {len(each) - _MOST} more" if len(each) > _MOST else "") if each else ""
        phrases.append(f"{_NAMES.get(channel, channel)} is {label}{amount}")
    return phrases


def _values(layer: _Layer, channel: str) -> Iterator[Any]:
    for name in (channel, f"{channel}2"):
        item = layer.encoding.get(name)
        if isinstance(item, dict) and "field" in item:
            yield from (row[item["field"]] for row in layer.rows if row.get(item["field"]) is not None)


def _order(layers: list[_Layer], channel: str) -> list[Any]:
    """The order of a legend."""
    items = (layer.encoding.get(channel) for layer in layers)
    return next((item["sort"] for item in items if isinstance(item, dict) and isinstance(item.get("sort"), list)), [])


def _is_continuous(layers: list[_Layer], channel: str) -> bool:
    return any(item.get("type") == "quantitative" for layer in layers for item in [layer.encoding.get(channel)] if isinstance(item, dict))


def _is_log(layers: list[_Layer], channel: str) -> bool:
    scales = (layer.encoding.get(channel, {}).get("scale") for layer in layers if isinstance(layer.encoding.get(channel), dict))
    return any(scale.get("type") == "log" for scale in scales if scale)


def _units(layers: list[_Layer]) -> dict[str, str]:
    """Column -> the unit in brackets at the end of its own title or of its axis'."""
    units = {}
    for layer in layers:
        for name, channels in layer.fields().items():
            for item in channels:
                axis = item["channel"].removesuffix("2")
                words = _label(layers, axis) if axis in _AXES else item.get("title") or ""
                if unit := re.fullmatch(r"[^\[\]]*\[([^\[\]]+)\]", words):
                    units.setdefault(name, unit[1])
    return units


def _column(name: str, unit: str | None) -> str:
    """A column's name in letters, digits and underscores, with its unit."""
    words = f"{name} {unit}" if unit else name
    words = words.replace("/", " per ").replace("%", " percent ").replace("*", "_opt")
    plain = re.sub(r"[^0-9A-Za-z]+", "_", words).strip("_")
    return re.sub(r"_?(percent)_percent", r"_\1", plain).lstrip("_")
