"""What CrossKD brings beside the student alone and beside plain mimicking; where it is cut; and from a Faster R-CNN.

    python benchmarks/crosskd.py --seeds 0 1 2 --out crosskd [--only gfl-gfl ...] [--steps 800] [--table]

On the demo set. The lanes of a pair are trained side by side, from the same weights on the same batches with one pass
of the teacher, so that gains are paired. Everything measured is in OUT/STEPS/PAIR-SEED/result.json; a run whose folder
is there already is not trained again, so that several processes may share the work. Prints a Markdown table of what is
there: mean and sample standard deviation of AP, and the mean gain with its 95 % interval (Student's t over the seeds).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from gain import spread
from pairs import interval

from headstart.demo import FULL, STUDENT, TEACHER, TRAIN, draw_data
from headstart.engine.fit import fit
from headstart.recipe import check_run
from headstart.report.results import write_json

WIDTH, RATE, TEACHER_RATES = 64, 0.0015, {"fasterrcnn": 0.001}
OPTIONS: dict[str, dict] = {
    "gfl": {"depth": 4, "anchor_scale": 4},
    "atss": {"depth": 4, "anchor_scale": 4},
    "retinanet": {**STUDENT["options"], "depth": 4},
    "fasterrcnn": TEACHER["options"],
}
"""Of each family on the demo's small pictures."""

TEACHER_STEPS = 2500


@dataclass(frozen=True)
class Pair:
    """A student's family, its teacher's, and the lanes besides the student alone."""

    student: str
    teacher: str
    lanes: dict[str, dict]


MIMIC, CROSS = {"name": "mimic"}, {"name": "crosskd"}
HEAD = {"name": "head", "regions": 64}
THROUGH = {"name": "crosskd", "regions": 64, "through": "assistant"}
PAIRS = {
    "gfl-gfl": Pair("gfl", "gfl", {"mimic": MIMIC, "crosskd": CROSS}),
    "retinanet-retinanet": Pair("retinanet", "retinanet", {"mimic": MIMIC, "crosskd": CROSS}),
    "gfl-atss": Pair("gfl", "atss", {"mimic": MIMIC, "crosskd": CROSS}),
    "gfl-retinanet": Pair("gfl", "retinanet", {"mimic": MIMIC, "crosskd": CROSS}),
    "gfl-gfl-taps": Pair("gfl", "gfl", {f"tap {i}": {**CROSS, "tap": i} for i in range(5)}),
    "retinanet-fasterrcnn": Pair(
        "retinanet",
        "fasterrcnn",
        {"head": HEAD, "crosskd": {**CROSS, "regions": 64}, "through assistant": THROUGH},
    ),
}


def train_teacher(family: str, out: Path, data: Path) -> Path:
    """The weights of a teacher, trained once, whoever asks."""
    folder = out / f"teacher-{family}"
    file = folder / "run" / "student.safetensors"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        while not (folder / "result.json").exists():  # another process is at it
            time.sleep(5)
        return file
    rate = TEACHER_RATES.get(family, RATE)
    found = fit(check_run(settings(family, "r18", TEACHER_STEPS, 0, rate, folder, data)), quiet=True)
    write_json(folder / "result.json", found.results)
    return file


def settings(family: str, backbone: str, steps: int, seed: int, rate: float, folder: Path, data: Path) -> dict:
    detector = {"name": f"{family}_{backbone}", "width": WIDTH, "pretrained": False, "options": OPTIONS[family]}
    return {
        "data": {"path": str(data), "imgsz": FULL.size, "batch": FULL.batch},
        "student": detector,
        "train": {**TRAIN, "lr": rate, "steps": steps, "seed": seed, "eval_every": 1000},
        "name": "run",
        "out": str(folder),
    }


def train_pair(name: str, pair: Pair, seed: int, steps: int, out: Path, data: Path) -> None:
    """All lanes of a pair, unless they are there or somebody else is at it."""
    folder = out / str(steps) / f"{name}-{seed}"
    teacher = train_teacher(pair.teacher, out, data)
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        return
    run = settings(pair.student, "r10", steps, seed, RATE, folder, data)
    run |= {"teacher": str(teacher), "lanes": {"alone": {"name": "baseline"}, **pair.lanes}}
    found = fit(check_run(run), quiet=True)
    lanes = found.results["lanes"]
    write_json(
        folder / "result.json",
        {
            "teacher": found.results["teachers"]["teacher"]["AP"],
            **{lane: {"AP": row["metrics"]["AP"] or 0.0, "seconds": row["seconds"]} for lane, row in lanes.items()},
        },
    )


def table(seeds: list[int], chosen: dict[str, Pair], steps: int, out: Path) -> str:
    """Markdown: a row per lane of every pair, of the seeds that are finished."""
    lines = ["| pair | teacher | method | AP | gain | 95 % interval | time | seeds |", "| --- " * 8 + "|"]
    for name, pair in chosen.items():
        files = [out / str(steps) / f"{name}-{seed}" / "result.json" for seed in seeds]
        done = [json.loads(file.read_text()) for file in files if file.exists()]
        for lane in ("alone", *pair.lanes) if done else ():
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("crosskd"))
    parser.add_argument("--only", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--steps", type=int, default=FULL.student)
    parser.add_argument("--table", action="store_true", help="only print what is there")
    options = parser.parse_args()
    chosen = {name: PAIRS[name] for name in options.only}
    if not options.table:
        data = draw_data(options.out, FULL)
        for seed in options.seeds:
            for name, pair in chosen.items():
                train_pair(name, pair, seed, options.steps, options.out, data)
    print(table(options.seeds, chosen, options.steps, options.out))


if __name__ == "__main__":
    main()
