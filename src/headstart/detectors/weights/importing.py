"""Imports other people's checkpoints. What the file leaves open is asked of the user, never guessed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from headstart.detectors.detector import Detector
from headstart.detectors.weights.check_read_as import check_read_as
from headstart.detectors.weights.hints import Hints, collect_hints
from headstart.detectors.weights.key_mapping import ImageSize, ParsedCheckpoint, fit_state_dict, summarise_keys
from headstart.detectors.weights.mmdetection.reader import is_mmdetection, read_mmdetection
from headstart.detectors.weights.native import FORMAT, build_from_recipe, load_detector, read_metadata, save_detector
from headstart.detectors.weights.read_checkpoint import read_checkpoint
from headstart.detectors.weights.torchvision.names import official_files
from headstart.detectors.weights.torchvision.reader import is_torchvision, read_torchvision
from headstart.detectors.weights.yolox.reader import is_yolox, read_yolox
from headstart.errors import UserError
from headstart.hub.address import is_on_hub
from headstart.hub.fetch import local_file
from headstart.reading import demand_regular

READERS: list[
    tuple[Callable[[Mapping[str, Tensor]], bool], Callable[[Mapping[str, Tensor], Hints], ParsedCheckpoint]]
] = [
    (is_torchvision, read_torchvision),
    (is_mmdetection, read_mmdetection),
    (is_yolox, read_yolox),
]
"""Pairs of functions: whether a state dict is of this library, and how it is read."""

UNSUPPORTED = {
    "proposal_generator.": "detectron2",
    "backbone.bottom_up.": "detectron2",
    "transformer.": "DETR",
    "class_embed.": "DETR",
    "0.conv.": "Ultralytics' YOLO",
}
"""Beginnings of keys, after their common prefix was removed, of libraries whose detectors cannot be imported."""

IMPORT_OPTIONS = (
    "These are options of `headstart import FILE`, which writes a file that needs none; in a recipe they stand beside "
    "`file` as read_as, classes and entry"
)

WHAT, GIVE = "The weights file", "Give weights that headstart wrote, or a checkpoint (.pth, .pt)"

NATIVE = "headstart"
"""`Imported.source` of a file that headstart itself wrote."""


@dataclass(frozen=True)
class Imported:
    """The detector of a file.

    detector  in evaluation mode, on the CPU
    source    library and detector in words; `NATIVE` for a file of headstart's own
    size      of the images that it was made for, empty if the file does not say
    notes     what was assumed and what was left out, a sentence each
    """

    detector: Detector
    source: str
    size: ImageSize
    notes: list[str]


def import_detector(
    path: str | Path,
    *,
    read_as: str | None = None,
    classes: Sequence[str] | None = None,
    entry: str | None = None,
) -> Imported:
    """The detector in a checkpoint of torchvision, mmdetection, YOLOX or a program built on them.

    read_as  a name that settles what the weights leave open, such as fasterrcnn_mobilenet_v3_large_320_fpn
    classes  names of the classes, for files that have none
    entry    which weights to read, where the file holds several

    Raises UserError if the file cannot be read safely or is not understood whole.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path, entry)
    hints = collect_hints(checkpoint, read_as, tuple(classes) if classes else None)
    if read_as is None:
        hints = replace(hints, name=_torchvision_name(path) or hints.name)
    try:
        parsed = _read(checkpoint.tensors, hints)
        check_read_as(read_as, parsed)
        detector = _build(parsed)
    except UserError as error:
        raise UserError(f"{path} {error}") from error
    return Imported(detector, parsed.source, parsed.size, [*checkpoint.notes, *parsed.notes])


def open_detector(
    path: str | Path,
    *,
    read_as: str | None = None,
    classes: Sequence[str] | None = None,
    entry: str | None = None,
) -> Imported:
    """The detector of any file: headstart's own, or one that `import_detector` understands; also of one on the hub.

    Raises UserError as those two and `local_file`, and for an option of an import beside a file of headstart's own.
    """
    path = local_file(path)
    if not path.is_dir():  # of which both readers say what lies in it
        demand_regular(path, WHAT, GIVE)
    if is_foreign(path):
        try:
            return import_detector(path, read_as=read_as, classes=classes, entry=entry)
        except UserError as error:
            asks = any(option in str(error) for option in ("--as ", "--classes ", "--entry "))
            raise UserError(f"{error}. {IMPORT_OPTIONS}" if asks else str(error)) from error
    for option, value in (("read_as", read_as), ("classes", classes), ("entry", entry)):
        if value:
            raise UserError(f"{path} is headstart's own and says what it is: leave out {option}")
    return Imported(load_detector(path), NATIVE, _image_size(read_metadata(path)["training"].get("size")), [])


def _image_size(value: object) -> ImageSize:
    """What a file of headstart's own says of the size of its images: only what has the right type."""
    size: ImageSize = {}
    if isinstance(value, Mapping):
        short, long, resize, square = (value.get(key) for key in ("short", "long", "resize", "square"))
        if isinstance(short, int) and isinstance(long, int):
            size |= {"short": short, "long": long}
        if isinstance(resize, str):
            size["resize"] = resize
        if square is True and short == long:
            size["square"] = True
    return size


def is_foreign(path: Path) -> bool:
    """Whether another program wrote the file. A damaged one counts as our own, whose reader says what is wrong."""
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
    if is_on_hub(path) and out is None:
        raise UserError(f"{path} is not on this machine: give --out FILE, where the imported detector is written")
    path = local_file(path)
    if not path.is_dir():
        demand_regular(path, WHAT, GIVE)
    elif out is None:
        import_detector(path)  # says what lies in the folder
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


def _read(tensors: Mapping[str, Tensor], hints: Hints) -> ParsedCheckpoint:
    for start, library in UNSUPPORTED.items():
        if any(key.startswith(start) for key in tensors):
            raise UserError(
                f"is a model of {library}, which cannot be imported: expected torchvision's, mmdetection's or YOLOX's"
            )
    for recognises, read in READERS:
        if recognises(tensors):
            return read(tensors, hints)
    raise UserError(
        "is no detector that can be imported: expected torchvision's, mmdetection's or YOLOX's names, found "
        f"{summarise_keys(tensors, most=6)}"
    )


def _build(parsed: ParsedCheckpoint) -> Detector:
    detector = build_from_recipe(parsed.recipe)
    try:
        detector.load_state_dict(fit_state_dict(parsed.tensors, detector.state_dict(), parsed.file_keys))
    except UserError as error:
        raise UserError(f"looks like {parsed.source}, but {error}") from error
    detector.order, detector.pad = parsed.order, parsed.pad
    for name, values in (("mean", parsed.mean), ("std", parsed.std)):
        getattr(detector, name).copy_(torch.tensor(values).reshape(1, -1, 1, 1))
    return detector.eval()


def _torchvision_name(path: Path) -> str | None:
    """The builder of one of torchvision's published files, recognised by its SHA-256, whatever the file is called."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return next((name for digits, name in official_files().items() if digest.startswith(digits)), None)
