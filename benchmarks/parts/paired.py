"""Paired lanes of one run, over seeds.

A trial is a student, its teacher and the lanes that are trained side by side, from the same weights on the same
batches with one pass of the teacher, so that gains are paired. Everything measured is in
OUT/STEPS/TRIAL-SEED/result.json; a run whose folder is there already is not trained again, so that several processes
may share the work.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gain import spread
from pairs import interval

from headstart.demo import FULL, TRAIN, draw_data
from headstart.engine.fit import fit
from headstart.recipe import check_run
from headstart.report.results import write_json


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

    longer  a lane: the student alone is trained once more, with as many steps as that lane's time would have paid for
    """

    detector: Mapping[str, object]
    rate: float
    teacher: str
    lanes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    longer: str | None = None


@dataclass(frozen=True)
class Place:
    """Where results go, and what is trained on: the folder, the images' size and how many make a step."""

    out: Path
    data: Path
    imgsz: int
    batch: int
    train: Mapping[str, object]


def train_teacher(name: str, teachers: Mapping[str, Teacher], place: Place) -> Path:
    """The weights of a teacher, trained once, whoever asks."""
    folder, teacher = place.out / f"teacher-{name}", teachers[name]
    file = folder / "run" / "student.safetensors"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        while not (folder / "result.json").exists():  # another process is at it
            time.sleep(5)
        return file
    run = settings(teacher.detector, teacher.steps, 0, teacher.rate, folder, place)
    if teacher.taught_by is not None:
        run |= {"teacher": str(train_teacher(teacher.taught_by, teachers, place)), "method": {"name": "head"}}
    found = fit(check_run(run), quiet=True)
    write_json(folder / "result.json", found.results)
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
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    run = settings(trial.detector, steps, seed, trial.rate, folder, place)
    run |= {"teacher": str(teacher), "lanes": {"alone": {"name": "baseline"}, **trial.lanes}}
    found = fit(check_run(run), quiet=True)
    lanes = {name: summary(row, steps) for name, row in found.results["lanes"].items()}
    if trial.longer is not None:
        more = round(steps * lanes[trial.longer]["seconds"] / lanes["alone"]["seconds"])
        run = settings(trial.detector, more, seed, trial.rate, folder, place)
        run |= {"name": "longer", "lanes": {"alone": {"name": "baseline"}}}
        lanes[longer_name(trial)] = summary(fit(check_run(run), quiet=True).results["lanes"]["alone"], more)
    write_json(folder / "result.json", {"teacher": found.results["teachers"]["teacher"]["AP"], **lanes})


def summary(lane: Mapping[str, Any], steps: int) -> dict[str, float]:
    return {"AP": lane["metrics"]["AP"] or 0.0, "seconds": lane["seconds"], "steps": steps}


def longer_name(trial: Trial) -> str:
    return f"alone, {trial.longer}'s time"


def table(seeds: list[int], trials: Mapping[str, Trial], steps: int, out: Path) -> str:
    """Markdown: a row per lane of every trial, of the seeds that are finished.

    Mean and sample standard deviation of AP, the mean gain with its 95 % interval (Student's t over the seeds), and
    seconds of training beside the student alone.
    """
    lines = ["| pair | teacher | method | AP | gain | 95 % interval | time | seeds |", "| --- " * 8 + "|"]
    for name, trial in trials.items():
        files = [out / str(steps) / f"{name}-{seed}" / "result.json" for seed in seeds]
        done = [json.loads(file.read_text()) for file in files if file.exists()]
        longer = [longer_name(trial)] if trial.longer else []
        for lane in ("alone", *trial.lanes, *longer) if done else ():
            gains = [run[lane]["AP"] - run["alone"]["AP"] for run in done]
            times = [run[lane]["seconds"] / run["alone"]["seconds"] for run in done]
            cells = [
                name,
                f"{done[0]['teacher']:.1f}",
                lane,
                spread([run[lane]["AP"] for run in done]),
                "" if lane == "alone" else f"{statistics.mean(gains):+.1f}",
                "" if lane == "alone" else interval(gains),
                f"{statistics.mean(times):.2f}",
                str(len(done)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def make_parser(description: str | None, name: str, trials: Iterable[str]) -> argparse.ArgumentParser:
    """The command line of a benchmark called `name`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path(name))
    parser.add_argument("--only", nargs="+", choices=list(trials), default=list(trials))
    parser.add_argument("--steps", type=int, default=FULL.student)
    parser.add_argument("--data", type=Path, help="a folder of annotated images; without it the demo set is drawn")
    parser.add_argument("--imgsz", type=int, default=FULL.size)
    parser.add_argument("--batch", type=int, default=FULL.batch)
    parser.add_argument("--table", action="store_true", help="only print what is there")
    return parser


def run_trials(options: argparse.Namespace, teachers: Mapping[str, Teacher], trials: Mapping[str, Trial]) -> None:
    """Trains what is missing and prints the table; `options` are those of `make_parser`."""
    chosen = {key: trials[key] for key in options.only}
    if not options.table:
        data = options.data or draw_data(options.out, FULL)
        place = Place(options.out, data, options.imgsz, options.batch, TRAIN)
        for seed in options.seeds:
            for key, trial in chosen.items():
                train_trial(key, trial, teachers, seed, options.steps, place)
    print(table(options.seeds, chosen, options.steps, options.out))
