"""Small pairs of student and teacher for HEAD, one for every way in which their places can correspond."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from headstart.detectors.detector import Detector
from headstart.methods import Frozen, Method, build_method
from headstart.methods.assistants import Assistant, AssistantLosses, AssistantOutputs
from headstart.methods.imitation import Imitation
from headstart.methods.pairing import CellToCell, CellToRegion, Correspondence, RegionToCell, RegionToRegion
from headstart.methods.step import Step
from headstart.methods.weight import TargetVariance
from headstart.structures import ImageBatch, Progress, Regions, Targets
from laws.tiny import detector, run, scene

Case = tuple[str | None, str, str]
"""Teacher (None: the assistant learns without one), student, and the kind of the assistant."""

WITH_TEACHER: dict[str, tuple[type[Correspondence], Case]] = {
    "cell-region": (CellToRegion, ("fasterrcnn", "retinanet", "rcnn")),
    "cell-region-fcos": (CellToRegion, ("fasterrcnn", "fcos", "rcnn")),
    "cell-region-cascade": (CellToRegion, ("cascadercnn", "atss", "cascade")),
    "region-region": (RegionToRegion, ("cascadercnn", "fasterrcnn", "cascade")),
    "region-region-rcnn": (RegionToRegion, ("fasterrcnn", "cascadercnn", "rcnn")),
    "region-cell": (RegionToCell, ("retinanet", "fasterrcnn", "retinanet")),
    "region-cell-cascade": (RegionToCell, ("gfl", "cascadercnn", "gfl")),
    "cell-cell": (CellToCell, ("reppoints", "retinanet", "reppoints")),
    "cell-cell-fcos": (CellToCell, ("retinanet", "fcos", "retinanet")),
}
STANDALONE: dict[str, tuple[type[Correspondence], Case]] = {
    "cell-region-standalone": (CellToRegion, (None, "retinanet", "rcnn")),
    "cell-region-standalone-cascade": (CellToRegion, (None, "gfl", "cascade")),
    "region-region-standalone": (RegionToRegion, (None, "fasterrcnn", "cascade")),
    "region-region-standalone-rcnn": (RegionToRegion, (None, "cascadercnn", "rcnn")),
    "region-cell-standalone": (RegionToCell, (None, "fasterrcnn", "retinanet")),
    "cell-cell-standalone": (CellToCell, (None, "retinanet", "fcos")),
}
CASES = WITH_TEACHER | STANDALONE

LATE = Progress(50_000, 90_000)
"""After every warm-up, before every end."""


@functools.cache
def _kept(family: str, seed: int, options: tuple[tuple[str, Any], ...]) -> Detector:
    return detector(family, seed, **dict(options))


def tiny(family: str, seed: int = 0, **options: Any) -> Detector:
    """`laws.tiny.detector`, built once and copied."""
    return copy.deepcopy(_kept(family, seed, tuple(options.items())))


def frozen(family: str, seed: int = 100, **options: Any) -> Frozen:
    """A small teacher."""
    return Frozen(tiny(family, seed, **options))


def make_case(case: str, **options: Any) -> Method:
    """The method of one of `CASES`, in training mode."""
    _, (teacher, student, kind) = CASES[case]
    standalone = {} if teacher else {"assistants": kind}
    return make(teacher, student, **(standalone | options))


def make(teacher: str | None, student: str, **options: Any) -> Method:
    """HEAD for two families, in training mode."""
    own, teachers = tiny(student), frozen(teacher) if teacher else None
    torch.manual_seed(7)  # after them: those that are built here for the first time draw numbers
    return build_method("head", own, teachers, **options).train()


def assistant_losses(method: Method) -> dict[str, AssistantLosses]:
    """The guidances of all assistants, by the assistants' names."""
    return {g.name.removeprefix("assistant/"): g for g in method if isinstance(g, AssistantLosses)}


def only_name(method: Method) -> str:
    """The name of the assistant of a method that has one."""
    (name,) = assistant_losses(method)
    return name


def only_assistant(method: Method) -> Assistant:
    """The assistant of a method that has one."""
    return assistant_losses(method)[only_name(method)].assistant


def imitations(method: Method, prefix: str) -> dict[str, Imitation]:
    """The imitations whose name is `prefix`, or lies under it (`akd`, `ckd/rcnn`), by name."""
    return {g.name: g for g in method if isinstance(g, Imitation) and f"{g.name}/".startswith(f"{prefix}/")}


def only_teacher(method: Method) -> Frozen:
    """The teacher of a method that has one."""
    (teacher,) = method.teachers
    assert isinstance(teacher, Frozen)
    return teacher


def batch(seed: int = 0) -> tuple[ImageBatch, list[Targets]]:
    """Two small images and their objects."""
    return scene(seed, size=64)


def watch(method: Method, progress: Progress = LATE) -> tuple[dict[str, Tensor], Step, AssistantOutputs]:
    """The terms of one step, the step, and what the only assistant gave in it."""
    seen: list[Any] = []
    handle = only_assistant(method).register_forward_hook(lambda _, given, found: seen.append((given[0], found)))
    images, targets = batch()
    terms = run(method, images, targets, progress).terms
    handle.remove()
    ((step, outputs),) = seen  # an assistant runs once in a step
    return terms, step, outputs


def fix_norms(method: Method) -> Method:
    """Evaluation mode, so that equal weights give equal terms, but units are measured as in training."""
    method.eval()
    for module in method.modules():
        if isinstance(module, TargetVariance):
            module.train()
    return method


@torch.no_grad()
def at_steps(method: Method, progresses: Sequence[Progress]) -> list[dict[str, float]]:
    """The terms at several places of a run, everything else being equal."""
    images, targets = batch()
    fix_norms(method)
    return [{k: v.item() for k, v in run(method, images, targets, p).terms.items()} for p in progresses]


def cells_of(regions: list[Regions]) -> list[tuple[int, int, int, int, int, int]]:
    """Row, image, level, y, x and anchor of every region that has a cell, one by one."""
    found, row = [], 0
    for image, one in enumerate(regions):
        keys = (getattr(one.cells, key).tolist() for key in ("level", "y", "x", "anchor"))
        for level, y, x, anchor in zip(*keys):
            if level >= 0:
                found.append((row, image, level, y, x, anchor))
            row += 1
    return found


def make_identity(adapter: nn.Module) -> None:
    """Makes an adapter give what it is given."""
    for layer in adapter.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.dirac_(layer.weight) if isinstance(layer, nn.Conv2d) else nn.init.eye_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
