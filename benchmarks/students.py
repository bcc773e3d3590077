"""What HEAD, CWD and PKD bring to the students that people deploy, YOLOX and RTMDet, at equal steps and equal time.

    python benchmarks/students.py --seeds 0 1 2 --out students [--only yolox-cascadercnn ...] [--table]
    python benchmarks/students.py --data facemask --imgsz 160 --weights efficientnet-lite0-57934424.pth --out facemask

In paired lanes (`parts/paired.py`), on drawn pictures from scratch, or on a folder of one's own with a pretrained
EfficientNet-Lite0 (`--weights`, see docs/cli.md) under every detector. The gain at equal time is against the
student alone with as many steps as HEAD's time would have paid for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parts.paired import Teacher, Trial, make_parser, run_trials
from parts.small import TEACHER

RATE = 0.0015
LANES = {"head": {"name": "head", "regions": 64}, "cwd": {"name": "cwd"}, "pkd": {"name": "pkd"}}

RCNN = TEACHER["options"]
CASCADE = {key: value for key, value in RCNN.items() if key != "hidden"}


def detector(family: str, body: Mapping[str, object], width: int = 64, **options: object) -> dict[str, object]:
    return {"name": family, "width": width, **body, "options": options}


def plan(weights: Path | None) -> tuple[dict[str, Teacher], dict[str, Trial]]:
    """Teachers and trials. With ImageNet weights every detector stands on them, without on ResNets from scratch."""
    if weights is None:
        small = {"backbone": "r10", "pretrained": False}
        large = {"backbone": "r18", "pretrained": False}
    else:
        small = large = {"backbone": "tf_efficientnet_lite0", "pretrained": str(weights)}
    teachers = {
        "fasterrcnn": Teacher(detector("fasterrcnn", large, **RCNN), 0.001),
        "cascadercnn": Teacher(detector("cascadercnn", large, **CASCADE), 0.001),
        "rtmdet": Teacher(detector("rtmdet", large, width=128), RATE),
    }
    trials = {
        f"{student}-{teacher}": Trial(detector(student, small), RATE, teacher, LANES, longer=("head",))
        for student, teacher in (
            ("yolox", "cascadercnn"),
            ("rtmdet", "fasterrcnn"),
            ("rtmdet", "cascadercnn"),
            ("rtmdet", "rtmdet"),
        )
    }
    return teachers, trials


def main() -> None:
    parser = make_parser(__doc__, "students", plan(None)[1])
    parser.add_argument("--weights", type=Path, help="ImageNet weights of EfficientNet-Lite0; without, nothing is")
    options = parser.parse_args()
    run_trials(options, *plan(options.weights))


if __name__ == "__main__":
    main()
