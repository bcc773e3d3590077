"""headstart: distil any object detector into any other, and prove whether it helped."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from headstart.api import distill as distill
    from headstart.api import train as train
    from headstart.data.discover import open_dataset as open_dataset
    from headstart.detectors.detector import Detector as Detector
    from headstart.detectors.weights import import_detector as import_detector
    from headstart.detectors.weights import load_detector as load_detector
    from headstart.detectors.weights import save_detector as save_detector
    from headstart.detectors.zoo import build_detector as build_detector
    from headstart.errors import UserError as UserError
    from headstart.methods import Method as Method
    from headstart.methods import build_method as build_method
    from headstart.structures import Progress as Progress
    from headstart.teachers import Frozen as Frozen

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


def __getattr__(name: str) -> object:
    """Public names are imported when first asked for, so that `headstart --help` need not wait for torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
