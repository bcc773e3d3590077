"""Small pairs for HEAD, one for every kind of link between a student's head and what guides it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import torch
from headstart.methods.ckd import Aligned, Link, LookedUp, Shared, Traced
from torch import Tensor, nn

from headstart.detectors.detector import Detector
from headstart.methods import Frozen, build_method
from headstart.methods.assistants import Reading, Sight
from headstart.methods.head import HEAD
from headstart.structures import ImageBatch, Progress, Regions, Targets
from laws.tiny import detector, run, scene

Pair = tuple[str | None, str, str]
"""Teacher (None: the assistant learns without one), student, and the kind of the assistant."""

TAUGHT: dict[str, tuple[type[Link], Pair]] = {
    "traced": (Traced, ("fasterrcnn", "retinanet", "rcnn")),
    "traced-fcos": (Traced, ("fasterrcnn", "fcos", "rcnn")),
    "traced-cascade": (Traced, ("cascadercnn", "atss", "cascade")),
    "shared": (Shared, ("cascadercnn", "fasterrcnn", "cascade")),
    "shared-rcnn": (Shared, ("fasterrcnn", "cascadercnn", "rcnn")),
    "looked-up": (LookedUp, ("retinanet", "fasterrcnn", "retinanet")),
    "looked-up-cascade": (LookedUp, ("gfl", "cascadercnn", "gfl")),
    "aligned": (Aligned, ("reppoints", "retinanet", "reppoints")),
    "aligned-fcos": (Aligned, ("retinanet", "fcos", "retinanet")),
}
FREE: dict[str, tuple[type[Link], Pair]] = {
    "traced-free": (Traced, (None, "retinanet", "rcnn")),
    "traced-free-cascade": (Traced, (None, "gfl", "cascade")),
    "shared-free": (Shared, (None, "fasterrcnn", "cascade")),
    "shared-free-rcnn": (Shared, (None, "cascadercnn", "rcnn")),
    "looked-up-free": (LookedUp, (None, "fasterrcnn", "retinanet")),
    "aligned-free": (Aligned, (None, "retinanet", "fcos")),
}
LINKS = TAUGHT | FREE


@functools.cache
def _kept(family: str, seed: int, options: tuple[tuple[str, Any], ...]) -> Detector:
    return detector(family, seed, **dict(options))


def tiny(family: str, seed: int = 0, **options: Any) -> Detector:
    """`laws.tiny.detector`, built once and copied."""
    return copy.deepcopy(_kept(family, seed, tuple(options.items())))


def teacher(family: str, seed: int = 100, **options: Any) -> Frozen:
    return Frozen(tiny(family, seed, **options))


def pair(case: str, **options: Any) -> HEAD:
    """The method of one of `LINKS`, in training mode."""
    _, (guide, student, kind) = LINKS[case]
    free = {} if guide else {"assistants": kind}
    return make(guide, student, **(free | options))


def make(guide: str | None, student: str, **options: Any) -> HEAD:
    own, guides = tiny(student), teacher(guide) if guide else None
    torch.manual_seed(7)  # after them: those that are built here for the first time draw numbers
    method: Any = build_method("head", own, guides, **options)
    return method.train()


def only(method: HEAD) -> Any:
    """The lesson of a method that has one."""
    (lesson,) = method.lessons.values()
    return lesson


def batch(seed: int = 0) -> tuple[ImageBatch, list[Targets]]:
    return scene(seed, size=64)


def watch(method: HEAD, progress: Progress | None = None) -> tuple[dict[str, Tensor], Sight, Reading]:
    """The terms of one step, and what its assistant was shown and said."""
    seen: list[Any] = []
    handle = only(method).assistant.register_forward_hook(lambda _, given, said: seen.append((given[0], said)))
    images, targets = batch()
    terms = run(method, images, targets, progress or Progress(50_000, 90_000)).terms
    handle.remove()
    ((sight, reading),) = seen
    return terms, sight, reading


@torch.no_grad()
def at_steps(method: HEAD, progresses: Sequence[Progress]) -> list[dict[str, float]]:
    """The terms at several places of a run, everything else being equal."""
    images, targets = batch()
    return [{k: v.item() for k, v in run(method.eval(), images, targets, p).terms.items()} for p in progresses]


def cells_of(places: list[Regions]) -> list[tuple[int, int, int, int, int, int]]:
    """Row, image, level, y, x and anchor of every region that has a cell, one by one."""
    found, row = [], 0
    for image, place in enumerate(places):
        keys = (getattr(place.cells, key).tolist() for key in ("level", "y", "x", "anchor"))
        for level, y, x, anchor in zip(*keys):
            if level >= 0:
                found.append((row, image, level, y, x, anchor))
            row += 1
    return found


def still(adapter: nn.Module) -> None:
    """Makes an adapter say what it hears."""
    for layer in adapter.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.dirac_(layer.weight) if isinstance(layer, nn.Conv2d) else nn.init.eye_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
