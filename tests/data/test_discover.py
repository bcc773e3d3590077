"""What is said when the folder, the split or the classes are not as expected; and the same data in three formats."""

import numpy as np
import pytest

from data.data_folders import annotation, coco, picture, voc, voc_xml, yolo
from headstart.data.discover import open_dataset
from headstart.data.problems import SHOWN
from headstart.errors import UserError


def test_the_formats_give_the_same_samples(tmp_path):
    coco(tmp_path / "coco", [annotation(1, 7, [4, 5, 10, 12]), annotation(1, 3, [0, 0, 8, 9])])
    voc(tmp_path / "voc", {"train": {"1": voc_xml([("dog", 5, 6, 14, 17), ("cat", 1, 1, 8, 9)]), "2": voc_xml([])}})
    lines = f"1 {9 / 40} {11 / 30} {10 / 40} {12 / 30}\n0 {4 / 40} {4.5 / 30} {8 / 40} {9 / 30}"
    yolo(tmp_path / "yolo", {"train": {"1": lines, "2": None}})
    first, *others = (open_dataset(tmp_path / kind, "train") for kind in ("coco", "voc", "yolo"))
    for other in others:
        assert other.classes == first.classes and len(other) == len(first) == 2
        for a, b in zip((first[0], first[1]), (other[0], other[1])):
            assert np.allclose(a.boxes, b.boxes, atol=1e-4) and a.labels.tolist() == b.labels.tolist()
            assert a.image.equal(b.image) and a.original == b.original == (30, 40)


def test_unknown_folders(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        open_dataset(tmp_path / "nothing", "train")
    with pytest.raises(UserError, match=r"Looked for\n.*COCO[^@]*VOC[^@]*YOLO[^@]*Found an empty folder"):
        open_dataset(tmp_path, "train")
    file = picture(tmp_path / "photos" / "a.jpg")
    with pytest.raises(UserError, match="Found photos/"):
        open_dataset(tmp_path, "train")
    with pytest.raises(UserError, match="is a file; give the folder"):
        open_dataset(file, "train")


def test_two_formats_in_one_folder(tmp_path):
    coco(tmp_path, [])
    yolo(tmp_path, {"train": {"a": "0 0.5 0.5 0.1 0.1"}})
    with pytest.raises(UserError, match=r"several formats \(COCO and YOLO\)"):
        open_dataset(tmp_path, "train")


def test_missing_split_and_misspelt_options(tmp_path):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])])
    with pytest.raises(UserError, match=r"\(COCO\) has no val split, only train; add it .*instances_val\.json"):
        open_dataset(root, "val")
    with pytest.raises(
        UserError, match="split must be train or val or test or all, found 'trian'; did you mean 'train'"
    ):
        open_dataset(root, "trian")
    with pytest.raises(UserError, match="bad_data must be stop or skip, found 'ignore'"):
        open_dataset(root, "train", bad_data="ignore")


def test_chosen_classes_and_their_order(tmp_path):
    root = coco(tmp_path, [annotation(1, 7, [1, 1, 5, 5]), annotation(2, 3, [1, 1, 6, 6])])
    said = []
    swapped = open_dataset(root, "train", classes=["dog", "cat"])
    assert swapped.annotations(0)[1].tolist() == [0] and swapped.annotations(1)[1].tolist() == [1]
    only = open_dataset(root, "train", classes=["dog"], report=said.append)
    assert len(only) == 2 and len(only.annotations(1)[0]) == 0 and only.classes == ("dog",)
    assert any("left out: cat (1)" in line for line in said)
    for wrong, reason in (
        (["Catt"], "did you mean 'cat'"),
        (["zebra"], "expected one of cat, dog"),
        (["cat", "cat"], "twice"),
    ):
        with pytest.raises(UserError, match=reason):
            open_dataset(root, "train", classes=wrong)
    with pytest.raises(UserError, match="at least one"):
        open_dataset(root, "train", classes=[])


def test_a_class_that_only_the_training_split_has(tmp_path):
    coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])])
    coco(tmp_path, [annotation(1, 9, [1, 1, 5, 5])], split="val", categories=[{"id": 9, "name": "dog"}])
    classes = open_dataset(tmp_path, "train", report=str).classes
    val = open_dataset(tmp_path, "val", classes=classes)
    assert val.classes == ("cat", "dog") and val.annotations(0)[1].tolist() == [1]


def test_a_long_list_is_cut_and_counted(tmp_path):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])] + [annotation(1, 3, [1, 1, 0, 0])] * (SHOWN + 5))
    with pytest.raises(UserError) as caught:
        open_dataset(root, "train")
    text = str(caught.value)
    assert text.count("has no area") == SHOWN and "and 5 more" in text and f"{SHOWN + 5} boxes" in text


def test_nothing_usable_is_left(tmp_path):
    root = coco(tmp_path, [])
    for file in (root / "train").iterdir():
        file.write_text("no image")
    with pytest.raises(UserError, match="holds no usable image"):
        open_dataset(root, "train", bad_data="skip")


def test_the_default_report_is_a_warning(tmp_path, caplog):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 0, 0]), annotation(1, 3, [1, 1, 5, 5])])
    open_dataset(root, "train", bad_data="skip")
    assert "left out 1 box" in caplog.text and "has no area" in caplog.text
