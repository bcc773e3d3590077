"""What CrossKD brings beside the student alone and beside plain mimicking; where it is cut; and from a Faster R-CNN.

    python benchmarks/crosskd.py --seeds 0 1 2 --out crosskd [--only gfl-gfl ...] [--table]
    python benchmarks/crosskd.py --steps 3200 --only gfl-gfl-long gfl-atss-long --out crosskd

On drawn pictures, in paired lanes (`parts/paired.py`).
"""

from __future__ import annotations

from parts.paired import Teacher, Trial, make_parser, run_trials
from parts.small import STUDENT, TEACHER

RATE = 0.0015
DENSE = {"depth": 4, "anchor_scale": 4}
OPTIONS: dict[str, dict[str, object]] = {
    "gfl": DENSE,
    "atss": DENSE,
    "retinanet": {**STUDENT["options"], "depth": 4},
    "fasterrcnn": TEACHER["options"],
}
"""Of each family on the small pictures."""


def detector(family: str, backbone: str) -> dict[str, object]:
    return {"name": f"{family}_{backbone}", "width": 64, "pretrained": False, "options": OPTIONS[family]}


TEACHERS = {
    "gfl": Teacher(detector("gfl", "r18"), RATE),
    "atss": Teacher(detector("atss", "r18"), RATE),
    "fasterrcnn": Teacher(detector("fasterrcnn", "r18"), 0.001),
    # Alone, RetinaNet-R18 reaches 9 AP in these steps.
    "retinanet": Teacher(detector("retinanet", "r18"), RATE, taught_by="gfl"),
    # For students that are trained for long: after 3200 steps GFL-R10 alone (37 AP) is ahead of the GFL above (27 AP).
    "gfl-long": Teacher(detector("gfl", "r18"), RATE, steps=10_000),
    "atss-long": Teacher(detector("atss", "r18"), RATE, steps=10_000),
}

MIMIC, CROSS = {"name": "mimic"}, {"name": "crosskd"}
HEAD = {"name": "head", "regions": 64}
THROUGH = {"name": "crosskd", "regions": 64, "through": "assistant"}
BOTH = {"name": "head+crosskd", "head": {"regions": 64}, "crosskd": {"regions": 64}}


def trial(student: str, teacher: str, **lanes: dict[str, object]) -> Trial:
    return Trial(detector(student, "r10"), RATE, teacher, lanes)


TRIALS = {
    "gfl-gfl": trial("gfl", "gfl", mimic=MIMIC, crosskd=CROSS),
    "retinanet-retinanet": trial("retinanet", "retinanet", mimic=MIMIC, crosskd=CROSS),
    "gfl-atss": trial("gfl", "atss", mimic=MIMIC, crosskd=CROSS),
    "gfl-retinanet": trial("gfl", "retinanet", mimic=MIMIC, crosskd=CROSS),
    "gfl-gfl-long": trial("gfl", "gfl-long", mimic=MIMIC, crosskd=CROSS),
    "gfl-atss-long": trial("gfl", "atss-long", mimic=MIMIC, crosskd=CROSS),
    "gfl-gfl-taps": trial("gfl", "gfl", **{f"tap {i}": {**CROSS, "tap": i} for i in (0, 1, 2, 4)}),  # 3: gfl-gfl
    "retinanet-fasterrcnn": trial(
        "retinanet",
        "fasterrcnn",
        **{"head": HEAD, "crosskd": {**CROSS, "regions": 64}, "head+crosskd": BOTH, "through assistant": THROUGH},
    ),
}


def main() -> None:
    run_trials(make_parser(__doc__, "crosskd", TRIALS).parse_args(), TEACHERS, TRIALS)


if __name__ == "__main__":
    main()
