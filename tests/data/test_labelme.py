"""LabelMe: rectangles and polygons become boxes, other shapes are counted."""

import json

import pytest

from data.data_folders import picture
from headstart.data.discover import open_dataset
from headstart.errors import UserError


def labelme(root, shapes, *, name="a", **content):
    picture(root / "train" / f"{name}.jpg")
    shapes = [{"label": label, "points": points, "shape_type": kind} for label, points, kind in shapes]
    text = json.dumps({"shapes": shapes, "imagePath": f"{name}.jpg", "imageHeight": 30, "imageWidth": 40} | content)
    (root / "train" / f"{name}.json").write_text(text)
    return root


def test_shapes(tmp_path):
    shapes = [
        ("dog", [[9, 12], [1, 2]], "rectangle"),
        ("cat", [[1, 2], [9.5, 3], [5, 12]], "polygon"),
        ("cat", [[1, 2], [5, 2]], "circle"),
        ("cat", [[1, 2]], "point"),
        ("tail", [[1, 2]], "point"),
    ]
    said = []
    dataset = open_dataset(labelme(tmp_path, shapes), "train", report=said.append)
    assert dataset.classes == ("cat", "dog")
    assert dataset.annotations(0)[0].tolist() == [[1, 2, 9, 12], [1, 2, 9.5, 12]]
    assert dataset.annotations(0)[1].tolist() == [1, 0]
    assert any("left out: circle (1), point (2)" in line for line in said)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((" ", [[1, 2], [5, 6]], "rectangle"), "a shape has no label"),
        (("cat", [[1, 2]], "rectangle"), "a rectangle of cat needs 2 or more points"),
        (("cat", [[1, 2], [3, 4]], "polygon"), "a polygon of cat needs 3 or more points"),
        (("cat", [[1, 2], [3]], "rectangle"), "needs 2 or more points"),
        (("cat", None, "rectangle"), "needs 2 or more points"),
        (("cat", [[1, "x"], [3, 4]], "rectangle"), "could not convert"),
        (("cat", [[1, 2], [1, 9]], "rectangle"), "has no area"),
    ],
)
def test_bad_shapes(tmp_path, shape, reason):
    root = labelme(tmp_path, [("cat", [[1, 2], [9, 12]], "rectangle"), shape])
    with pytest.raises(UserError, match="leave out 1 box") as caught:
        open_dataset(root, "train")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"imagePath": "b.jpg"}, "points to image b.jpg, as train/a.json does"),
        ({"imageWidth": 41}, "annotations say 41 x 30"),
    ],
)
def test_bad_files(tmp_path, content, reason):
    box = ("cat", [[1, 2], [9, 12]], "rectangle")
    labelme(tmp_path, [box], name="a", imagePath="b.jpg" if "imagePath" in content else "a.jpg")
    labelme(tmp_path, [box], name="b", **content)
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path, "train")
    assert reason in str(caught.value)


def test_other_json_files(tmp_path):
    root = labelme(tmp_path, [("cat", [[1, 2], [9, 12]], "rectangle")])
    (root / "train" / "info.json").write_text("{}")
    said = []
    assert len(open_dataset(root, "train", report=said.append)) == 1
    assert any("passed over, as no LabelMe files: train/info.json" in line for line in said)
    (root / "train" / "b.json").write_text("{")
    with pytest.raises(UserError, match=r"train/b\.json +is not a readable json file"):
        open_dataset(root, "train")
