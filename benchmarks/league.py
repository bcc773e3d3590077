"""The league table: every method on the same pairs, at equal steps and at equal time.

    python benchmarks/league.py --seeds 0 1 2 --out league [--only retinanet-fasterrcnn ...] [--methods head pkd ...]
    python benchmarks/league.py --steps 6400 --only retinanet-fasterrcnn --methods head pkd ...   (near convergence)
    python benchmarks/league.py --data BCCD --imgsz 224 --only retinanet-fasterrcnn --out league-bccd

All methods of a pair are paired lanes of one run (`parts/paired.py`); a method that a pair cannot have is left out,
with the reason. At equal time, a method is compared with the student alone, trained for 1.25, 1.5, 2 and 2.5 times the
steps, linear between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parts.paired import Teacher, Trial, make_parser, run_trials
from parts.small import STUDENT, TEACHER

from headstart.data.shapes_figures import FIGURES
from headstart.detectors.detector import Detector
from headstart.detectors.zoo import build_detector
from headstart.errors import UserError
from headstart.methods import METHODS, Frozen, build_method

RATE = 0.0015
GFL = {"depth": 4, "anchor_scale": 4}
CASCADE = {key: value for key, value in TEACHER["options"].items() if key != "hidden"}
REGIONS = {"regions": 64}
OPTIONS: dict[str, dict[str, object]] = {"head": REGIONS, "crosskd": REGIONS}
"""Of the methods that need any, on small pictures."""

TOGETHER = ("head+crosskd", "head+pkd", "head+pseudo")
FACTORS = (1.25, 1.5, 2.0, 2.5)


def detector(name: str, options: Mapping[str, object]) -> dict[str, object]:
    return {"name": name, "width": 64, "pretrained": False, "options": dict(options)}


TEACHERS = {
    "fasterrcnn": Teacher(detector("fasterrcnn_r18", TEACHER["options"]), 0.001),
    "gfl": Teacher(detector("gfl_r18", GFL), RATE),
    "cascadercnn": Teacher(detector("cascadercnn_r18", CASCADE), 0.001),
}
STUDENTS = {
    "retinanet-fasterrcnn": detector("retinanet_r10", STUDENT["options"]),
    "gfl-gfl": detector("gfl_r10", GFL),
    "yolox-cascadercnn": detector("yolox_r10", {}),
}


def settings(method: str) -> dict[str, object]:
    """A lane's method as a run names it."""
    parts = method.split("+")
    if len(parts) == 1:
        return {"name": method, **OPTIONS.get(method, {})}
    return {"name": method, **{part: OPTIONS[part] for part in parts if part in OPTIONS}}


def build(chosen: Mapping[str, object]) -> Detector:
    options = {key: value for key, value in chosen.items() if key not in ("name", "options")}
    return build_detector(str(chosen["name"]), list(FIGURES), **options, **chosen["options"])


def possible(pair: str, methods: Sequence[str]) -> dict[str, dict[str, object]]:
    """The lanes of a pair; what cannot be had is printed with its reason."""
    student, teacher = build(STUDENTS[pair]), Frozen(build(TEACHERS[pair.split("-")[1]].detector))
    lanes = {}
    for method in methods:
        chosen = settings(method)
        options = {key: value for key, value in chosen.items() if key != "name"}
        try:
            build_method(method, student, teacher, **options)
        except UserError as error:
            print(f"{pair} has no {method}: {error}")
        else:
            lanes[method] = chosen
    return lanes


def main() -> None:
    parser = make_parser(__doc__, "league", STUDENTS)
    known = [*(name for name in METHODS if name != "baseline"), *TOGETHER]
    parser.add_argument("--methods", nargs="+", choices=known, default=known)
    options = parser.parse_args()
    trials = {
        pair: Trial(STUDENTS[pair], RATE, pair.split("-")[1], possible(pair, options.methods), FACTORS)
        for pair in options.only
    }
    run_trials(options, TEACHERS, trials)


if __name__ == "__main__":
    main()
