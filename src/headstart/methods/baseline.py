"""The student alone: what every distillation has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.detectors.detector import Detector
from headstart.methods.guidance import Guidance
from headstart.teachers.base import Teacher


@dataclass(frozen=True)
class BaselineOptions:
    """None."""


def baseline(student: Detector, teachers: Sequence[Teacher], options: BaselineOptions) -> list[Guidance]:
    """Ordinary training with the detector's own losses, no teacher."""
    return []
