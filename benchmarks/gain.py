"""What distillation brings: a teacher, then the same student without, with parts of, and with HEAD.

    python benchmarks/gain.py --seeds 0 1 2 --out gain
    python benchmarks/gain.py --seeds 0 1 --out gain-mine --data DIR --size 240 --lanes baseline head regions-512

On drawn pictures, or on a folder of your own. One seed trains the teacher of parts/small.py, then four lanes of its
student side by side on the same batches: baseline; assist (the assistant on ground truth alone, no teacher); akd;
head (AKD and CKD). `baseline, equal time` is the student alone again, with as many more steps as HEAD's time would
have paid for. Prints a Markdown table of AP, mean and sample standard deviation over the seeds, and of the gain,
which is paired: same seed, same batches. Everything measured is in OUT/gain.json; a seed that is there already is not
run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from parts.small import FULL, Budget, draw_data, train_students, train_teacher
from parts.small import LANES as SMALL_LANES

from headstart.engine.outcome import Outcome
from headstart.report.results import write_json

LESSON = SMALL_LANES["head"]
LANES = {
    "baseline": SMALL_LANES["baseline"],
    "assist": {**LESSON, "akd": False, "ckd": False, "transfer": False},
    "head": LESSON,
    "akd": {**LESSON, "ckd": False},
}
MORE_REGIONS = {f"regions-{n}": {**LESSON, "regions": n} for n in (128, 256, 512)}
"""Only where `--lanes` names them; `head` has 64."""
EQUAL_TIME = "baseline, equal time"
KEYS = ("AP", "AP50", "AP75")

Rows = dict[str, dict[str, float]]


def measure(
    seed: int, out: Path, data: Path | None, budget: Budget, lanes: dict[str, Any], *, equal_time: bool = True
) -> Rows:
    """AP, AP50, AP75, steps and training seconds of the teacher and of every lane."""
    data = data or draw_data(out, budget)
    teacher = train_teacher(data, out, budget, seed)
    students = train_students(data, out, budget, seed, teacher=teacher.file, lanes=lanes)
    rows = {"teacher": _row(teacher, "student"), **{lane: _row(students, lane) for lane in lanes}}
    if not equal_time:
        return rows
    longer = replace(budget, student=round(budget.student * rows["head"]["seconds"] / rows["baseline"]["seconds"]))
    alone = train_students(data, out, longer, seed, teacher=None, lanes={"baseline": lanes["baseline"]})
    rows[EQUAL_TIME] = _row(alone, "baseline")
    return rows


def _row(outcome: Outcome, lane: str) -> dict[str, float]:
    found = outcome.results["lanes"][lane]
    return {**{key: found["metrics"][key] or 0.0 for key in KEYS}, "steps": found["steps"], "seconds": found["seconds"]}


def table(seeds: dict[str, Rows]) -> str:
    """Markdown: a row per lane."""
    lines = ["| | steps | seconds | AP | AP50 | gain in AP |", "| --- | --- | --- | --- | --- | --- |"]
    for lane in next(iter(seeds.values())):
        runs = [seed[lane] for seed in seeds.values()]
        gains = [seed[lane]["AP"] - seed["baseline"]["AP"] for seed in seeds.values()]
        gain = "" if lane in ("teacher", "baseline") else spread(gains, signed=True)
        steps, seconds = (round(statistics.mean(run[key] for run in runs)) for key in ("steps", "seconds"))
        ap, ap50 = (spread([run[key] for run in runs]) for key in ("AP", "AP50"))
        lines.append(f"| {lane} | {steps} | {seconds} | {ap} | {ap50} | {gain} |")
    return "\n".join(lines)


def spread(values: list[float], *, signed: bool = False) -> str:
    """mean ± sample standard deviation"""
    mean = f"{statistics.mean(values):{'+' if signed else ''}.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("gain"))
    parser.add_argument("--data", type=Path, help="another data set than the drawn shapes (bad boxes are left out)")
    parser.add_argument("--size", type=int, default=FULL.size, help="pixels of the shorter side")
    parser.add_argument("--batch", type=int, default=FULL.batch)
    parser.add_argument("--teacher-steps", type=int, default=FULL.teacher)
    parser.add_argument("--student-steps", type=int, default=FULL.student)
    parser.add_argument("--equal-time", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--lanes", nargs="+", choices=[*LANES, *MORE_REGIONS], default=list(LANES))
    options = parser.parse_args()
    budget = replace(
        FULL,
        size=options.size,
        batch=options.batch,
        teacher=options.teacher_steps,
        student=options.student_steps,
    )
    known = LANES | MORE_REGIONS
    lanes = {lane: known[lane] for lane in known if lane in {"baseline", "head", *options.lanes}}
    kept = options.out / "gain.json"
    seeds = json.loads(kept.read_text()) if kept.exists() else {}
    for seed in options.seeds:
        if str(seed) not in seeds:
            folder = options.out / f"seed{seed}"
            equal_time = options.equal_time
            seeds[str(seed)] = measure(seed, folder, options.data, budget, lanes, equal_time=equal_time)
            write_json(kept, seeds)
    print(table(seeds))


if __name__ == "__main__":
    main()
