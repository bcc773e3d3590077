"""From the names of a foreign file to ours: every tensor is used, left out for a stated reason, or reported."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from headstart.errors import UserError

Renames = Sequence[tuple[str, str]]
"""Regular expressions of a whole name, and our name for it; the first that fits counts."""

LeftOut = Sequence[tuple[str, str]]
"""Regular expressions of whole names that are not read, and why."""


@dataclass(frozen=True)
class Reading:
    """What a file turned out to be, in our terms.

    source     which library's which detector, for people
    recipe     the keyword arguments of `build_detector`, without `pretrained`
    tensors    by our names;  named  our name -> the file's
    mean, std, order   of the pixels, as for `Detector`
    size       short and long side that it was made for, and the way to resize
    notes      what was assumed and what was left out, a sentence each
    """

    source: str
    recipe: dict[str, Any]
    tensors: dict[str, Tensor]
    named: dict[str, str]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: str
    size: dict[str, Any]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Translated:
    """tensors by our names, the file's name of each, and the names that were left out, by reason."""

    tensors: dict[str, Tensor]
    named: dict[str, str]
    left_out: dict[str, list[str]]

    def notes(self) -> list[str]:
        return [f"{why}: {summarise(names, most=3)}" for why, names in self.left_out.items()]


def translate(tensors: Mapping[str, Tensor], renames: Renames, left_out: LeftOut = ()) -> Translated:
    """Every tensor under our name, or among those left out.

    Raises UserError that lists the names which no rule knows, and the pairs of names that mean the same tensor.
    """
    ours: dict[str, Tensor] = {}
    named: dict[str, str] = {}
    aside: dict[str, list[str]] = {}
    unknown, doubled = [], []
    for name, tensor in tensors.items():
        why = next((why for pattern, why in left_out if re.fullmatch(pattern, name)), None)
        if why is not None:
            aside.setdefault(why, []).append(name)
            continue
        own = rename(name, renames)
        if own is None:
            unknown.append(name)
        elif own in ours:
            doubled.append(f"{named[own]} and {name}")
        else:
            ours[own], named[own] = tensor, name
    if unknown:
        raise UserError(f"has parts that are not known: {summarise(unknown)}")
    if doubled:
        raise UserError(f"has the same weights under two names: {summarise(doubled)}")
    return Translated(ours, named, aside)


def rename(name: str, renames: Renames) -> str | None:
    """Our name for a tensor, None if no rule fits."""
    for pattern, own in renames:
        found = re.fullmatch(pattern, name)
        if found:
            return found.expand(own)
    return None


def fit(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], named: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors for a detector whose state is `own`, in its types; counters of batch norms may be missing.

    Raises UserError that lists everything missing, too much or of another shape, by the file's names if it has them.
    """
    counters = {key: own[key] for key in set(own) - set(tensors) if key.endswith("num_batches_tracked")}
    missing = sorted(set(own) - set(tensors) - set(counters))
    extra = sorted(named.get(key, key) for key in set(tensors) - set(own))
    shapes = sorted(
        f"{named.get(key, key)} {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}"
        for key in set(tensors) & set(own)
        if tensors[key].shape != own[key].shape
    )
    kinds = sorted(
        f"{named.get(key, key)} {str(tensors[key].dtype).removeprefix('torch.')}"
        for key in set(tensors) & set(own)
        if own[key].is_floating_point() and not tensors[key].is_floating_point()
    )
    problems = [
        f"{what}: {summarise(names)}"
        for what, names in (
            ("missing", [as_there(key, named) for key in missing]),
            ("too much", extra),
            ("of another shape", shapes),
            ("whole numbers where real ones are expected (quantised?)", kinds),
        )
        if names
    ]
    if problems:
        raise UserError("does not fit; " + "; ".join(problems))
    broken = sorted(named.get(key, key) for key, value in tensors.items() if not bool(value.float().isfinite().all()))
    if broken:
        raise UserError(f"has values that are not finite numbers in {summarise(broken)}: its training has failed")
    return {key: value.to(own[key].dtype) for key, value in tensors.items()} | counters


def as_there(own: str, named: Mapping[str, str]) -> str:
    """What a tensor that is missing would be called in the file: as those beside it; else our name, marked so."""
    start, _, last = own.rpartition(".")
    for key, theirs in named.items():
        place, _, end = key.rpartition(".")
        if start and place == start and theirs.endswith(f".{end}"):
            return f"{theirs.rpartition('.')[0]}.{last}"
    return f"{own} (headstart's name)"


def summarise(names: Iterable[str], most: int = 12) -> str:
    """All names in a row; many of them as what they begin with and how many do."""
    names = list(names)
    for depth in (3, 2, 1):
        if len(names) <= most:
            break
        groups = Counter(".".join(name.split(".")[:depth]) for name in names)
        if len(groups) <= most or depth == 1:
            return ", ".join(f"{start}.* ({count})" if count > 1 else start for start, count in groups.items())
    return ", ".join(names)
