"""A picture of what teacher, student alone and student with HEAD find in photographs: the one in the README.

    python benchmarks/photographs.py --data BCCD --out photographs [--steps 300] [--show 3 12 40]

YOLOX on ResNet-10 learns from Faster R-CNN on ResNet-18, nothing pretrained, images fitted into 224 x 224 pixels, 4 in
a step, one seed. Each detector's boxes are drawn from the score on that gives it the best F1 on all validation images
(IoU 0.5). Prints AP, score and F1; writes OUT/photographs.jpg.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.ops import box_iou

from headstart import distill, open_dataset, train
from headstart.data.dataset import DetectionDataset
from headstart.detectors.detector import Detector
from headstart.engine.predict import find_objects
from headstart.report.gallery import Drawn, Row, comparison

SIDE, BATCH = 224, 4
SCHEDULE = [
    f"train.{key}" for key in ("optimizer=adamw", "weight_decay=0.01", "decay=cosine", "warmup=50", "eval_every=1000")
]
SMALL = "student.width=64"


def best_score(detector: Detector, images: DetectionDataset) -> tuple[float, float]:
    """The score from which on boxes give the best F1, and that F1; a box is right at IoU 0.5 with a free object."""
    scores, right, objects = [], [], 0
    for index in range(len(images)):
        sample = images[index]
        found = find_objects(detector, sample.image, short=SIDE, long=SIDE)
        objects += len(sample.boxes)
        free = list(range(len(sample.boxes)))
        overlap = box_iou(found.boxes, sample.boxes)
        for row, label in enumerate(found.labels.tolist()):
            own = [j for j in free if sample.labels[j] == label and overlap[row, j] >= 0.5]
            match = max(own, key=lambda j, row=row: float(overlap[row, j]), default=None)
            if match is not None:
                free.remove(match)
            scores.append(float(found.scores[row]))
            right.append(match is not None)
    order = np.argsort(-np.array(scores), kind="stable")
    hits = np.array(right)[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + objects)
    place = int(f1.argmax())
    return scores[order[place]], float(f1[place])


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
    chosen = {}
    for (name, detector), ap in zip(detectors.items(), scores):
        chosen[name], f1 = best_score(detector, images)
        print(f"{name}: AP {ap or 0:.1f}, boxes from score {chosen[name]:.2f} on, F1 {f1:.3f}")
    rows = []
    for index in options.show:
        boxes, labels, ignored = images.annotations(index)
        pixels = images[index].image
        columns = {"ground truth": Drawn(boxes, labels, None, ignored)}
        for name, detector in detectors.items():
            columns[name] = Drawn.of(find_objects(detector, pixels, short=SIDE, long=SIDE), threshold=chosen[name])
        rows.append(Row(pixels.permute(1, 2, 0).numpy(), columns))
    notes = {name: f"AP {ap or 0:.1f}" for name, ap in zip(detectors, scores)}
    picture = comparison(rows, images.classes, notes=notes, footer=options.credit)
    Image.fromarray(picture).save(options.out / "photographs.jpg", quality=85)


if __name__ == "__main__":
    main()
