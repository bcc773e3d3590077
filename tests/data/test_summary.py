"""What a folder holds: counts by class and size, copies across splits, and what is said at the start of a run."""

import json
import shutil

import numpy as np
import pytest

from data.data_folders import annotation, coco, picture, voc, voc_xml
from headstart.data.dataset import DetectionDataset, Entry
from headstart.data.discover import open_dataset
from headstart.data.summary import count, describe, find_copies, summarise_run, summarise_split
from headstart.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Three training images, one without a box, and two for validation, all different; the class bird has no box."""
    names = [{"id": n, "name": name} for n, name in ((1, "cat"), (2, "dog"), (3, "bird"))]
    boxes = [annotation(1, 1, [0, 0, 4, 4]), annotation(1, 1, [0, 0, 20, 15]), annotation(2, 2, [0, 0, 40, 30])]
    coco(tmp_path, [*boxes, annotation(2, 1, [5, 5, 3, 3], iscrowd=1)], images=3, categories=names)
    coco(tmp_path, [annotation(1, 2, [1, 1, 2, 2])], images=2, categories=names, split="val")
    for number, file in enumerate(sorted(tmp_path.rglob("*.jpg"))):
        picture(file, quality=70 + number)
    return tmp_path


def test_counts_by_class_and_size(folder):
    # 40 x 30 px become 160 x 120: boxes of 16 x 16, 80 x 60, 160 x 120 and 12 x 12 px.
    found = count(open_dataset(folder, "train", report=str), (160, 160))
    assert found.boxes.tolist() == [[2, 1, 0], [0, 0, 1], [0, 0, 0]] and found.images_of.tolist() == [2, 1, 0]
    assert (found.images, found.empty, found.ignored) == (3, 1, 1)
    assert count(open_dataset(folder, "train", report=str), (30, 40)).boxes.sum(0).tolist() == [3, 1, 0]


def test_the_tables(folder):
    found = describe(folder, sides=(160, 160), report=str)
    assert found.rows_by_split() == [
        {"split": "train", "images": 3, "without boxes": 1, "boxes": 4, "ignored": 1}
        | {"small": 2, "medium": 1, "large": 1},
        {"split": "val", "images": 2, "without boxes": 1, "boxes": 1, "ignored": 0}
        | {"small": 1, "medium": 0, "large": 0},
    ]
    assert found.rows_by_class()[1] == {"class": "dog", "train boxes": 1, "train images": 1} | {
        "val boxes": 1,
        "val images": 1,
        "small": 1,
        "medium": 0,
        "large": 1,
    }
    assert not found.copies and not found.errors and not len(found.problems)


def test_copies_across_splits(folder):
    hashed = "0123456789abcdef"
    shutil.copy(folder / "train" / "3.jpg", folder / "val" / "2.jpg")
    for split, number in (("train", 2), ("val", 1)):
        file = folder / "annotations" / f"instances_{split}.json"
        content = json.loads(file.read_text())
        name = f"cell_jpg.rf.{hashed}{number}.jpg"
        (folder / split / f"{number}.jpg").rename(folder / split / name)
        content["images"][number - 1]["file_name"] = name
        file.write_text(json.dumps(content))
    (found,) = describe(folder, report=str).copies
    assert found.sentence() == (
        "Warning: 2 of the 2 val images are copies of train images (1 of the same bytes, 1 by Roboflow's names), such "
        f"as val/cell_jpg.rf.{hashed}1.jpg of train/cell_jpg.rf.{hashed}2.jpg; scores on val come out too high."
    )
    train, val = (open_dataset(folder, split, report=str) for split in ("train", "val"))
    assert found.sentence() in summarise_run(train, val, (64, 64))
    assert find_copies(train, train) is not None and find_copies(val, open_dataset(folder, "val", report=str))


def test_a_split_that_was_made_has_no_copies_across(tmp_path):
    voc(tmp_path, {"train": {f"{n}": voc_xml([("dog", 5, 6, 14, 17)]) for n in range(8)}})
    for n in range(8):
        picture(tmp_path / "JPEGImages" / f"{n}.jpg", quality=70 + n // 2)
    found = describe(tmp_path, share=0.25, report=str)
    assert [one.images for one in found.contents] == [6, 2] and not found.copies
    assert found.folder.whole.divided.made.groups == 4


def test_the_lines_of_a_run_and_of_a_measurement(folder):
    train, val = (open_dataset(folder, split, report=str) for split in ("train", "val"))
    first, boxes, missing = summarise_run(train, val, (160, 160))
    assert first == f"{folder.name}: 3 training images, 2 validation images, 3 classes"
    assert boxes == "Training images: 4 boxes, at 160 px 50 % small, 25 % medium, 25 % large; 1 without boxes"
    assert missing == "No validation box of class cat, bird: its AP stays undefined."
    assert summarise_run(train, None, (30, 40))[1].startswith("Training images: 4 boxes, at 30 x 40 px 75 % small")
    assert summarise_split(val, (160, 160)) == [
        f"{folder.name} val: 2 images, 3 classes",
        "Images: 1 box, at 160 px 100 % small, 0 % medium, 0 % large; 1 without boxes",
    ]


def test_a_split_that_cannot_be_opened_does_not_hide_the_others(folder):
    (folder / "annotations" / "instances_test.json").write_text("{}")
    found = describe(folder, report=str)
    assert [one.split for one in found.contents] == ["train", "val"] and "no list 'images'" in found.errors["test"]
    for split in ("train", "val"):
        (folder / "annotations" / f"instances_{split}.json").write_text("{}")
    with pytest.raises(UserError, match="no list 'images'"):
        describe(folder, report=str)


def test_what_is_wrong_is_listed_for_all_splits(folder):
    (folder / "train" / "1.jpg").write_text("no image")
    (folder / "val" / "2.jpg").unlink()
    assert [problem.file for problem in describe(folder, report=str).problems] == ["train/1.jpg", "val/2.jpg"]


def test_a_thousand_images_are_counted_without_opening_one(tmp_path):
    """None of the files is there; what copies what follows from the checksums."""
    box = np.array([[0, 0, 40, 40]], np.float32)
    notes = [(box, np.array([n % 7]), np.zeros(1, bool)) for n in range(1000)]
    entries = [Entry(f"{n}.jpg", n, (480, 640), *note, digest=min(n, 900) + 1) for n, note in enumerate(notes)]
    train = DetectionDataset(entries[:901], "abcdefg", path=tmp_path, split="train")
    val = DetectionDataset(entries[901:], "abcdefg", path=tmp_path, split="val")
    lines = summarise_run(train, val, (640, 640))
    assert lines[1] == "Training images: 901 boxes, at 640 px 0 % small, 100 % medium, 0 % large"
    assert "99 of the 99 val images are copies of train images (99 of the same bytes)" in lines[2]
    assert "such as 901.jpg of 900.jpg" in lines[2]
