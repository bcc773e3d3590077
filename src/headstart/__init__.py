"""headstart: distil any object detector into any other, and prove whether it helped."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Detector": "headstart.detectors.detector",
    "Frozen": "headstart.teachers",
    "Method": "headstart.methods",
    "Progress": "headstart.structures",
    "UserError": "headstart.errors",
    "build_detector": "headstart.detectors.zoo",
    "build_method": "headstart.methods",
    "distill": "headstart.api",
    "import_detector": "headstart.detectors.weights",
    "load_detector": "headstart.detectors.weights",
    "open_dataset": "headstart.data.discover",
    "save_detector": "headstart.detectors.weights",
    "train": "headstart.api",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first asked for, so that `headstart --help` need not wait for torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
