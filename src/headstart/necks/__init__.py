"""Necks: from the stages of a backbone to the pyramid a head reads."""

from headstart.necks.fpn import FPN
from headstart.necks.neck import Neck
from headstart.necks.pafpn import PAFPN

__all__ = ["FPN", "PAFPN", "Neck"]
