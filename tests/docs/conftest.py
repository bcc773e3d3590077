import shutil

import pytest

from docs.tiny_runs import TEACHER
from headstart.data.discover import open_dataset
from headstart.data.shapes import make_shapes
from headstart.detectors.weights.native import save_detector
from headstart.detectors.zoo import build_detector
from headstart.report.results import run_results, write_json

WEIGHTS = {
    TEACHER: "fasterrcnn",
    "runs/teacher/best.safetensors": "fasterrcnn",
    "TEACHER.safetensors": "fasterrcnn",
    "rcnn.safetensors": "fasterrcnn",
    "reppoints.safetensors": "reppoints",
    "gfl.safetensors": "gfl",
    "retinanet.safetensors": "retinanet",
    "cascadercnn.safetensors": "cascadercnn",
}
"""The files of weights that pages take for granted, and their families."""


def finished_run(classes):
    """results.json of the run that trained the teacher."""
    data = {"path": "my-data", "name": "my-data", "classes": list(classes), "train_images": 8, "val_images": 3}
    data |= {"batch": 2, "steps_per_epoch": 4, "seed": 0}
    lane = {"method": {"name": "baseline"}, "metrics": {}, "best": None, "history": [], "steps": 2, "seconds": 1.0}
    return run_results("teacher", data, {"student": lane | {"terms": {}}})


@pytest.fixture(scope="session")
def material(tmp_path_factory):
    """my-data (and DIR, the same), photos, my-photos (not divided), names.yaml, a run, weights of teachers.

    They are copied for each page.
    """
    folder = tmp_path_factory.mktemp("docs")
    data = make_shapes(folder / "my-data", train=8, val=3, size=64)
    shutil.copytree(data, folder / "DIR")
    shutil.copytree(data / "val", folder / "photos")
    shutil.copytree(data / "train", folder / "my-photos" / "images")
    (folder / "my-photos" / "annotations.json").write_bytes(
        (data / "annotations" / "instances_train.json").read_bytes()
    )
    classes = open_dataset(data, "val").classes
    (folder / "names.yaml").write_text(f"{classes[0]}: {classes[1]}\n", encoding="utf-8")
    for file, family in WEIGHTS.items():
        options = {"hidden": 16} if family == "fasterrcnn" else {}
        teacher = build_detector(family, classes, backbone="mnv2_050", pretrained=False, width=16, **options)
        save_detector(teacher, folder / file, size={"short": 64, "long": 64}, lane="student", step=2, metrics={})
    write_json((folder / TEACHER).with_name("results.json"), finished_run(classes))
    return folder
