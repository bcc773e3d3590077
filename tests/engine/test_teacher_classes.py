"""Runs whose teacher has other classes than the data."""

import json

import pytest
import torch
import yaml
from torch import nn

from headstart.api import distill
from headstart.classmap import match_classes
from headstart.config import Data
from headstart.data.discover import open_dataset
from headstart.detectors.weights.native import save_detector
from headstart.detectors.zoo import build_detector
from headstart.engine.evaluator import Evaluator
from headstart.engine.fit import fit
from headstart.engine.precision import Precision
from headstart.engine.teacher import compare_classes, measure_teacher
from headstart.errors import UserError
from headstart.evaluation.collect import OnlyClasses
from headstart.recipe import check_run, load_run, plain_run
from headstart.structures import CellIndex, Detections
from headstart.teachers import Frozen


@pytest.fixture(scope="module")
def classes(shapes):
    return open_dataset(shapes, "val").classes


@pytest.fixture(scope="module")
def foreign(classes, tmp_path_factory):
    """A Faster R-CNN of other classes in another order: all of the data but the first backwards, and two more."""
    names = ["zebra", "Round Thing", *(name.upper() for name in reversed(classes[1:]))]
    detector = build_detector("fasterrcnn_r10", names, width=16, hidden=16, pretrained=False)
    return save_detector(detector, tmp_path_factory.mktemp("foreign") / "student.safetensors")


def of(run, file, **changes):
    return check_run(plain_run(run) | {"teacher": str(file)} | changes)


def test_one_map_for_the_students_file_and_the_teacher(tiny_run, foreign, classes, capsys, tmp_path):
    """Each takes the lines whose classes it has; the table says which rows of the file are kept."""
    mine = build_detector("retinanet_mnv2_050", ["My Disc", *classes[1:]], width=16, depth=1, pretrained=False)
    file = save_detector(mine, tmp_path / "mine.safetensors")
    given = {"Round Thing": classes[1], "My Disc": classes[0]}
    run = of(tiny_run(steps=5, precision="fp32"), foreign, class_map=given, student=str(file))
    outcome = fit(run, dry_run=True)
    said = capsys.readouterr().out
    assert f"The student's file finds 10 classes, the data has 10: 10 are known to it ({classes[0]}, " in said
    assert "Classes of the data and of the student's file" in said and "My Disc" in said
    assert "Classes of student and teacher" in said and f"Round Thing + {classes[1].upper()}" in said
    weights = mine.head.cls.weight.detach()
    assert all(torch.equal(student.head.cls.weight.detach(), weights) for student in outcome.students.values())
    for missing in ({"Rund Thing": None}, {"MyDsc": None}):
        with pytest.raises(UserError, match="neither teacher nor student's file has a class"):
            fit(of(run, foreign, class_map=missing), dry_run=True, quiet=True)


def test_a_short_run(tiny_run, foreign, classes, capsys):
    given = {"Round Thing": classes[1], classes[2].upper(): None}
    outcome = fit(of(tiny_run(steps=5, eval_every=1, precision="fp32"), foreign, class_map=given))
    said = capsys.readouterr().out
    assert f"Warning: the teacher knows 8 of the 10 classes, and not {classes[0]}, {classes[2]}." in said
    assert "Classes of student and teacher" in said and f"Round Thing + {classes[1].upper()}" in said
    assert "Teacher on the validation images (8 of 10 classes)" in said
    assert "not from the teacher: 2 of 10 classes" in said
    results = json.loads((outcome.folder / "results.json").read_text())
    expected = {name.upper(): name for name in classes[1:] if name != classes[2]} | {"Round Thing": classes[1]}
    assert results["data"]["class_map"] == {"teacher": expected}
    scores = results["teachers"]["teacher"]
    assert scores["per_class"][classes[2]]["AP"] is None and scores["images"] == 4
    assert set(results["lanes"]["head"]["terms"]) >= {"akd/rcnn/fc0", "akd/rcnn/fc1", "ckd/rcnn"}
    assert load_run(outcome.folder / "run.yaml").class_map == given
    with pytest.raises(UserError, match=r"keeps its settings, but .*class_map\.Round Thing was"):
        distill(resume=outcome.folder, class_map={"Round Thing": None}, quiet=True)
    assert distill(resume=outcome.folder, quiet=True).results["data"]["class_map"] == {"teacher": expected}


def test_the_same_classes_say_nothing(tiny_run, capsys):
    outcome = fit(tiny_run(steps=1, precision="fp32"))
    assert "Classes of student" not in capsys.readouterr().out
    classes = outcome.results["data"]["classes"]
    assert outcome.results["data"]["class_map"] == {"teacher": {name: name for name in classes}}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("zbra: null", "the teacher has no class 'zbra'; did you mean 'zebra'?"),
        ("zebra: dics", "the student has no class 'dics'"),
        ("zebra: [a]", "zebra: expected the name of a class, or null"),
        ("zebra", "such as `tvmonitor: tv`, found a str"),
        (None, "class map .*names.yaml does not exist"),
    ],
)
def test_a_wrong_file_is_answered_before_anything_is_made(given, says, tiny_run, foreign, tmp_path):
    file = tmp_path / "names.yaml"
    if given is not None:
        file.write_text(given)
    with pytest.raises(UserError, match=says):
        fit(of(tiny_run(steps=1, precision="fp32"), foreign, class_map=str(file)), quiet=True)
    assert not (tmp_path / "runs").exists()


def test_no_class_in_common_stops_the_run(tiny_run, tmp_path):
    stranger = build_detector("fasterrcnn_r10", ["zebra"], width=16, hidden=16, pretrained=False)
    with pytest.raises(UserError, match="no class in common"):
        fit(tiny_run(steps=1, precision="fp32"), teacher=stranger, quiet=True)
    assert not (tmp_path / "runs").exists()


def test_a_file_becomes_part_of_the_run(tiny_run, foreign, classes, tmp_path):
    file = tmp_path / "names.yaml"
    file.write_text(yaml.safe_dump({"Round Thing": classes[0]}))
    outcome = fit(of(tiny_run(steps=1, precision="fp32"), foreign, class_map=str(file)), quiet=True)
    file.unlink()
    assert load_run(outcome.folder / "run.yaml").class_map == {"Round Thing": classes[0]}


class Oracle(nn.Module):
    """Finds every object of a data set, under the names of another list of classes; others it calls the last one."""

    def __init__(self, data, names, call):
        super().__init__()
        self.data, self.classes = data, tuple(names)
        self.numbers = torch.tensor([names.index(call.get(name, names[-1])) for name in data.classes])

    def detect(self, batch):
        found = []
        for image in batch.ids:
            boxes, labels, _ = (torch.from_numpy(a) for a in self.data.annotations(self.data.ids.index(image)))
            found.append(Detections(boxes, torch.ones(len(boxes)), self.numbers[labels], CellIndex.none(len(boxes))))
        return found


def measured(shapes, names, call, given=None):
    data = open_dataset(shapes, "val")
    evaluator = Evaluator(
        Data(path=str(shapes), imgsz=64, batch=2), data, device=torch.device("cpu"), precision=Precision()
    )
    teacher = Frozen(Oracle(data, names, call))
    return measure_teacher(teacher, match_classes(names, data.classes, given), evaluator, lambda text: None)


def test_a_teacher_is_measured_in_the_students_classes(shapes, classes):
    """What it knows counts, all of it and nothing else."""
    same = {name: name for name in classes}
    assert measured(shapes, list(classes), same)["AP"] == pytest.approx(100)
    turned = measured(shapes, [*reversed(classes), "junk"], same)
    assert turned["AP"] == pytest.approx(100) and turned["per_class"].keys() == set(classes)
    half = {name: name for name in classes[:5]}
    some = measured(shapes, ["junk", *classes[:5], "other"], half)
    assert some["AP"] == pytest.approx(100)
    assert {name for name, row in some["per_class"].items() if row["AP"] is not None} <= set(classes[:5])
    known = sorted({classes[n] for i in range(4) for n in open_dataset(shapes, "val").annotations(i)[1]} & set(half))
    assert [name for name in classes[:5] if some["per_class"][name]["AP"] is not None] == sorted(
        known, key=classes.index
    )


def test_merged_classes_are_measured_together(shapes, classes):
    counts = open_dataset(shapes, "val").boxes_per_class()
    most = classes[counts.index(max(counts))]
    names = ["big", "small", *(name for name in classes if name != most), "junk"]
    call = {name: name for name in classes} | {most: "small"}
    assert measured(shapes, names, call, {"big": most, "small": most})["AP"] == pytest.approx(100)
    wrong = measured(shapes, names, call, {"big": most})
    assert wrong["AP"] < 99 and wrong["per_class"][most]["AP"] == 0


def test_only_some_classes_are_to_be_found(shapes):
    data = open_dataset(shapes, "val")
    some = OnlyClasses(data, [0, 3])
    assert some.classes == data.classes and some.ids == data.ids and some.sizes is data.sizes
    kept = [label for index in range(len(data)) for label in some.annotations(index)[1]]
    assert set(kept) <= {0, 3} and len(kept) == sum(data.boxes_per_class()[number] for number in (0, 3))
    assert all(len({len(part) for part in some.annotations(index)}) == 1 for index in range(len(data)))


def test_another_spelling_is_shown_and_no_warning():
    said = []
    assert len(compare_classes(match_classes(["tvmonitor"], ["tv"]), said.append)) == 1 and said == []
    assert compare_classes(match_classes(["tv"], ["tv"]), said.append) == []
    assert len(compare_classes(match_classes(["tv", "dog"], ["tv", "dog"], {"dog": None}), said.append)) == 1
    assert len(said) == 1 and "--class-map" in said[0]
