"""Weights of whole detectors: headstart's own files, and those of others."""

from headstart.detectors.weights.importing import import_detector, import_file, open_detector
from headstart.detectors.weights.native import load_detector, load_weights, read_metadata, save_detector

__all__ = [
    "import_detector",
    "import_file",
    "load_detector",
    "load_weights",
    "open_detector",
    "read_metadata",
    "save_detector",
]
