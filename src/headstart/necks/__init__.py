"""Necks: from the stages of a backbone to the pyramid a head reads."""

from headstart.necks.fpn import FPN
from headstart.necks.neck import Neck

__all__ = ["FPN", "Neck"]
