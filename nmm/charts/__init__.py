"""Altair charts in one style. A chapter calls `charts.enable()` once, then draws."""

from nmm.charts.theme import enable

__all__ = ["enable"]
