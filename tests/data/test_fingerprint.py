import json
import shutil

import pytest
import torch

from data.data_folders import annotation, coco, picture, yolo
from headstart.data.discover import open_dataset
from headstart.data.fingerprint import compare, fingerprint

BOXES = [annotation(1, 3, [1, 2, 10, 10]), annotation(2, 7, [5, 5, 10, 10]), annotation(3, 3, [0, 0, 9, 9])]


@pytest.fixture
def root(tmp_path):
    return coco(tmp_path / "data", BOXES, images=3)


def change(root, edit):
    file = root / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def test_the_same_data_elsewhere_is_the_same(root, tmp_path):
    taken = fingerprint(open_dataset(root, "train"))
    shutil.move(root, tmp_path / "other" / "place")
    assert compare(taken, open_dataset(tmp_path / "other" / "place", "train")) == []


def test_files_outside_of_the_folder_may_move_with_it(tmp_path):
    def make(place):
        folder = yolo(place / "data", {"train": {"a": "0 .5 .5 .5 .5\n"}})
        for name in ("one/b", "two/c"):
            picture(place / "pictures" / f"{name}.jpg").with_suffix(".txt").write_text("0 .5 .5 .5 .5\n")
        (folder / "train.txt").write_text("".join(f"{place}/pictures/{n}.jpg\n" for n in ("one/b", "two/c")))
        (folder / "data.yaml").write_text(json.dumps({"names": ["cat"], "train": "train.txt"}))
        return open_dataset(folder, "train")

    taken = fingerprint(make(tmp_path / "here"))
    assert compare(taken, make(tmp_path / "there")) == []


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            lambda c: c["annotations"][1].update(bbox=[5, 5, 10, 11]),
            "1 image with other boxes, labels, size or id (train/2.jpg)",
        ),
        (
            lambda c: c["annotations"][0].update(category_id=7),
            "1 image with other boxes, labels, size or id (train/1.jpg)",
        ),
        (lambda c: c["annotations"][0].update(iscrowd=1), "1 image with other boxes, labels, size or id (train/1.jpg)"),
        (lambda c: c["images"][2].update(id=9) or c["annotations"][2].update(image_id=9), "1 image with other boxes, "),
        (lambda c: c["annotations"].pop(), "1 image with other boxes, labels, size or id (train/3.jpg)"),
        (lambda c: (c["images"].pop(), c["annotations"].pop()), "1 image removed (train/3.jpg)"),
        (lambda c: c["images"].reverse(), "the images stand in another order"),
    ],
)
def test_what_changed_in_the_annotations_is_named(edit, told, root):
    taken = fingerprint(open_dataset(root, "train"))
    change(root, edit)
    (found,) = compare(taken, open_dataset(root, "train"))
    assert found.startswith(told)


def test_many_are_counted_and_some_named(root):
    taken = fingerprint(open_dataset(root, "train"))
    names = [picture(root / "train" / f"new{n}.jpg").name for n in range(5)]
    more = [{"id": 50 + n, "file_name": name, "width": 40, "height": 30} for n, name in enumerate(names)]
    change(root, lambda c: c["images"].extend(more))
    assert compare(taken, open_dataset(root, "train")) == [
        "5 images added (train/new0.jpg, train/new1.jpg, train/new2.jpg, ...)"
    ]


def test_another_file_is_seen_by_its_bytes(root):
    """Also one of the same size in bytes, which is what a changed pixel may come to."""
    file = root / "train" / "2.bmp"
    picture(root / "train" / "2.jpg").unlink()
    picture(file)
    change(root, lambda c: c["images"][1].update(file_name="2.bmp"))
    taken = fingerprint(open_dataset(root, "train"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 255
    file.write_bytes(content)
    assert compare(taken, open_dataset(root, "train")) == ["1 image whose file is another one (train/2.bmp)"]


def test_it_survives_a_checkpoint_and_stays_small(root, tmp_path):
    taken = fingerprint(open_dataset(root, "train"))
    torch.save(taken, tmp_path / "f.pt")
    assert compare(torch.load(tmp_path / "f.pt", weights_only=True), open_dataset(root, "train")) == []
    assert (
        sum(value.numel() * value.element_size() for value in taken.values() if isinstance(value, torch.Tensor)) < 120
    )
