"""Weights of whole detectors: headstart's own files."""

from headstart.detectors.weights.native import load_detector, load_weights, read_metadata, save_detector

__all__ = ["load_detector", "load_weights", "read_metadata", "save_detector"]
