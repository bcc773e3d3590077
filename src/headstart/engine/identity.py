"""Whether a resumed run finds what it began with: data and detectors are known by their content, not by their place."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import TypedDict

from headstart.data.dataset import DetectionDataset
from headstart.data.fingerprint import Fingerprint, compare, fingerprint
from headstart.detectors.detector import Detector
from headstart.errors import UserError
from headstart.teachers import Frozen


class Identity(TypedDict, total=False):
    """What a run is made of.

    data       "train", "val" -> what the split is made of
    detectors  "student", and each teacher's name -> a hash of what makes it, but for its weights
    """

    data: dict[str, Fingerprint]
    detectors: dict[str, str]


DAMAGED = (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError, zlib.error)
"""What reading a fingerprint that is none raises."""


def identify(splits: Mapping[str, DetectionDataset | None], student: Detector, teachers: Sequence[Frozen]) -> Identity:
    """The identity of a run that begins; `splits` are those that it reads, None where it has none."""
    return {
        "data": {name: fingerprint(split) for name, split in splits.items() if split is not None},
        "detectors": _detectors(student, teachers),
    }


def demand_same_data(saved: Identity, splits: Mapping[str, DetectionDataset | None]) -> None:
    """Raises UserError naming what has changed in the data since the run began."""
    told = []
    for name, before in saved.get("data", {}).items():
        split = splits.get(name)
        if split is None:
            continue
        try:
            changes = compare(before, split)
        except DAMAGED as error:
            raise UserError(
                f"last.ckpt is damaged: what it says of the {name} data cannot be read ({type(error).__name__}). Start "
                "a new run."
            ) from error
        told += [f"the {name} data in {split.path} has {', '.join(changes)}"] if changes else []
    if told:
        raise UserError(
            f"The data has changed since this run began: {'; '.join(told)}. A resumed run ends with the weights of an "
            "unbroken one, so its data must be the same: restore it, say where it lies (--data DIR, --unlabelled DIR), "
            "or start a new run."
        )


def demand_same_detectors(saved: Identity, student: Detector, teachers: Sequence[Frozen]) -> None:
    """Raises UserError for a student or a teacher that is built or fed in another way than when the run began."""
    found = _detectors(student, teachers)
    for name, before in saved.get("detectors", {}).items():
        if found.get(name) != before:
            who = name if name in ("student", "teacher") else f"teacher {name}"
            option = "--student FILE" if name == "student" else "--teacher FILE"
            raise UserError(
                f"The {who} is not the one that this run began with: it is built, or its images are normalised, in "
                f"another way. Give the same one ({option}), or start a new run."
            )


def demand_same_teachers(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raises UserError for a teacher of other weights; both are checksums by the teachers' names."""
    for name in before.keys() | now.keys():
        if before.get(name) != now.get(name):
            who = name if name == "teacher" else f"teacher {name}"
            raise UserError(
                f"The {who} is not the one that this run began with: its weights had the checksum "
                f"{before.get(name, 'of none')}, now {now.get(name, 'there is none')}. Give the same file "
                "(--teacher FILE, wherever it lies), or start a new run."
            )


def _detectors(student: Detector, teachers: Sequence[Frozen]) -> dict[str, str]:
    models = {"student": student, **{teacher.name: teacher.model for teacher in teachers}}
    return {name: describe_detector(model) for name, model in models.items()}


def describe_detector(model: Detector) -> str:
    """Sixteen hexadecimal digits of how a detector is built and what it is fed."""
    own = {
        "recipe": model.recipe,
        "classes": list(model.classes),
        "order": model.order,
        "pad": model.pad,
        "mean": model.mean.flatten().tolist(),
        "std": model.std.flatten().tolist(),
    }
    text = json.dumps(own, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()
