"""From the keys of a foreign state dict to ours: every tensor is used, left out for a stated reason, or reported."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from torch import Tensor

from headstart.errors import UserError

KeyRules = Sequence[tuple[str, str]]
"""Pairs of a regular expression for a whole key of the file and our key (with \\1 ...); the first match counts."""

LeftOut = Sequence[tuple[str, str]]
"""Pairs of a regular expression for whole keys of the file that are not read, and the reason, a sentence."""


class ImageSize(TypedDict, total=False):
    """The images that a detector was made for: sides in pixels, and one of the ways of `data.transforms.RESIZES`.

    square  whether they are padded to a square of `long`
    """

    short: int
    long: int
    resize: str
    square: bool


@dataclass(frozen=True)
class ParsedCheckpoint:
    """The detector in a foreign file, in headstart's terms.

    source     library and detector in words, such as "torchvision's RetinaNet on resnet50"
    recipe     the keyword arguments of `build_detector`, without `pretrained`
    tensors    its state dict, by our keys
    file_keys  our key -> the file's
    mean, std  per channel, of pixel values in 0..255;  order  of the channels, "RGB" or "BGR"
    size       shorter and longer side in pixels that it was made for, and the way to resize
    notes      what was assumed and what was left out, a sentence each
    pad        the raw value of the padding; None: zero after normalisation
    """

    source: str
    recipe: dict[str, object]
    tensors: dict[str, Tensor]
    file_keys: dict[str, str]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: str
    size: ImageSize
    notes: list[str] = field(default_factory=list)
    pad: float | None = None


@dataclass(frozen=True)
class RenamedTensors:
    """Tensors by our keys, the file's key of each, and by reason the keys that were left out."""

    tensors: dict[str, Tensor]
    file_keys: dict[str, str]
    left_out: dict[str, list[str]]

    def notes(self) -> list[str]:
        """A sentence for each reason, with some of the keys."""
        return [f"{why}: {summarise_keys(names, most=3)}" for why, names in self.left_out.items()]


def rename_tensors(tensors: Mapping[str, Tensor], rules: KeyRules, left_out: LeftOut = ()) -> RenamedTensors:
    """Every tensor of a file's state dict (of any shapes) under our key, or among those left out.

    Raises UserError that lists the keys which no rule matches, and the pairs of keys that become the same one.
    """
    ours: dict[str, Tensor] = {}
    file_keys: dict[str, str] = {}
    aside: dict[str, list[str]] = {}
    unknown, doubled = [], []
    for name, tensor in tensors.items():
        why = next((why for pattern, why in left_out if re.fullmatch(pattern, name)), None)
        if why is not None:
            aside.setdefault(why, []).append(name)
            continue
        own = rename_key(name, rules)
        if own is None:
            unknown.append(name)
        elif own in ours:
            doubled.append(f"{file_keys[own]} and {name}")
        else:
            ours[own], file_keys[own] = tensor, name
    if unknown:
        raise UserError(f"has parts that are not known: {summarise_keys(unknown)}")
    if doubled:
        raise UserError(f"has the same weights under two names: {summarise_keys(doubled)}")
    return RenamedTensors(ours, file_keys, aside)


def rename_key(name: str, rules: KeyRules) -> str | None:
    """Our key for a key of the file, None if no rule matches."""
    for pattern, own in rules:
        found = re.fullmatch(pattern, name)
        if found:
            return found.expand(own)
    return None


def fit_state_dict(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], file_keys: Mapping[str, str]
) -> dict[str, Tensor]:
    """A complete state dict for a detector, from the tensors of a file.

    tensors    by our keys; `num_batches_tracked` of batch norms may be missing and is taken from `own`
    own        the detector's state dict: the keys, shapes and dtypes that are needed
    file_keys  our key -> the file's, for the errors
    Tensors are converted to the dtypes of `own`. Raises UserError that lists everything missing, too much or of another
    shape, integers in place of floats, and values that are not finite.
    """
    counters = {key: own[key] for key in set(own) - set(tensors) if key.endswith("num_batches_tracked")}
    missing = sorted(set(own) - set(tensors) - set(counters))
    extra = sorted(file_keys.get(key, key) for key in set(tensors) - set(own))
    shapes = sorted(
        f"{file_keys.get(key, key)} {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}"
        for key in set(tensors) & set(own)
        if tensors[key].shape != own[key].shape
    )
    kinds = sorted(
        f"{file_keys.get(key, key)} {str(tensors[key].dtype).removeprefix('torch.')}"
        for key in set(tensors) & set(own)
        if own[key].is_floating_point() and not tensors[key].is_floating_point()
    )
    problems = [
        f"{what}: {summarise_keys(names)}"
        for what, names in (
            ("missing", [name_in_file(key, file_keys) for key in missing]),
            ("too much", extra),
            ("of another shape", shapes),
            ("whole numbers where real ones are expected (quantised?)", kinds),
        )
        if names
    ]
    if problems:
        raise UserError("does not fit; " + "; ".join(problems))
    broken = sorted(
        file_keys.get(key, key) for key, value in tensors.items() if not bool(value.float().isfinite().all())
    )
    if broken:
        raise UserError(f"has values that are not finite numbers in {summarise_keys(broken)}: its training has failed")
    return {key: value.to(own[key].dtype) for key, value in tensors.items()} | counters


def name_in_file(own: str, file_keys: Mapping[str, str]) -> str:
    """The file's key of a tensor that it lacks, taken from the key of another tensor of the same layer.

    Our key, marked as headstart's, if the file has no tensor of that layer.
    """
    start, _, last = own.rpartition(".")
    for key, theirs in file_keys.items():
        place, _, end = key.rpartition(".")
        if start and place == start and theirs.endswith(f".{end}"):
            return f"{theirs.rpartition('.')[0]}.{last}"
    return f"{own} (headstart's name)"


def summarise_keys(names: Iterable[str], most: int = 12) -> str:
    """The keys separated by commas; more than `most` are shortened to their common beginnings with counts."""
    names = list(names)
    for depth in (3, 2, 1):
        if len(names) <= most:
            break
        groups = Counter(".".join(name.split(".")[:depth]) for name in names)
        if len(groups) <= most or depth == 1:
            return ", ".join(f"{start}.* ({count})" if count > 1 else start for start, count in groups.items())
    return ", ".join(names)
