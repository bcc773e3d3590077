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
from headstart.data.dataset import DetectionDataset
from headstart.detectors.detector import Detector
from headstart.engine.predict import find_objects
from headstart.evaluation.best_score import best_score
from headstart.report.gallery import Drawn, Row, comparison

SIDE, BATCH = 224, 4
SCHEDULE = [
    f"train.{key}" for key in ("optimizer=adamw", "weight_decay=0.01", "decay=cosine", "warmup=50", "eval_every=1000")
]
SMALL = "student.width=64"


def find_all(detector: Detector, images: DetectionDataset) -> list[Drawn]:
    """What it finds in every image, of any score."""
    everything = (find_objects(detector, images[i].image, short=SIDE, long=SIDE) for i in range(len(images)))
    return [Drawn.of(found, threshold=0.0) for found in everything]


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
    truth = [
        Drawn(boxes, labels, None, ignored) for boxes, labels, ignored in map(images.annotations, range(len(images)))
    ]
    rows = [Row(images[i].image.permute(1, 2, 0).numpy(), {"ground truth": truth[i]}) for i in options.show]
    for (name, detector), ap in zip(detectors.items(), scores):
        found = find_all(detector, images)
        best = best_score(found, truth)
        print(f"{name}: AP {ap or 0:.1f}, boxes from score {best.score:.2f} on, F1 {best.f1:.3f}")
        for index, row in zip(options.show, rows):
            row.columns[name] = found[index].above(best.score)
    notes = {name: f"AP {ap or 0:.1f}" for name, ap in zip(detectors, scores)}
    picture = comparison(rows, images.classes, notes=notes, footer=options.credit)
    Image.fromarray(picture).save(options.out / "photographs.jpg", quality=85)


if __name__ == "__main__":
    main()
