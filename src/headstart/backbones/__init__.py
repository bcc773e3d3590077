"""Feature extractors by name: timm models (or a module of your own) giving the stages C2..C5 of an image."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from headstart.backbones.names import SHORT_NAMES

if TYPE_CHECKING:
    from headstart.backbones.backbone import Backbone as Backbone
    from headstart.backbones.build import build_backbone as build_backbone

_HOMES = {"Backbone": "headstart.backbones.backbone", "build_backbone": "headstart.backbones.build"}


def __getattr__(name: str) -> object:
    """What needs torch is imported when first asked for: the names alone must be known at once."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["SHORT_NAMES", "Backbone", "build_backbone"]
