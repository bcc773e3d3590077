"""A picture of what teacher, student alone and student with HEAD find in photographs: the one in the README.

    python benchmarks/photographs.py --data BCCD --out photographs [--steps 300] [--show 3 12 40]

YOLOX on ResNet-10 learns from Faster R-CNN on ResNet-18, nothing pretrained, images fitted into 224 x 224 pixels, 4 in
a step, one seed. Each detector's boxes are drawn from the score on that gives it the best F1 on all validation images
(IoU 0.5). Prints AP, score and F1; writes OUT/photographs.jpg.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from headstart import distill, open_dataset, train
from headstart.config import Data
from headstart.engine.comparison import best_scores, compare_detectors
from headstart.recipe import check_section

SIDE, BATCH = 224, 4
SCHEDULE = [
    f"train.{key}" for key in ("optimizer=adamw", "weight_decay=0.01", "decay=cosine", "warmup=50", "eval_every=1000")
]
SMALL = "student.width=64"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path("photographs"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--show", type=int, nargs="+", default=[3, 12, 40], help="numbers of validation images")
    parser.add_argument("--credit", default="", help="a line below the picture: whose photographs these are")
    options = parser.parse_args()
    common = {"steps": options.steps, "batch": BATCH, "imgsz": SIDE, "bad_data": "skip", "weights": False}
    common |= {"out": str(options.out), "quiet": True}
    rcnn = "student.options={hidden: 256, regions: 128}"
    teacher = train(
        options.data, "fasterrcnn_r18", name="teacher", lr=0.001, settings=[*SCHEDULE, SMALL, rcnn], **common
    )
    students = distill(
        options.data, teacher.file, "yolox_r10", "head", compare=True, name="students", lr=0.0015,
        settings=[*SCHEDULE, SMALL], **common
    )  # fmt: skip
    images = open_dataset(options.data, "val", bad_data="skip")
    detectors = {
        "teacher": teacher.students["student"],
        "student alone": students.students["baseline"],
        "with HEAD": students.students["head"],
    }
    lanes = students.results["lanes"]
    scores = [students.results["teachers"]["teacher"]["AP"], *(lanes[k]["metrics"]["AP"] for k in ("baseline", "head"))]
    aps = {name: ap or 0.0 for name, ap in zip(detectors, scores)}
    view = check_section(Data, {"path": options.data, "imgsz": SIDE, "batch": BATCH})
    best = best_scores(detectors, images, view)
    for name, found in best.items():
        print(f"{name}: AP {aps[name]:.1f}, boxes from score {found.score:.2f} on, F1 {found.f1:.3f}")
    notes = {name: f"AP {ap:.1f}" for name, ap in aps.items()}
    picture = compare_detectors(
        detectors, images, view, scores=best, shown=options.show, notes=notes, footer=options.credit
    )
    Image.fromarray(picture).save(options.out / "photographs.jpg", quality=85)


if __name__ == "__main__":
    main()
