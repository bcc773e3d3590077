"""What distillation brings on the demo set: a teacher, then the same student without, with parts of, and with HEAD.

    python benchmarks/gain.py --seeds 0 1 2 --out gain

One seed trains the demo's teacher, then four lanes of the demo's student side by side on the same batches: baseline;
assist (the assistant on ground truth alone, no teacher); akd; head (AKD and CKD). `baseline, equal time` is the student
alone again, with as many more steps as HEAD's processor time would have paid for. Prints a Markdown table of AP, mean
and sample standard deviation over the seeds, and of the gain, which is paired: same seed, same batches. Everything
measured is in OUT/gain.json; a seed that is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from headstart.demo import FULL, Budget, draw_data, train_students, train_teacher
from headstart.engine.outcome import Outcome
from headstart.report.results import write_json

LESSON = {"name": "head"}
LANES = {
    "baseline": {"name": "baseline"},
    "assist": {**LESSON, "akd": False, "ckd": False, "transfer": False},
    "akd": {**LESSON, "ckd": False},
    "head": LESSON,
}
EQUAL_TIME = "baseline, equal time"
KEYS = ("AP", "AP50", "AP75")


def measure(seed: int, out: Path, budget: Budget) -> dict[str, dict[str, float]]:
    """AP, AP50, AP75, steps and processor seconds of the teacher and of every lane."""
    data = draw_data(out, budget)
    teacher = train_teacher(data, out, budget.teacher, seed=seed)
    students = train_students(data, out, budget.student, seed=seed, teacher=teacher.file, lanes=LANES)
    rows = {"teacher": _row(teacher, "student"), **{lane: _row(students, lane) for lane in LANES}}
    longer = round(budget.student * rows["head"]["seconds"] / rows["baseline"]["seconds"])
    alone = train_students(data, out, longer, seed=seed, teacher=None, lanes={"baseline": LANES["baseline"]})
    rows[EQUAL_TIME] = _row(alone, "baseline")
    return rows


def _row(outcome: Outcome, lane: str) -> dict[str, float]:
    found = outcome.results["lanes"][lane]
    return {**{key: found["metrics"][key] or 0.0 for key in KEYS}, "steps": found["steps"], "seconds": found["seconds"]}


def table(seeds: dict[str, dict[str, dict[str, float]]]) -> str:
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
    options = parser.parse_args()
    kept = options.out / "gain.json"
    seeds = json.loads(kept.read_text()) if kept.exists() else {}
    for seed in options.seeds:
        if str(seed) not in seeds:
            seeds[str(seed)] = measure(seed, options.out / f"seed{seed}", FULL)
            write_json(kept, seeds)
    print(table(seeds))


if __name__ == "__main__":
    main()
