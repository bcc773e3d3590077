"""Paired lanes of one run, over seeds.

A trial is a student, its teacher and the lanes that are trained side by side, from the same weights on the same
batches with one pass of the teacher, so that gains are paired. Everything measured is in
OUT/STEPS/TRIAL-SEED/result.json, and is not measured again. Several processes may share the work; one that was killed
goes on when it is started anew.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import shutil
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gain import spread
from pairs import interval

from headstart import distill
from headstart.engine.fit import fit
from headstart.engine.outcome import Outcome
from headstart.recipe import check_run
from headstart.report.results import write_json
from parts.small import FULL, TRAIN, draw_data


@dataclass(frozen=True)
class Teacher:
    """A detector as a run names it, how long and at which rate it is trained, and who taught it by HEAD, if anybody."""

    detector: Mapping[str, object]
    rate: float
    steps: int = 2500
    taught_by: str | None = None


@dataclass(frozen=True)
class Trial:
    """A student as a run names it, the name of its teacher, and the lanes besides the student alone.

    longer  the student alone is trained again, longer: so many times the steps, or, for a lane, as many steps as its
            time would have paid for
    """

    detector: Mapping[str, object]
    rate: float
    teacher: str
    lanes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    longer: tuple[str | float, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where results go, and what is trained on: the folder, the images' size and how many make a step."""

    out: Path
    data: Path
    imgsz: int
    batch: int
    train: Mapping[str, object]


@contextmanager
def claim(folder: Path) -> Iterator[bool]:
    """Whether this process may work in the folder: not while another one does. A killed process holds nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def train_or_continue(run: Mapping[str, object]) -> Outcome:
    """The run, from its beginning, or from where it was stopped."""
    folder = Path(str(run["out"])) / str(run["name"])
    if (folder / "last.ckpt").exists():
        return distill(resume=folder, quiet=True)
    shutil.rmtree(folder, ignore_errors=True)  # stopped before anything was saved
    return fit(check_run(run), quiet=True)


def train_teacher(name: str, teachers: Mapping[str, Teacher], place: Place) -> Path:
    """The weights of a teacher, trained once, whoever asks."""
    folder, teacher = place.out / f"teacher-{name}", teachers[name]
    file = folder / "run" / "student.safetensors"
    while not (folder / "result.json").exists():
        with claim(folder) as mine:
            if mine:
                run = settings(teacher.detector, teacher.steps, 0, teacher.rate, folder, place)
                if teacher.taught_by is not None:
                    taught_by = train_teacher(teacher.taught_by, teachers, place)
                    run |= {"teacher": str(taught_by), "method": {"name": "head"}}
                write_json(folder / "result.json", train_or_continue(run).results)
                return file
        time.sleep(5)
    return file


def settings(
    detector: Mapping[str, object], steps: int, seed: int, rate: float, folder: Path, place: Place
) -> dict[str, object]:
    """A run as a recipe says it, without teacher and method; its only evaluation is the last."""
    return {
        "data": {"path": str(place.data), "imgsz": place.imgsz, "batch": place.batch},
        "student": dict(detector),
        "train": {**place.train, "lr": rate, "steps": steps, "seed": seed, "eval_every": 100_000},
        "name": "run",
        "out": str(folder),
    }


def train_trial(name: str, trial: Trial, teachers: Mapping[str, Teacher], seed: int, steps: int, place: Place) -> None:
    """All lanes of a trial, unless they are there or somebody else is at it."""
    folder = place.out / str(steps) / f"{name}-{seed}"
    teacher = train_teacher(trial.teacher, teachers, place)
    with claim(folder) as mine:
        if not mine or (folder / "result.json").exists():
            return
        run = settings(trial.detector, steps, seed, trial.rate, folder, place)
        run |= {"teacher": str(teacher), "lanes": {"alone": {"name": "baseline"}, **trial.lanes}}
        found = train_or_continue(run).results
        lanes = {name: summary(row, steps) for name, row in found["lanes"].items()}
        for wanted in trial.longer:
            factor = lanes[wanted]["seconds"] / lanes["alone"]["seconds"] if isinstance(wanted, str) else wanted
            more = round(steps * factor)
            run = settings(trial.detector, more, seed, trial.rate, folder, place) | {"name": f"alone-{more}"}
            longer = train_or_continue(run).results["lanes"]["student"]
            lanes[f"alone, {more} steps"] = summary(longer, more)
        write_json(folder / "result.json", {"teacher": found["teachers"]["teacher"]["AP"], **lanes})


def summary(lane: Mapping[str, Any], steps: int) -> dict[str, float]:
    return {"AP": lane["metrics"]["AP"] or 0.0, "seconds": lane["seconds"], "steps": steps}


Found = dict[str, dict[str, float]]
"""Lane -> its AP, seconds and steps."""


def alone_for(seconds: float, found: Found) -> float | None:
    """AP of the student alone trained for so many seconds, linear between the steps that were measured; None beyond.

    The seconds of a step are those of the lane `alone`, which was trained beside the others.
    """
    step = found["alone"]["seconds"] / found["alone"]["steps"]
    points = sorted((row["steps"] * step, row["AP"]) for lane, row in found.items() if lane.startswith("alone"))
    times, values = zip(*points)
    return float(np.interp(seconds, times, values)) if seconds <= times[-1] * 1.005 else None


def table(seeds: list[int], trials: Mapping[str, Trial], steps: int, out: Path) -> str:
    """Markdown: a row per lane of every trial, of the seeds that are finished.

    Mean and sample standard deviation of AP; the mean gain over the student alone at equal steps, and at equal time
    where it was trained longer, each with its 95 % interval (Student's t over the seeds); seconds of training in units
    of the student alone.
    """
    titles = ("pair", "teacher", "method", "AP", "gain", "95 % interval", "time", "gain, equal time", "95 % interval")
    lines = [f"| {' | '.join(titles)} | seeds |", "| --- " * 10 + "|"]
    for name, trial in trials.items():
        files = [out / str(steps) / f"{name}-{seed}" / "result.json" for seed in seeds]
        done = [json.loads(file.read_text()) for file in files if file.exists()]
        teachers = {run.pop("teacher") for run in done}
        lanes = [lane for lane in ("alone", *trial.lanes) if done and all(lane in run for run in done)]
        for lane in lanes:
            cells = [name, f"{max(teachers):.1f}", lane, spread([run[lane]["AP"] for run in done]), *gains(lane, done)]
            lines.append(f"| {' | '.join([*cells, str(len(done))])} |")
    return "\n".join(lines)


def gains(lane: str, done: list[Found]) -> list[str]:
    """The cells of a lane's gain and time."""
    if lane == "alone":
        return ["", "", "1.00", "", ""]
    steps = [run[lane]["AP"] - run["alone"]["AP"] for run in done]
    times = [run[lane]["seconds"] / run["alone"]["seconds"] for run in done]
    cells = [f"{statistics.mean(steps):+.1f}", interval(steps), f"{statistics.mean(times):.2f}"]
    alone = [alone_for(run[lane]["seconds"], run) for run in done]
    if len(done[0]) == 1 or any(value is None for value in alone):
        return [*cells, "", ""]
    equal = [run[lane]["AP"] - value for run, value in zip(done, alone) if value is not None]
    return [*cells, f"{statistics.mean(equal):+.1f}", interval(equal)]


def make_parser(description: str | None, name: str, trials: Iterable[str]) -> argparse.ArgumentParser:
    """The command line of a benchmark called `name`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path(name))
    parser.add_argument("--only", nargs="+", choices=list(trials), default=list(trials))
    parser.add_argument("--steps", type=int, default=FULL.student)
    parser.add_argument("--data", type=Path, help="a folder of annotated images; without it pictures are drawn")
    parser.add_argument("--imgsz", type=int, default=FULL.size)
    parser.add_argument("--batch", type=int, default=FULL.batch)
    parser.add_argument("--table", action="store_true", help="only print what is there")
    return parser


def run_trials(options: argparse.Namespace, teachers: Mapping[str, Teacher], trials: Mapping[str, Trial]) -> None:
    """Trains what is missing and prints the table; `options` are those of `make_parser`."""
    chosen = {key: trials[key] for key in options.only}
    if not options.table:
        data = options.data or draw_data(options.out)
        place = Place(options.out, data, options.imgsz, options.batch, TRAIN)
        for seed in options.seeds:
            for key, trial in chosen.items():
                train_trial(key, trial, teachers, seed, options.steps, place)
    print(table(options.seeds, chosen, options.steps, options.out))
