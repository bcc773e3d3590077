"""Necks: from the stages of a backbone to the pyramid a head reads."""

from headstart.necks.fpn import FPN

__all__ = ["FPN"]
