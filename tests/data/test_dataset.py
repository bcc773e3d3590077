"""The index: small, picklable, and honest about images that change after it was made."""

import pickle

import numpy as np
import pytest

from data.data_folders import annotation, coco, picture
from headstart.data.dataset import DetectionDataset, Entry
from headstart.data.discover import open_dataset
from headstart.errors import UserError


def test_it_is_packed_and_survives_pickling(tmp_path):
    boxes, labels, ignored = np.ones((5, 4), np.float32), np.arange(5), np.zeros(5, bool)
    entries = [Entry(f"images/ü{i:06d}.jpg", i, (480, 640), boxes, labels, ignored) for i in range(2000)]
    dataset = DetectionDataset(entries, "abcde", path=tmp_path, split="train")
    blob = pickle.dumps(dataset)
    assert len(blob) < 2000 * 200
    again = pickle.loads(blob)
    assert len(again) == 2000 and again.file(1999) == tmp_path / "images" / "ü001999.jpg" and again.ids[-1] == 1999
    assert again.annotations(1999)[1].tolist() == [0, 1, 2, 3, 4] and again.name == tmp_path.name


def test_samples(tmp_path):
    dataset = open_dataset(coco(tmp_path, [annotation(2, 3, [1, 2, 5, 5])]), "train", report=str)
    sample = dataset[1]
    assert sample.id == 2 and sample.original == (30, 40) and str(sample.image.dtype) == "torch.uint8"
    sample.boxes.zero_()
    assert dataset[1].boxes.tolist() == [[1, 2, 6, 7]], "a sample is a copy of the index"
    with pytest.raises(IndexError):
        dataset[2]


def test_images_that_changed_since(tmp_path):
    dataset = open_dataset(coco(tmp_path, [annotation(1, 3, [1, 2, 5, 5])], images=3), "train", report=str)
    picture(tmp_path / "train" / "1.jpg", width=44)
    with pytest.raises(UserError, match=r"1\.jpg should be 40 x 30 px by its annotations, but is 44 x 30"):
        dataset[0]
    (tmp_path / "train" / "2.jpg").write_bytes((tmp_path / "train" / "2.jpg").read_bytes()[:500])
    with pytest.raises(UserError, match=r"2\.jpg cannot be decoded: damaged"):
        dataset[1]
    (tmp_path / "train" / "3.jpg").unlink()
    with pytest.raises(UserError, match=r"3\.jpg cannot be decoded"):
        dataset[2]
