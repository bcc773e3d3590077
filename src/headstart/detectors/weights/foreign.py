"""Other people's checkpoints as detectors: what a file is, is found out from the file, or asked for; never guessed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headstart.detectors.detector import Detector
from headstart.detectors.weights.hints import Hints, collect_hints
from headstart.detectors.weights.matching import Reading, fit, summarise
from headstart.detectors.weights.opening import open_checkpoint
from headstart.detectors.weights.torchvision import is_torchvision, read_torchvision
from headstart.detectors.weights.torchvision_names import official_files
from headstart.errors import UserError

READERS: list[tuple[Callable[[Mapping[str, Tensor]], bool], Callable[..., Reading]]] = [
    (is_torchvision, read_torchvision),
]
"""Who recognises a state dict, and who reads it."""


@dataclass(frozen=True)
class Imported:
    """A detector in evaluation mode; what it was, for people; the size of its images; what was assumed or left out."""

    detector: Detector
    source: str
    size: dict[str, Any]
    notes: list[str]


def import_detector(
    path: str | Path,
    *,
    like: str | None = None,
    classes: Sequence[str] | None = None,
    entry: str | None = None,
) -> Imported:
    """The detector in a checkpoint of torchvision, mmdetection or a program built on them.

    like     a name that settles what the weights leave open, such as fasterrcnn_mobilenet_v3_large_320_fpn
    classes  names of the classes, for files that have none
    entry    which weights to read, where the file holds several

    Raises UserError if the file cannot be read safely or is not understood whole.
    """
    path = Path(path)
    checkpoint = open_checkpoint(path, entry)
    hints = collect_hints(checkpoint, like, tuple(classes) if classes else None)
    if like is None:
        hints = replace(hints, name=_official(path) or hints.name)
    try:
        reading = _read(checkpoint.tensors, hints)
        detector = _build(reading)
    except UserError as error:
        raise UserError(f"{path} {error}") from error
    return Imported(detector, reading.source, reading.size, [*checkpoint.notes, *reading.notes])


def _read(tensors: Mapping[str, Tensor], hints: Hints) -> Reading:
    for recognises, read in READERS:
        if recognises(tensors):
            return read(tensors, hints)
    raise UserError(
        "is no detector that can be imported: expected torchvision's or mmdetection's names, found "
        f"{summarise(tensors, most=6)}"
    )


def _build(reading: Reading) -> Detector:
    from headstart.detectors.zoo import build_detector

    detector = build_detector(**reading.recipe, pretrained=False)
    try:
        detector.load_state_dict(fit(reading.tensors, detector.state_dict(), reading.named))
    except UserError as error:
        raise UserError(f"looks like {reading.source}, but {error}") from error
    detector.order = reading.order
    for name, values in (("mean", reading.mean), ("std", reading.std)):
        getattr(detector, name).copy_(torch.tensor(values).reshape(1, -1, 1, 1))
    return detector.eval()


def _official(path: Path) -> str | None:
    """The builder of one of torchvision's own files, known by its contents whatever it is called."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return next((name for digits, name in official_files().items() if digest.startswith(digits)), None)
