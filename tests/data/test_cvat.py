"""CVAT's xml: boxes and polygons, subsets, and what is not read."""

import pytest

from data.data_folders import picture
from headstart.data.discover import open_dataset
from headstart.errors import UserError

BOX = '<box label="dog" xtl="1" ytl="2" xbr="9.5" ybr="12"/>'


def cvat(root, images, meta=""):
    """images: (name, attributes, shapes)"""
    text = ""
    for i, (name, attributes, shapes) in enumerate(images):
        picture(root / "images" / f"{name}.jpg")
        text += f'<image id="{i}" name="{name}.jpg" width="40" height="30" {attributes}>{shapes}</image>'
    (root / "annotations.xml").write_text(f"<annotations>{meta}{text}</annotations>")
    return root


def test_shapes_subsets_and_the_classes_of_the_task(tmp_path):
    polygon = '<polygon label="cat" points="1.0,2;9,3;5,12"/><points label="cat" points="1,2"/>'
    images = [("a", 'subset="Train"', BOX + polygon), ("b", 'subset="Validation"', BOX)]
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("dog", "cat", "ant"))
    root = cvat(tmp_path, images, f"<meta><task><labels>{labels}</labels></task></meta>")
    said = []
    train = open_dataset(root, "train", report=said.append)
    assert train.classes == ("dog", "cat", "ant") and train.annotations(0)[1].tolist() == [0, 1]
    assert train.annotations(0)[0].tolist() == [[1, 2, 9.5, 12], [1, 2, 9, 12]]
    assert any("left out: points (1)" in line for line in said)
    assert open_dataset(root, "val", report=str).file(0).name == "b.jpg"


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ('<box xtl="1" ytl="2" xbr="9" ybr="12"/>', "a box has no label"),
        ('<box label="dog" xtl="1" ytl="2" xbr="x" ybr="12"/>', "corners that are not numbers"),
        ('<polygon label="dog" points="1,2;3"/>', "corners that are not numbers"),
    ],
)
def test_bad_shapes(tmp_path, shape, reason):
    with pytest.raises(UserError, match=reason):
        open_dataset(cvat(tmp_path, [("a", 'subset="train"', BOX + shape)]), "train")


def test_what_is_not_read(tmp_path):
    (tmp_path / "annotations.xml").write_text("<annotations><track/></annotations>")
    with pytest.raises(UserError, match=r"without images .*export the task as COCO"):
        open_dataset(tmp_path, "train")
    cvat(tmp_path, [("a", "", BOX)])
    (tmp_path / "more.xml").write_text("<annotations/>")
    with pytest.raises(UserError, match=r"several CVAT files, annotations.xml, more.xml; export"):
        open_dataset(tmp_path, "train")
