"""Feature extractors by name: timm models (or a module of your own) giving the stages C2..C5 of an image."""

from headstart.backbones.backbone import Backbone
from headstart.backbones.build import build_backbone
from headstart.backbones.names import SHORT_NAMES

__all__ = ["SHORT_NAMES", "Backbone", "build_backbone"]
