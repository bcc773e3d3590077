"""A weights file on data that calls its classes otherwise."""

import json
import shutil

import pytest

from engine.test_teacher_classes import Oracle
from headstart.classmap import match_classes
from headstart.data.discover import open_dataset
from headstart.detectors.weights.importing import NATIVE, Imported
from headstart.engine import predict
from headstart.errors import UserError


@pytest.fixture(scope="module")
def classes(shapes):
    return open_dataset(shapes, "val").classes


@pytest.fixture
def scored(shapes, monkeypatch):
    """The numbers of a detector that finds everything under its own names, and what was said of the names."""

    def score(names, call, data=shapes, **options):
        oracle = Oracle(open_dataset(shapes, "val"), names, call)
        monkeypatch.setattr(predict, "open_detector", lambda file: Imported(oracle, NATIVE, {}, []))
        said = []
        options = {"imgsz": 64, "device": "cpu", "say": said.append, "voc": True} | options
        numbers = predict.validate("w.safetensors", data, **options)
        what, boxes, *others = said
        assert " val: 4 images, " in what and boxes.startswith("Images: ")
        return numbers, others

    return score


def test_the_same_classes_in_another_order_and_spelling(scored, classes):
    same, said = scored(list(classes), {name: name for name in classes})
    assert same["AP"] == pytest.approx(100) and list(same["per_class"]) == list(classes) and said == []
    turned, said = scored([name.upper() for name in reversed(classes)], {name: name.upper() for name in classes})
    assert turned["AP"] == pytest.approx(100) and turned["VOC_AP"] == pytest.approx(100)
    assert list(turned["per_class"]) == list(reversed(classes))
    assert len(said) == 1 and f"{classes[-1].upper()} as {classes[-1]}" in said[0]


def test_only_classes_of_both_sides_count(scored, classes):
    found, said = scored(["zebra", *classes[:4], "junk"], {name: name for name in classes[:4]})
    assert found["AP"] == pytest.approx(100) and list(found["per_class"]) == list(classes[:4])
    assert said == ["Measured on 4 classes; not in the data and left out: zebra, junk"]


def test_a_class_map(scored, classes, tmp_path):
    """Renamed, left out and merged classes; as a mapping and as a file."""
    names = ["round", *classes[1:-1], "pointed", "junk"]
    call = {name: name for name in classes} | {classes[0]: "round", classes[-1]: "pointed"}
    plain, _ = scored(names, call)
    assert list(plain["per_class"]) == list(classes[1:-1])
    given = {"round": classes[0], "pointed": classes[-1], classes[1]: None}
    (tmp_path / "names.yaml").write_text(
        f"round: {classes[0]}\npointed: {classes[-1]}\n{classes[1]}: null\n", encoding="utf-8"
    )
    for way in (given, tmp_path / "names.yaml", str(tmp_path / "names.yaml")):
        mapped, said = scored(names, call, class_map=way)
        assert list(mapped["per_class"]) == [classes[0], *classes[2:]]
        assert mapped["AP"] == pytest.approx(100)
        assert f"round as {classes[0]}" in said[0] and classes[1] in said[1]


def test_a_class_without_objects_in_this_split(scored, shapes, classes, tmp_path):
    """The other split names it, so it is known, and undefined."""
    folder = shutil.copytree(shapes, tmp_path / "copy")
    file = folder / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    gone = next(category["id"] for category in content["categories"] if category["name"] == classes[-1])
    content["categories"] = [category for category in content["categories"] if category["id"] != gone]
    content["annotations"] = [row for row in content["annotations"] if row["category_id"] != gone]
    file.write_text(json.dumps(content))
    found, said = scored(list(classes), {name: name for name in classes}, data=folder)
    assert said == [] and found["per_class"][classes[-1]]["AP"] is None and len(found["per_class"]) == len(classes)


@pytest.mark.parametrize(
    ("names", "given", "says"),
    [
        (["zebra", "gnu"], None, "detector and data have no class in common: the detector finds zebra, gnu; the data"),
        (["zebra", "gnu"], {"zbra": None}, "the detector has no class 'zbra'; did you mean 'zebra'"),
        (["zebra", "gnu"], {"zebra": "hart"}, "the data has no class 'hart'; did you mean 'heart'"),
        (["zebra", "gnu"], {"zebra": ["heart"]}, r"expected `detector class: data class` \(or null\), found 'zebra'"),
        (["zebra", "gnu"], "nowhere.yaml", "class map nowhere.yaml does not exist"),
    ],
)
def test_what_cannot_be_measured(scored, names, given, says):
    with pytest.raises(UserError, match=says):
        scored(names, {}, class_map=given)


def test_names_are_compared_in_words():
    same = match_classes(["cat", "dog"], ["cat", "dog"])
    other = match_classes(["tvmonitor", "dog", "gnu"], ["tv", "dog"])
    assert predict.compare_names(same) == []
    assert predict.compare_names(other) == [
        "Classes of another name in the data: tvmonitor as tv",
        "Measured on 2 classes; not in the data and left out: gnu",
    ]
