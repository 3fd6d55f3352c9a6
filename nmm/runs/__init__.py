"""Records of trained models, read: the tidy table, training curves, the finished runs of one architecture."""

from nmm.runs.table import curves, finished, load

__all__ = ["curves", "finished", "load"]
