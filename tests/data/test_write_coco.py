"""The same data as a COCO folder: whole or not at all, and read back with equal boxes."""

import stat

import numpy as np
import pytest

from data.data_folders import picture, voc, voc_xml, yolo
from headstart.data import write_coco as module
from headstart.data.dataset import DetectionDataset, Entry
from headstart.data.discover import open_dataset
from headstart.data.write_coco import write_coco
from headstart.errors import UserError


@pytest.fixture
def folder(tmp_path):
    boxes = "1 0.333 0.271 0.123456 0.31\n0 0.7 0.5 0.1 0.3"
    root = yolo(tmp_path / "source", {"train": {"1": boxes, "2": None}, "val": {"3": "0 0.5 0.5 0.777 0.1"}})
    picture(root / "images" / "train" / "1.jpg", quality=80, exif=turned())
    return root


def turned():
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def open_all(root):
    return [open_dataset(root, split, classes=["cat", "dog"], report=str) for split in ("train", "val")]


def test_it_is_read_back_with_equal_boxes(folder, tmp_path):
    before = open_all(folder)
    out = write_coco(before, tmp_path / "new" / "coco")
    for one, other in zip(before, open_all(out)):
        assert one.classes == other.classes and one.ids == other.ids and np.array_equal(one.sizes, other.sizes)
        for index in range(len(one)):
            assert all(np.array_equal(a, b) for a, b in zip(one.annotations(index), other.annotations(index)))
            assert one[index].image.equal(other[index].image)
    assert before[0].sizes[0].tolist() == [40, 30], "the turned picture"
    assert sorted(p.name for p in out.iterdir()) == ["annotations", "train", "val"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o755 and len(list(out.parent.iterdir())) == 1


def test_difficult_objects_stay_ignored(tmp_path):
    voc(tmp_path / "voc", {"train": {"1": voc_xml([("dog", 5, 6, 14, 17, 1), ("dog", 1, 1, 9, 9)])}})
    write_coco([open_dataset(tmp_path / "voc", "train", report=str)], tmp_path / "coco")
    assert open_dataset(tmp_path / "coco", "train", report=str).annotations(0)[2].tolist() == [True, False]


def test_pictures_are_linked_or_else_copied(folder, tmp_path, monkeypatch):
    file = folder / "images" / "train" / "2.jpg"
    write_coco(open_all(folder), tmp_path / "linked")
    assert file.samefile(tmp_path / "linked" / "train" / "2.jpg")

    def refuse(*paths):
        raise OSError("no links here")

    monkeypatch.setattr(module.os, "link", refuse)
    write_coco(open_all(folder), tmp_path / "copied")
    copy = tmp_path / "copied" / "train" / "2.jpg"
    assert not file.samefile(copy) and copy.read_bytes() == file.read_bytes()


def test_names_that_are_no_text(tmp_path):
    """Linux allows any bytes in a name; they are kept as they are."""
    root = voc(tmp_path / "voc", {"train": {"1": voc_xml([("dog", 5, 6, 14, 17)])}})
    dataset = open_dataset(root, "train", report=str)
    strange = "\udcff.jpg"
    try:
        (root / "JPEGImages" / "1.jpg").rename(root / "JPEGImages" / strange)
    except (OSError, UnicodeError):
        pytest.skip("this file system has text for names only")
    entry = Entry(f"JPEGImages/{strange}", 0, (30, 40), *dataset.annotations(0))
    out = write_coco([DetectionDataset([entry], dataset.classes, path=root, split="train")], tmp_path / "coco")
    assert open_dataset(out, "train", report=str).file(0).name == strange


def test_equal_names_of_several_folders(tmp_path):
    root = yolo(tmp_path / "source", {"train": {"a/1": "0 0.5 0.5 0.2 0.2", "b/1": "1 0.5 0.5 0.4 0.4"}})
    before = open_dataset(root, "train", report=str)
    after = open_dataset(write_coco([before], tmp_path / "coco"), "train", report=str)
    assert sorted(p.name for p in (tmp_path / "coco" / "train").iterdir()) == ["1-2.jpg", "1.jpg"]
    assert [after.annotations(i)[1].tolist() for i in range(2)] == [[0], [1]]


def test_nothing_is_overwritten_and_nothing_half_written_stays(folder, tmp_path, monkeypatch):
    datasets = open_all(folder)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="taken exists already and is not overwritten; give another --out"):
        write_coco(datasets, taken)
    with pytest.raises(UserError, match="lies inside the data"):
        write_coco(datasets, folder / "coco")
    assert [p.name for p in taken.iterdir()] == ["mine.txt"] and not (folder / "coco").exists()

    def fail(*arguments):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(module, "_place", fail)
    with pytest.raises(OSError, match="No space"):
        write_coco(datasets, tmp_path / "coco")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source", "taken"]
