"""The file `results.json` of a run; its schema is described in docs/results-file.md."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired, Protocol, TypeAlias, TypedDict, cast, runtime_checkable

import headstart
from headstart.atomic import atomically
from headstart.errors import UserError
from headstart.evaluation.metrics import Metrics
from headstart.reading import read_text, reading
from headstart.terminal import escaped

SCHEMA = 2

LARGEST = 2**28
"""Bytes of a results.json: per lane and evaluation some numbers, and per class of the last one."""

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""What `json` reads and writes."""


@runtime_checkable
class Array(Protocol):
    """An array or a number of numpy or torch."""

    def tolist(self) -> object: ...


class TeacherFacts(TypedDict):
    """teacher -> checksum of its weights, absent without one; teacher -> its class -> the data's class."""

    teacher_weights: NotRequired[dict[str, str]]
    class_map: dict[str, dict[str, str]]


class MadeSplit(TypedDict):
    """A validation split that was made: share and seed as asked for, and a checksum of the names that train."""

    share: float
    seed: int
    training_images: str


class SplitFacts(TypedDict, total=False):
    """Only where the validation split was made."""

    split: MadeSplit


class Unlabelled(TypedDict):
    """Images without labels: how many there are, and how many of them in each batch."""

    images: int
    per_batch: int


class UnlabelledFacts(TypedDict, total=False):
    """Only where images without labels trained, too."""

    unlabelled: Unlabelled


class DataFacts(TeacherFacts, SplitFacts, UnlabelledFacts):
    """What a run was trained and scored on; a run that is continued must find the same.

    `train_images` are those with labels. `val_images` is None without evaluation.
    """

    path: str
    name: str
    classes: list[str]
    train_images: int
    val_images: int | None
    batch: int
    steps_per_epoch: int
    seed: int


class BestScore(TypedDict):
    """The highest AP during the training, in percent, and where it was reached."""

    step: int
    epoch: int
    AP: float | None


class HistoryRow(TypedDict):
    """One evaluation, in percent."""

    step: int
    AP: float | None
    AP50: float | None


class LaneResults(TypedDict):
    """One student: its method with the options that were set, its numbers at the end, and how it got there."""

    method: dict[str, object]
    metrics: Metrics
    best: BestScore | None
    history: list[HistoryRow]
    steps: int
    seconds: float
    terms: dict[str, float]


class Gain(TypedDict):
    """lane -> its numbers minus those of the lane `against`, in percent points; None where either is undefined.

    `note` says what differences of this run cannot show; None where there is nothing to compare.
    """

    against: str | None
    lanes: dict[str, dict[str, float | None]]
    note: str | None


class Results(TypedDict):
    """The content of `results.json`. What it holds is described in docs/results-file.md."""

    schema: int
    headstart: str
    run: str
    data: DataFacts
    teachers: dict[str, Metrics]
    lanes: dict[str, LaneResults]
    gain: Gain


def run_results(
    run: str,
    data: DataFacts,
    lanes: dict[str, LaneResults],
    *,
    teachers: dict[str, Metrics] | None = None,
    baseline: str | None = None,
) -> Results:
    """The content of `results.json` of the run called `run`.

    lanes     name -> results;  teachers  name -> metrics
    baseline  the lane that the gains of the others are counted from. Raises ValueError if there is no such lane
    """
    if baseline is not None and baseline not in lanes:
        raise ValueError(f"baseline {baseline!r} is not one of the lanes {', '.join(lanes)}")
    others = {name: lane for name, lane in lanes.items() if baseline is not None and name != baseline}
    images = data.get("val_images")
    gains = {name: gain(lane["metrics"], lanes[baseline or ""]["metrics"]) for name, lane in others.items()}
    return {
        "schema": SCHEMA,
        "headstart": headstart.__version__,
        "run": run,
        "data": data,
        "teachers": teachers or {},
        "lanes": lanes,
        "gain": {"against": baseline, "lanes": gains, "note": gain_note(images) if gains and images else None},
    }


def gain_note(images: int) -> str:
    """What stands beside every gain that has no interval; `images` is how many were scored."""
    return f"one seed, {images} validation images: a few AP are noise"


def gain(metrics: Metrics, baseline: Metrics) -> dict[str, float | None]:
    """How much higher each number is than the baseline's; None where either is undefined, counts are left out."""
    own, other = _scores(metrics), _scores(baseline)
    both = {name: (value, other[name]) for name, value in own.items() if name in other}
    return {name: None if a is None or b is None else a - b for name, (a, b) in both.items()}


def _scores(metrics: Metrics) -> dict[str, float | None]:
    return {name: value for name, value in metrics.items() if value is None or isinstance(value, float)}


def write_json(path: Path | str, value: object) -> None:
    """Write JSON so that a reader sees the old file or the whole new one, never a part.

    Numbers of numpy and torch become plain ones, paths become text, and numbers that are not finite become null. Bytes
    of a file name that are not UTF-8 become `\\xNN`.
    Raises TypeError, naming the place, for a value that JSON has no word for.
    """
    text = json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with atomically(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def read_results(path: Path | str) -> Results:
    """A `results.json` of this schema. Raises UserError if it is missing, damaged or of another schema."""
    path = Path(path)
    what, remedy = "The results", "Give the results.json that a run writes when it ends"
    with reading(path, what, remedy):
        results = json.loads(read_text(path, what, remedy, most=LARGEST))
    found = results.get("schema") if isinstance(results, dict) else None
    if found != SCHEMA:
        raise UserError(
            f"{path} has schema {found}, this version of headstart reads schema {SCHEMA}; "
            "read it with the version that wrote it."
        )
    return cast(Results, results)


def as_unicode(text: str) -> str:
    r"""The text as every reader of JSON takes it: a byte of a file name that is no UTF-8 becomes `\xff`."""
    halves = "\ud800", "\udfff"  # as what Python keeps such a byte
    return "".join(escaped(char) if halves[0] <= char <= halves[1] else char for char in text)


def plain(value: object, place: str = "value") -> Json:
    """The same value in JSON's own types; see `write_json`. `place` is how an error calls it."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return as_unicode(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return as_unicode(str(value))
    if isinstance(value, Mapping):
        return {as_unicode(str(key)): plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{place}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, Array):
        return plain(value.tolist(), place)
    raise TypeError(f"{place} is a {type(value).__name__}, which JSON cannot hold")
