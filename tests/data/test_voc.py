"""Pascal VOC: pixels counted from 1, difficult objects, several years, and every flaw listed."""

import pytest

from data.data_folders import picture, voc, voc_xml
from headstart.data.discover import open_dataset
from headstart.errors import UserError

CAT = ("cat", 5, 6, 15, 18)


def test_boxes_classes_and_difficult(tmp_path):
    images = {"a": voc_xml([("dog", 1, 1, 40, 30), (*CAT, 1)]), "b": voc_xml([])}
    root = voc(tmp_path, {"train": images, "val": {"c": voc_xml([("ant", 2, 2, 9, 9)])}})
    dataset = open_dataset(root, "train", report=lambda text: None)
    assert dataset.classes == ("ant", "cat", "dog"), "the classes of all splits, so that labels mean the same"
    boxes, labels, ignored = dataset.annotations(0)
    assert boxes.tolist() == [[0, 0, 40, 30], [4, 5, 15, 18]]
    assert labels.tolist() == [2, 1] and ignored.tolist() == [False, True]
    assert len(dataset.annotations(1)[0]) == 0 and len(dataset) == 2
    assert open_dataset(root, "val").classes == dataset.classes


@pytest.mark.parametrize("size", [None, (0, 0), (40, 0), ("", "x")])
def test_size_may_be_missing_or_zero(tmp_path, size):
    dataset = open_dataset(voc(tmp_path, {"train": {"a": voc_xml([CAT], size)}}), "train")
    assert dataset.sizes.tolist() == [[30, 40]]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (("cat", 15, 6, 5, 18), "has no area"),
        (("cat", 5, 6, 5, 6), "has no area"),
        (("cat", 100, 6, 105, 18), "lies outside the image"),
        (("cat", "nan", 6, 15, 18), "is not finite"),
        (("cat", "", 6, 15, 18), "the xmin of a cat is not a number but"),
        (("cat", 5, 6, "15px", 18), "the xmax of a cat is not a number but 15px"),
        ((" ", 5, 6, 15, 18), "an object has no class name"),
    ],
)
def test_bad_objects(tmp_path, bad, reason):
    root = voc(tmp_path, {"train": {"a": voc_xml([CAT, bad])}})
    with pytest.raises(UserError, match="leave out 1 box with --bad-data skip") as caught:
        open_dataset(root, "train")
    assert reason in str(caught.value) and "a." in str(caught.value)
    assert open_dataset(root, "train", bad_data="skip").annotations(0)[0].tolist() == [[4, 5, 15, 18]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation>", "is not readable xml"),
        ("", "is not readable xml"),
        ("<?xml version='1.0' encoding='klingon'?><annotation/>", "is not readable xml"),
        (voc_xml([CAT], (41, 30)), "annotations say 41 x 30"),
        (voc_xml([CAT], (30, 40)), "without the EXIF turn"),
        (None, "this annotation file does not exist"),
    ],
)
def test_bad_annotation_files(tmp_path, text, reason):
    root = voc(tmp_path, {"train": {"a": voc_xml([CAT]), "b": text or ""}})
    if text is None:
        (root / "Annotations" / "b.xml").unlink()
    with pytest.raises(UserError, match="leave out 1 image with --bad-data skip") as caught:
        open_dataset(root, "train")
    assert reason in str(caught.value) and "b." in str(caught.value)
    assert len(open_dataset(root, "train", bad_data="skip")) == 1


def test_missing_and_unreadable_images(tmp_path):
    root = voc(tmp_path, {"train": {name: voc_xml([CAT]) for name in "abc"}})
    (root / "JPEGImages" / "a.jpg").unlink()
    (root / "JPEGImages" / "b.jpg").write_text("no image")
    with pytest.raises(UserError) as caught:
        open_dataset(root, "train")
    assert "points to image a, which is not in JPEGImages" in str(caught.value)
    assert "b.jpg" in str(caught.value) and "not a readable image" in str(caught.value)
    dataset = open_dataset(root, "train", bad_data="skip")
    assert dataset.ids == [2] and dataset.file(0).name == "c.jpg"


def test_years_are_joined_and_listed_columns_understood(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        voc(tmp_path / "VOCdevkit" / year, {"train": {"a": voc_xml([CAT])}})
    (tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "train.txt").write_text("\na  1\n")
    dataset = open_dataset(tmp_path, "train")
    assert dataset.ids == [0, 1] and {dataset.file(i).parts[-3] for i in (0, 1)} == {"VOC2007", "VOC2012"}
    (tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "train.txt").write_text("a\na\n")
    with pytest.raises(UserError, match="lists a twice"):
        open_dataset(tmp_path, "train")


def test_xml_beside_the_images(tmp_path):
    picture(tmp_path / "train" / "a.png")
    (tmp_path / "train" / "a.xml").write_text(voc_xml([CAT]))
    assert open_dataset(tmp_path, "train").annotations(0)[1].tolist() == [0]


def test_no_lists_of_images(tmp_path):
    root = voc(tmp_path, {"train": {"a": voc_xml([CAT])}})
    with pytest.raises(UserError, match=r"\(VOC\) has no val split, only train; add it .*ImageSets/Main/train.txt"):
        open_dataset(root, "val")
    (root / "ImageSets" / "Main" / "train.txt").unlink()
    with pytest.raises(UserError, match=r"not divided .* found 1 image with 1 box in one piece; .*--split 0.2"):
        open_dataset(root, "train")


@pytest.mark.parametrize(
    ("written", "ignored"),
    [
        ("1", True),
        (" 1 ", True),
        ("True", True),
        ("yes", True),
        ("1.0", True),
        ("0", False),
        ("", False),
        ("False", False),
        ("no", False),
        ("Unspecified", False),
    ],
)
def test_difficult_in_every_form(tmp_path, written, ignored):
    root = voc(tmp_path, {"train": {"a": voc_xml([(*CAT, written)])}})
    assert open_dataset(root, "train").annotations(0)[2].tolist() == [ignored]
    for old, new in (("difficult", "Difficult"), ("<name>", "<Name>"), ("</name>", "</Name>")):
        file = root / "Annotations" / "a.xml"
        file.write_text(file.read_text().replace(old, new))
    assert open_dataset(root, "train").annotations(0)[2].tolist() == [ignored]


def test_what_difficult_cannot_be(tmp_path):
    root = voc(tmp_path, {"train": {"a": voc_xml([CAT, (*CAT, "perhaps")])}})
    with pytest.raises(UserError, match="difficult of a cat: perhaps is neither 0 nor 1"):
        open_dataset(root, "train")


def test_names_in_lists(tmp_path):
    """Names with spaces and numbers, with and without the flag column, with suffixes and paths of another machine."""
    names = ["photo 1", "photo 2", "scan 0", "x", "y", "z", "w", "dotted.v2"]
    root = voc(tmp_path, {"train": {name: voc_xml([CAT]) for name in names}})
    lines = [
        "photo 1",
        "photo 2  -1",
        "scan 0",
        "x 1",
        "y.jpg",
        "C:\\VOC\\JPEGImages\\z.jpg",
        "/data/w.xml",
        "dotted.v2",
    ]
    (root / "ImageSets" / "Main" / "train.txt").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    dataset = open_dataset(root, "train")
    assert [dataset.file(i).stem for i in range(len(dataset))] == names


def test_lists_outside_of_imagesets(tmp_path):
    root = voc(tmp_path, {"train": {"a": voc_xml([CAT])}, "val": {"b": voc_xml([CAT])}})
    for split in ("train", "val"):
        (root / "ImageSets" / "Main" / f"{split}.txt").rename(root / f"{split}.txt")
    assert open_dataset(root, "val").file(0).name == "b.jpg"


def test_trainval_is_for_training_where_nothing_else_is(tmp_path):
    root = voc(tmp_path, {"trainval": {"a": voc_xml([CAT])}, "test": {"b": voc_xml([CAT])}})
    assert open_dataset(root, "train").file(0).name == "a.jpg"
    voc(tmp_path, {"train": {"c": voc_xml([CAT])}})
    assert open_dataset(root, "train").file(0).name == "c.jpg"


def test_the_picture_that_the_xml_names(tmp_path):
    picture(tmp_path / "images" / "IMG 0001.PNG")
    (tmp_path / "xml").mkdir()
    text = voc_xml([CAT]).replace("<annotation>", r"<annotation><filename>C:\bob\IMG%200001.png</filename>")
    (tmp_path / "xml" / "first.xml").write_text(text)
    (tmp_path / "train.txt").write_text("first")
    assert open_dataset(tmp_path, "train").file(0).name == "IMG 0001.PNG"


def test_pictures_without_xml_are_counted(tmp_path):
    for name in "abc":
        picture(tmp_path / "train" / f"{name}.jpg")
    (tmp_path / "train" / "a.xml").write_text(voc_xml([CAT]))
    said = []
    assert len(open_dataset(tmp_path, "train", report=said.append)) == 1
    assert any("2 images have no xml file and are left out: train/b.jpg and 1 more" in line for line in said)


def test_files_that_cannot_be_read_are_the_cause_of_no_class(tmp_path):
    root = voc(tmp_path, {"train": {"a": "<annotation>"}})
    with pytest.raises(UserError, match=r"name no class: found 0 images(.|\n)*a\.xml +is not readable xml"):
        open_dataset(root, "train", bad_data="skip")
    (root / "Annotations" / "a.xml").write_text(voc_xml([]))
    with pytest.raises(UserError, match="name no class: found 1 image with 0 boxes; add boxes"):
        open_dataset(root, "train")
