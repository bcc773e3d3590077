"""What HEAD brings to other pairs of detectors, TF-HEAD without any teacher, and fewer or more regions.

    python benchmarks/pairs.py --seeds 0 1 2 --out pairs [--only fcos-fasterrcnn retinanet-free ...] [--table]

On drawn pictures. Teachers are trained once, every student alone and by HEAD with each seed. Runs of one seed start
from the same weights and see the same batches, so that gains are paired. Everything measured is in
OUT/RUN/result.json; a run whose folder is there already is not trained again, so that several processes may share the
work. Prints a Markdown table of what is there: mean and sample standard deviation of AP, and the mean gain with its
95 % interval (Student's t over the seeds).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gain import spread
from parts.small import FULL, LANES, STUDENT, TEACHER, TRAIN, draw_data

from headstart.engine.fit import fit
from headstart.recipe import check_run
from headstart.report.results import write_json

WIDTH = 64
FAMILIES: dict[str, dict[str, Any]] = {
    "retinanet": STUDENT["options"],
    "fcos": {"depth": 2},
    "gfl": {"depth": 2, "anchor_scale": 4},
    "reppoints": {"depth": 2},
    "fasterrcnn": TEACHER["options"],
    "cascadercnn": TEACHER["options"],
}
"""The options of each family on the small pictures."""

ANCHORS = {"anchor_scale": STUDENT["options"]["anchor_scale"]}
HEAD = LANES["head"]
REGIONS = (64, 128, 256, 512)
"""Per image, of a dense student. The Faster R-CNN of small pictures samples 64 for itself."""


@dataclass(frozen=True)
class Pair:
    """A student, its teacher (None: TF-HEAD) and the method."""

    student: str
    teacher: str | None
    method: dict[str, Any] = field(default_factory=lambda: {"name": "head"})


PAIRS = {
    "retinanet-free": Pair("retinanet", None, {**HEAD, "assistants": {"fcos": {}, "rcnn": {}}}),
    "fcos-free": Pair("fcos", None, {**HEAD, "assistants": {"retinanet": ANCHORS, "rcnn": {}}}),
    "fcos-fasterrcnn": Pair("fcos", "fasterrcnn", HEAD),
    "fasterrcnn-cascadercnn": Pair("fasterrcnn", "cascadercnn"),
    "retinanet-reppoints": Pair("retinanet", "reppoints"),
    "retinanet-gfl": Pair("retinanet", "gfl"),
    "fasterrcnn-retinanet": Pair("fasterrcnn", "retinanet"),
    **{f"regions-{n}": Pair("retinanet", "fasterrcnn", {**HEAD, "regions": n}) for n in REGIONS},
    "fasterrcnn-cascadercnn-16": Pair("fasterrcnn", "cascadercnn", {**HEAD, "regions": 16}),
}

RATES = {"fasterrcnn": 0.001, "cascadercnn": 0.001}
RATE = 0.0015
TEACHER_STEPS = {"retinanet": 2500, "reppoints": 2500}
"""Where it is not 1000: these two learn slowly from scratch."""
TAUGHT = {"retinanet": "cascadercnn"}
"""Teachers that had one themselves: alone, RetinaNet-R18 stays below the Faster R-CNN student that it is to teach."""
QUANTILE = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Of Student's t for a 95 % interval, by the number of seeds."""


@dataclass(frozen=True)
class Job:
    """One run."""

    family: str
    backbone: str
    steps: int
    seed: int
    teacher: str | None = None
    method: dict[str, Any] | None = None


def jobs(seeds: list[int], chosen: dict[str, Pair]) -> dict[str, Job]:
    """Every run by name, in the order in which they can be trained."""
    pairs = chosen.values()
    teachers = {p.teacher for p in pairs if p.teacher}
    order = sorted(teachers | {TAUGHT[t] for t in teachers if t in TAUGHT}, key=lambda t: (t in TAUGHT, t))
    found = {}
    for name in order:
        method = HEAD if name in TAUGHT else None
        found[f"teacher-{name}"] = Job(name, "r18", TEACHER_STEPS.get(name, 1000), 0, TAUGHT.get(name), method)
    for seed in seeds:
        found |= {f"{p.student}-alone-{seed}": Job(p.student, "r10", FULL.student, seed) for p in pairs}
        for name, p in chosen.items():
            found[f"{name}-{seed}"] = Job(p.student, "r10", FULL.student, seed, p.teacher, p.method)
    return found


def train(name: str, job: Job, out: Path, data: Path) -> None:
    """One run, unless it is there or somebody else is at it."""
    folder = out / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    detector = {"name": f"{job.family}_{job.backbone}", "width": WIDTH, "pretrained": False}
    run: dict[str, Any] = {
        "data": {"path": str(data), "imgsz": FULL.size, "batch": FULL.batch},
        "student": {**detector, "options": FAMILIES[job.family]},
        "train": {**TRAIN, "lr": RATES.get(job.family, RATE), "steps": job.steps, "seed": job.seed},
        "name": "run",
        "out": str(folder),
    }
    if job.method is not None:
        run["method"] = job.method
    if job.teacher is not None:
        teacher = out / f"teacher-{job.teacher}"
        while not (teacher / "result.json").exists():  # another process is at it
            time.sleep(5)
        run["teacher"] = str(teacher / "run" / "student.safetensors")
    outcome = fit(check_run(run), quiet=True)
    found = next(iter(outcome.results["lanes"].values()))
    metrics = {key: found["metrics"][key] or 0.0 for key in ("AP", "AP50", "AP75")}
    write_json(folder / "result.json", {**metrics, "steps": found["steps"], "seconds": found["seconds"]})


def table(seeds: list[int], chosen: dict[str, Pair], out: Path) -> str:
    """Markdown: a row per pair with the seeds that are finished."""
    lines = ["| pair | teacher | alone | HEAD | gain | 95 % interval | seeds |", "| --- " * 7 + "|"]
    for name, pair in chosen.items():
        both = [(_ap(out, f"{pair.student}-alone-{seed}"), _ap(out, f"{name}-{seed}")) for seed in seeds]
        done = [(alone, taught) for alone, taught in both if alone is not None and taught is not None]
        if not done:
            continue
        gains = [taught - alone for alone, taught in done]
        teacher = _ap(out, f"teacher-{pair.teacher}") if pair.teacher else None
        cells = [
            name,
            "" if teacher is None else f"{teacher:.1f}",
            spread([alone for alone, _ in done]),
            spread([taught for _, taught in done]),
            f"{statistics.mean(gains):+.1f}",
            interval(gains),
            str(len(done)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def interval(gains: list[float]) -> str:
    """From ... to ... of the mean."""
    if len(gains) not in QUANTILE:
        return ""
    half = QUANTILE[len(gains)] * statistics.stdev(gains) / math.sqrt(len(gains))
    mean = statistics.mean(gains)
    return f"{mean - half:+.1f} to {mean + half:+.1f}"


def _ap(out: Path, name: str) -> float | None:
    path = out / name / "result.json"
    return json.loads(path.read_text())["AP"] if path.exists() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("pairs"))
    parser.add_argument("--only", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--table", action="store_true", help="only print what is there")
    options = parser.parse_args()
    chosen = {name: PAIRS[name] for name in options.only}
    if not options.table:
        data = draw_data(options.out)
        for name, job in jobs(options.seeds, chosen).items():
            train(name, job, options.out, data)
    print(table(options.seeds, chosen, options.out))


if __name__ == "__main__":
    main()
