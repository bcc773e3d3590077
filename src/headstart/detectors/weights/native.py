"""headstart's own detector files: safetensors whose header says how to build the detector again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

import headstart
from headstart.atomic import atomically
from headstart.detectors.detector import ORDERS, Detector, check_order, check_pad
from headstart.errors import LISTED, UserError, beginning
from headstart.hub.fetch import local_file
from headstart.reading import reading

FORMAT = "headstart-detector"
WHAT, AGAIN = "The weights file", "It may be damaged or cut short: copy or save it again"

FORMAT_VERSION = 2
"""2: the first layer of a box head reads its crop cell by cell (1: channel by channel)."""


class Preprocessing(TypedDict):
    """mean and std per channel, of pixel values in 0..255 (`range`); order of the channels, "RGB" or "BGR".

    pad  the raw value of the padding; null: zero after normalisation
    """

    mean: list[float]
    std: list[float]
    order: NotRequired[str]
    pad: NotRequired[float | None]
    range: NotRequired[int]


class Metadata(TypedDict):
    """The header of a file.

    recipe    the keyword arguments of `build_detector`; empty for a detector that was built by hand
    training  whatever was given to `save_detector` besides, such as scores, seed or the size of images
    """

    format: str
    format_version: int
    headstart_version: str
    recipe: dict[str, object] | None
    classes: list[str]
    preprocessing: Preprocessing
    training: dict[str, object]


def save_detector(detector: Detector, path: str | Path, **metadata: object) -> Path:
    """Writes weights and everything needed to use them: recipe, classes, preprocessing, versions.

    `metadata` (anything JSON can hold, e.g. scores, seed, method) is kept under "training". The file appears whole or
    not at all, also when the process is killed. Raises UserError if the place cannot be written.
    """
    path = Path(path)
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "headstart_version": headstart.__version__,
        "recipe": detector.recipe,
        "classes": list(detector.classes),
        "preprocessing": {
            "mean": detector.mean.flatten().tolist(),
            "std": detector.std.flatten().tolist(),
            "order": detector.order,
            "pad": detector.pad,
            "range": 255,
        },
        "training": metadata,
    }
    # Tied parameters would be refused and channels_last ones reordered: every tensor becomes a plain copy.
    tensors = {
        key: value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for key, value in detector.state_dict().items()
    }
    try:
        with atomically(path) as partial:
            save_file(tensors, partial, metadata={key: json.dumps(value, default=str) for key, value in header.items()})
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"the weights could not be written to {path}: {error}. Free some space or name another"
        ) from error
    return path


def read_metadata(path: str | Path) -> Metadata:
    """The header of a file that `save_detector` wrote, without reading a tensor.

    Raises UserError if the file is missing, damaged, of another kind, or newer than this headstart.
    """
    path = Path(path)
    _check_kind(path)
    with reading(path, WHAT, AGAIN):
        with safe_open(path, framework="pt") as file:
            raw = file.metadata() or {}
        header = {key: json.loads(value) for key, value in raw.items()} if raw.get("format") == f'"{FORMAT}"' else {}
    if not header:
        raise UserError(
            f"{path} holds tensors but not a detector of headstart: expected a file that train or distill wrote. "
            "For the ImageNet weights of a backbone use --weights, for torchvision's and mmdetection's detectors "
            "`headstart import`"
        )
    version = header.get("format_version", 0)
    if not isinstance(version, int):
        raise UserError(f"{path} is damaged, its format version is {beginning(version)!r}: copy or save it again")
    if version != FORMAT_VERSION:
        remedy = "Upgrade headstart" if version > FORMAT_VERSION else "Train it again"
        raise UserError(
            f"{path} was written by headstart {header.get('headstart_version')} in format {version}; "
            f"this is headstart {headstart.__version__}, which reads format {FORMAT_VERSION}. {remedy}"
        )
    lacks = sorted(Metadata.__required_keys__ - set(header))
    if lacks:
        raise UserError(f"{path} is damaged, its header lacks {', '.join(lacks)}: copy or save it again")
    for key, right in CHECKS.items():
        if not right(header[key]):
            raise UserError(
                f"{path} is damaged, its header has {beginning(repr(header[key]))} as {key}: copy or save it again"
            )
    return cast("Metadata", header)


def load_detector(path: str | Path, device: str | torch.device = "cpu") -> Detector:
    """The detector of a file that `save_detector` wrote, in evaluation mode, with every tensor and its preprocessing.

    path  of the file, or `hf://OWNER/NAME[/FILE][@REVISION]` on the Hugging Face hub

    Raises UserError as `read_metadata` and `local_file`, and one that lists every tensor that is missing, unknown or of
    another shape.
    """
    path = local_file(path)
    header = read_metadata(path)
    if not header["recipe"]:
        raise UserError(
            f"{path} holds a detector that was built by hand: build it the same way in Python and call "
            "headstart.detectors.weights.load_weights(detector, path)"
        )
    try:
        _demand_promised(Path(path), header["recipe"])
        with reading(path, WHAT, AGAIN):
            detector = build_from_recipe(header["recipe"])
    except UserError as error:
        version = beginning(header["headstart_version"])
        raise UserError(f"{path} (written by headstart {version}) cannot be built: {error}") from error
    load_weights(detector, path)
    return detector.to(device).eval()


def _demand_promised(path: Path, recipe: Mapping[str, object]) -> None:
    """Raises UserError unless the file has the tensors that its recipe promises, before memory is taken for them."""
    try:
        with torch.device("meta"):
            promised = build_from_recipe(recipe)
    except UserError:
        raise
    except Exception:  # a model of timm that computes with numbers while it is made: `load_weights` compares then
        return
    demand_fitting(path, promised)


def build_from_recipe(recipe: Mapping[str, object]) -> Detector:
    """A detector with random weights from the recipe of another: the keyword arguments of `build_detector`.

    Raises UserError for a recipe without name and classes, and as `build_detector`.
    """
    from headstart.detectors.zoo import build_detector

    options = dict(recipe)
    name, classes, backbone = (options.pop(key, None) for key in ("name", "classes", "backbone"))
    if not isinstance(name, str) or not isinstance(classes, list | tuple) or not isinstance(backbone, str | None):
        raise UserError(
            f"expected a recipe with the name and the classes of a detector, found {beginning(dict(recipe))}"
        )
    options["pretrained"] = False
    return build_detector(name, [str(one) for one in classes], backbone=backbone, **options)


def load_weights(detector: Detector, path: str | Path) -> None:
    """Loads a file of `save_detector` into a detector that is already built, preprocessing included.

    Raises UserError if the classes differ, or with a list of the tensors that are missing, unknown or of another shape.
    """
    header = read_metadata(path)
    if tuple(header["classes"]) != detector.classes:
        raise UserError(
            f"{path} finds {len(header['classes'])} classes ({', '.join(header['classes'])}), the detector has "
            f"{len(detector.classes)} ({', '.join(detector.classes)}): they must be the same, in the same order"
        )
    demand_fitting(Path(path), detector)
    with reading(path, WHAT, AGAIN), safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    detector.load_state_dict(tensors)
    detector.order = check_order(header["preprocessing"].get("order", "RGB"))
    detector.pad = check_pad(header["preprocessing"].get("pad"))
    for name in ("mean", "std"):
        values = torch.tensor(header["preprocessing"][name])
        getattr(detector, name).copy_(values.reshape(1, -1, 1, 1))


def demand_fitting(path: Path, detector: Detector) -> None:
    """Raises UserError unless the file has the detector's tensors, by name and shape; no tensor is read."""
    with reading(path, WHAT, AGAIN), safe_open(path, framework="pt") as file:
        found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    own = {key: tuple(value.shape) for key, value in detector.state_dict().items()}
    kinds = {
        "missing in the file": sorted(set(own) - set(found)),
        "unknown to the detector": sorted(set(found) - set(own)),
        "of another shape": [
            f"{key} {found[key]} instead of {own[key]}"
            for key in sorted(set(found) & set(own))
            if found[key] != own[key]
        ],
    }
    problems = [f"{what}: {_some(names)}" for what, names in kinds.items() if names]
    if problems:
        raise UserError(f"{path} does not fit the detector; " + "; ".join(problems))


def _some(names: list[str]) -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(beginning(name, 160) for name in names[:LISTED]) + more


def _is_preprocessing(value: object) -> bool:
    """Whether a header's preprocessing can be applied: finite numbers, a deviation above 0, a known order."""
    if not isinstance(value, dict) or value.get("order", "RGB") not in ORDERS:
        return False
    rows = [value.get(name) for name in ("mean", "std")]
    known = all(isinstance(row, list) and len(row) == 3 and all(map(_is_number, row)) for row in rows)
    return known and min(value["std"]) > 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_names(value: object) -> bool:
    """Whether a header's classes are names, at least one."""
    words = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return words and bool(value)


CHECKS: dict[str, Callable[[object], bool]] = {
    "headstart_version": lambda value: isinstance(value, str),
    "recipe": lambda value: value is None or isinstance(value, dict),
    "classes": _are_names,
    "preprocessing": _is_preprocessing,
    "training": lambda value: isinstance(value, dict),
}
"""Whether an entry of a header is what `Metadata` says."""


def _check_kind(path: Path) -> None:
    if path.is_dir():
        inside = sorted(path.glob("*.safetensors"))
        hint = f", such as {inside[0]}" if inside else "; there is no .safetensors file in it"
        raise UserError(f"{path} is a folder: expected the weights file itself{hint}")
    remedy = "Give a .safetensors file that train or distill wrote"
    with reading(path, WHAT, remedy), path.open("rb") as file:
        start = file.read(9)
    # A safetensors file begins with the length of its JSON header: any bytes, a pickle's first among them.
    if start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
        raise UserError(
            f"{path} is a pickled torch file: expected .safetensors, the file that train and distill write beside "
            "their checkpoints. Checkpoints of torchvision and mmdetection are read by `headstart import`"
        )
