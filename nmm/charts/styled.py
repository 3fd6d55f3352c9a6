"""Styled tables whose every word is text: pandas escapes what a plain table shows, but not what a styled one does."""

import copy
import html
from collections.abc import Callable, Hashable, Mapping
from typing import Any


class _Escaping:
    """pandas' functions from a value to what is shown of it, by place, with HTML's own characters escaped."""

    def __init__(self, shown: Mapping[Hashable, Callable[[Any], Any]]) -> None:
        self.shown = shown

    def __getitem__(self, place: Hashable) -> Callable[[Any], Any]:
        function = self.shown[place]
        return lambda value: _escaped(function(value))


def escaped(styler: Any) -> str:
    """The HTML of a pandas Styler with every cell, label and name escaped, whatever its own settings are."""
    table = copy.deepcopy(styler)
    for name in ("_display_funcs", "_display_funcs_index", "_display_funcs_columns"):
        setattr(table, name, _Escaping(getattr(table, name)))
    for axis in (table.data.index, table.data.columns):
        axis.names = [_escaped(name) for name in axis.names]
    table.caption = _escaped(table.caption)
    return table.to_html()


def enable() -> None:
    """Show every Styler of this kernel so, as from now; nothing outside of a notebook."""
    from IPython import get_ipython  # a kernel has it loaded, and nobody else needs it

    shell = get_ipython()
    if shell is not None:
        shell.display_formatter.formatters["text/html"].for_type_by_name("pandas.io.formats.style", "Styler", escaped)


def _escaped(value: Any) -> Any:
    return html.escape(value) if isinstance(value, str) else value
