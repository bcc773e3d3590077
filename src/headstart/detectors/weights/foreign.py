"""Other people's checkpoints as detectors: what a file is, is found out from the file, or asked for; never guessed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from headstart.detectors.detector import Detector
from headstart.detectors.weights.hints import Hints, collect_hints
from headstart.detectors.weights.matching import Reading, fit, summarise
from headstart.detectors.weights.mmdetection.reader import is_mmdetection, read_mmdetection
from headstart.detectors.weights.native import FORMAT, load_detector, read_metadata, save_detector
from headstart.detectors.weights.opening import open_checkpoint
from headstart.detectors.weights.said import check_said
from headstart.detectors.weights.torchvision.names import official_files
from headstart.detectors.weights.torchvision.reader import is_torchvision, read_torchvision
from headstart.errors import UserError

READERS: list[tuple[Callable[[Mapping[str, Tensor]], bool], Callable[..., Reading]]] = [
    (is_torchvision, read_torchvision),
    (is_mmdetection, read_mmdetection),
]
"""Who recognises a state dict, and who reads it."""

STRANGERS = {
    "proposal_generator.": "detectron2",
    "backbone.bottom_up.": "detectron2",
    "transformer.": "DETR",
    "class_embed.": "DETR",
    "0.conv.": "Ultralytics' YOLO",
}
"""Names that begin so (what is common to all is taken off) belong to detectors that cannot be imported."""

WHERE_TO_SAY = (
    "These are options of `headstart import FILE`, which writes a file that needs none; in a recipe they stand beside "
    "`file` as read_as, classes and entry"
)

OWN = "headstart"
"""The source of a file that is not foreign."""


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
    read_as: str | None = None,
    classes: Sequence[str] | None = None,
    entry: str | None = None,
) -> Imported:
    """The detector in a checkpoint of torchvision, mmdetection or a program built on them.

    read_as  a name that settles what the weights leave open, such as fasterrcnn_mobilenet_v3_large_320_fpn
    classes  names of the classes, for files that have none
    entry    which weights to read, where the file holds several

    Raises UserError if the file cannot be read safely or is not understood whole.
    """
    path = Path(path)
    checkpoint = open_checkpoint(path, entry)
    hints = collect_hints(checkpoint, read_as, tuple(classes) if classes else None)
    if read_as is None:
        hints = replace(hints, name=_official(path) or hints.name)
    try:
        reading = _read(checkpoint.tensors, hints)
        check_said(read_as, reading)
        detector = _build(reading)
    except UserError as error:
        raise UserError(f"{path} {error}") from error
    return Imported(detector, reading.source, reading.size, [*checkpoint.notes, *reading.notes])


def open_detector(
    path: str | Path,
    *,
    read_as: str | None = None,
    classes: Sequence[str] | None = None,
    entry: str | None = None,
) -> Imported:
    """The detector of any file: headstart's own, or one that `import_detector` understands.

    Raises UserError as those two, and for an option of an import beside a file of headstart's own.
    """
    if is_foreign(Path(path)) or not Path(path).exists():
        try:
            return import_detector(path, read_as=read_as, classes=classes, entry=entry)
        except UserError as error:
            asks = any(option in str(error) for option in ("--as ", "--classes ", "--entry "))
            raise UserError(f"{error}. {WHERE_TO_SAY}" if asks else str(error)) from error
    for option, value in (("read_as", read_as), ("classes", classes), ("entry", entry)):
        if value:
            raise UserError(f"{path} is headstart's own and says what it is: leave out {option}")
    return Imported(load_detector(path), OWN, read_metadata(path)["training"].get("size") or {}, [])


def is_foreign(path: Path) -> bool:
    """Whether a file is a checkpoint that somebody else's program wrote; damaged ones count as our own."""
    try:
        if not _begins_as_safetensors(path):
            with path.open("rb") as file:
                start = file.read(2)
            return start[:2] == b"PK" or start[:1] == b"\x80"
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") != json.dumps(FORMAT)
    except (OSError, SafetensorError):
        return False


def _begins_as_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def import_file(
    path: str | Path,
    out: str | Path | None = None,
    *,
    read_as: str | None = None,
    classes: Sequence[str] | None = None,
    entry: str | None = None,
) -> tuple[Path, Imported]:
    """Writes a foreign checkpoint as a file of headstart's own (beside it, unless `out` says where).

    The other options are those of `import_detector`. Raises UserError as it does, and if the place is taken.
    """
    path = Path(path)
    if path.is_file() and not is_foreign(path) and _begins_as_safetensors(path):
        read_metadata(path)  # says what is wrong with a damaged one
        raise UserError(f"{path} is headstart's own file and needs no import: use it as it is")
    place = Path(out) if out is not None else path.with_suffix(".safetensors")
    if place.is_dir():
        raise UserError(f"{place} is a folder: give --out the name of a file, such as {place / path.stem}.safetensors")
    if place.exists() and path.exists() and place.samefile(path):
        raise UserError(f"{path} would be written over itself: give --out another name")
    if place.exists():
        raise UserError(f"{place} exists already and is not overwritten: remove it, or give --out another name")
    imported = import_detector(path, read_as=read_as, classes=classes, entry=entry)
    origin = {"file": path.name, "source": imported.source, "notes": imported.notes}
    return save_detector(imported.detector, place, size=imported.size, imported=origin), imported


def _read(tensors: Mapping[str, Tensor], hints: Hints) -> Reading:
    stranger = next((name for start, name in STRANGERS.items() if any(key.startswith(start) for key in tensors)), None)
    if stranger is not None:
        raise UserError(f"is a model of {stranger}, which cannot be imported: expected torchvision's or mmdetection's")
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
