"""YOLO: normalised boxes and polygons, folders in either order, image lists, and every flaw listed."""

import json

import pytest

from data.data_folders import picture, yolo
from headstart.data.discover import open_dataset
from headstart.errors import UserError

CAT = "0 0.5 0.5 0.5 0.2\n"
CAT_BOX = [10, 12, 30, 18]


@pytest.mark.parametrize("nesting", ["images/{}", "{}/images", "{}"])
def test_folders_boxes_and_images_without_objects(tmp_path, nesting):
    texts = {"a": CAT + "\n1 0.1 0.1 0.9 0.2 0.5 0.8\n", "b": "", "c": None}
    root = yolo(tmp_path, {"train": texts, "val": {"d": CAT}}, nesting=nesting)
    dataset = open_dataset(root, "train")
    assert dataset.classes == ("cat", "dog") and len(dataset) == 3
    boxes, labels, ignored = dataset.annotations(0)
    assert boxes.tolist() == [pytest.approx(CAT_BOX), pytest.approx([4, 3, 36, 24])]
    assert labels.tolist() == [0, 1] and not ignored.any()
    assert [len(dataset.annotations(i)[0]) for i in range(3)] == [2, 0, 0]
    assert open_dataset(root / "data.yaml", "val").annotations(0)[0].tolist() == [pytest.approx(CAT_BOX)]


def test_names_as_sparse_numbers_and_path(tmp_path):
    root = yolo(tmp_path / "set", {"train": {"a": "7 0.5 0.5 0.5 0.2"}}, names={7: "dog", 2: "cat"})
    content = json.loads((root / "data.yaml").read_text())
    # A real yaml file: json keeps no integer keys.
    (tmp_path / "data.yaml").write_text(f"path: set\ntrain: {content['train']}\nnames:\n  7: dog\n  2: cat\n")
    (root / "data.yaml").unlink()
    dataset = open_dataset(tmp_path, "train", report=lambda text: None)
    assert dataset.classes == ("cat", "dog") and dataset.annotations(0)[1].tolist() == [1]


@pytest.mark.parametrize("place", ["../images/train", "images/train/"])
def test_places_as_exporters_write_them(tmp_path, place):
    root = yolo(tmp_path / "set", {"train": {"a": CAT}}, train=place, path="/no/such/folder")
    assert len(open_dataset(root, "train", report=lambda text: None)) == 1


def test_lists_of_images(tmp_path):
    root = yolo(tmp_path, {"x": {"a": CAT, "b": None, "c": CAT}}, train="train.txt", val=["val.txt", "images/y"])
    picture(root / "images" / "y" / "e.jpg")
    (root / "train.txt").write_text(f"./images/x/a.jpg\n{root}/images/x/b.jpg\n")
    (root / "val.txt").write_text("images/x/c.jpg\n")
    names = [[open_dataset(root, s, report=str).file(i).name for i in range(2)] for s in ("train", "val")]
    assert names == [["a.jpg", "b.jpg"], ["c.jpg", "e.jpg"]]
    (root / "train.txt").write_text("images/x/a.jpg\nimages/x/a.jpg\nimages/x/no.jpg\n")
    with pytest.raises(UserError) as caught:
        open_dataset(root, "train")
    assert "lists images/x/a.jpg twice" in str(caught.value) and "does not exist" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0 0.2", "has no area"),
        ("0 0.5 0.5 nan 0.2", "between 0 and 1"),
        ("0 20 15 10 10", "between 0 and 1"),
        ("0 0.5 x 0.5 0.2", "not all are numbers"),
        ("2 0.5 0.5 0.5 0.2", "class 2 is not among the 2 names"),
        ("0.5 0.5 0.5 0.5 0.2", "class 0.5 is not among"),
        ("-1 0.5 0.5 0.5 0.2", "class -1 is not among"),
        ("0 0.5 0.5 0.5", "found 4 numbers"),
        ("0 0.5 0.5 0.5 0.2 0.9", "found 6 numbers"),
        ("\xff", "is not a readable text file"),
    ],
)
def test_bad_lines(tmp_path, line, reason):
    root = yolo(tmp_path, {"train": {"a": CAT, "b": CAT}})
    (root / "labels" / "train" / "b.txt").write_bytes(
        f"{'' if 'xff' in ascii(line) else CAT}{line}\n".encode("latin-1")
    )
    with pytest.raises(UserError, match="leave out 1 box with --bad-data skip") as caught:
        open_dataset(root, "train")
    assert reason in str(caught.value) and "b." in str(caught.value)
    assert len(open_dataset(root, "train", bad_data="skip")) == 2


def test_labels_without_an_image(tmp_path):
    root = yolo(tmp_path, {"train": {"a": CAT}})
    (root / "labels" / "train" / "lost.txt").write_text(CAT)
    with pytest.raises(UserError, match="points to image lost, which is not in images/train"):
        open_dataset(root, "train")


def test_broken_images(tmp_path):
    root = yolo(tmp_path, {"train": {"a": CAT, "b": CAT}})
    (root / "images" / "train" / "b.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"b\.jpg .*not a readable image"):
        open_dataset(root, "train")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"names": []}, "needs `names`"),
        ({"names": None}, "needs `names`"),
        ({"names": {"cat": 0}}, "whole numbers from 0"),
        ({"names": ["cat", "cat"]}, "has cat twice"),
        ({"nc": 3}, "nc says 3 classes, but `names` has 2"),
        ({"train": 3}, "must be folders or lists"),
        ({"train": "images/nothing"}, "images/nothing exists"),
        ({"train": "empty"}, "holds no image"),
        ({"path": [3]}, "must be folders or lists"),
        ({"train": [["x"]]}, "must be folders or lists"),
        ({"names": ["cat", ""]}, "found an empty one"),
        ({"names": ["cat", ["dog"]]}, "must be one word or text, found ['dog']"),
        ({"names": "cat, dog"}, "needs `names`, a list of the class names, found cat, dog"),
        ({"nc": "many"}, "nc says many classes"),
        ({"kpt_shape": 17}, "kpt_shape must be"),
        ({"kpt_shape": [17, 4]}, "kpt_shape must be"),
        ({"train": "images/train/a.jpg"}, "names the image"),
    ],
)
def test_bad_data_yaml(tmp_path, content, reason):
    root = yolo(tmp_path, {"train": {"a": CAT}}, **content)
    (root / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        open_dataset(root, "train")
    assert reason in str(caught.value) and "data.yaml" in str(caught.value)


def test_unreadable_yaml_and_missing_labels(tmp_path):
    root = yolo(tmp_path, {"train": {"a": None}})
    (root / "labels" / "train").rmdir()
    with pytest.raises(UserError, match="no label file"):
        open_dataset(root, "train")
    (root / "data.yaml").write_text("names: [cat")
    with pytest.raises(UserError, match="not a readable yaml file"):
        open_dataset(root, "train")


def test_names_are_words(tmp_path):
    root = yolo(tmp_path, {"train": {"a": CAT}})
    (root / "data.yaml").write_text(
        "train: images/train\nnc: 6\nval:\ntest: null\nnames: [no, yes, 010, 1e3, null, ~]\n"
    )
    assert open_dataset(root, "train", report=str).classes == ("no", "yes", "010", "1e3", "null", "~")
    for keys in ("{0: no, 1: 010}", "{'0': no, '1': 010}", "\n  - no\n  - 010"):
        (root / "data.yaml").write_text(f"train: images/train\nnames: {keys}\n")
        assert open_dataset(root, "train", report=str).classes == ("no", "010")
        with pytest.raises(UserError, match="has no val split"):
            open_dataset(root, "val")


def test_label_files_that_are_missing(tmp_path):
    root = yolo(tmp_path, {"train": {"a": CAT, "b": CAT, "c": None}}, train=["images/train", "images/more"])
    (root / "labels" / "train" / "b.txt").rename(root / "labels" / "train" / "b.TXT")
    picture(root / "images" / "more" / "z.jpg")
    said = []
    dataset = open_dataset(root, "train", report=said.append)
    assert [len(dataset.annotations(i)[0]) for i in range(4)] == [1, 1, 0, 0]
    (line,) = [line for line in said if "label file" in line]
    assert "2 of 4 images have no label file" in line and "images/more has no label file at all" in line


def test_linked_folders(tmp_path):
    root = yolo(tmp_path / "set", {"train": {"a": CAT}})
    picture(tmp_path / "store" / "b.jpg")
    (tmp_path / "store" / "again").symlink_to(tmp_path / "store")
    (root / "images" / "train" / "more").symlink_to(tmp_path / "store")
    (root / "labels" / "train" / "more").mkdir()
    (root / "labels" / "train" / "more" / "b.txt").write_text(CAT)
    dataset = open_dataset(root, "train", report=str)
    assert [len(dataset.annotations(i)[0]) for i in range(len(dataset))] == [1, 1]


@pytest.mark.parametrize(
    "line",
    [
        "images\\x\\a b.jpg",
        ".\\images\\x\\a b.jpg",
        "/content/set/images/x/a b.jpg",
        "D:\\set\\images\\x\\a b.jpg",
        "images/x/a%20b.jpg",
    ],
)
def test_lists_of_other_machines(tmp_path, line):
    root = yolo(tmp_path, {"x": {"a b": CAT}}, train="train.txt")
    (root / "train.txt").write_text(f"{line}\r\n")
    dataset = open_dataset(root, "train", report=str)
    assert dataset.file(0) == root / "images" / "x" / "a b.jpg" and len(dataset.annotations(0)[0]) == 1


@pytest.mark.parametrize(
    "place", ["images\\train", "/content/pets/images/train", "D:\\pets\\images\\train", "./images/train"]
)
def test_places_of_other_machines(tmp_path, place):
    root = yolo(tmp_path, {"train": {"a": CAT}, "val": {"b": CAT}}, train=place)
    assert open_dataset(root, "train", report=str).file(0).name == "a.jpg"


def test_the_images_of_another_split_are_not_taken(tmp_path):
    root = yolo(tmp_path, {"train": {"a": CAT}}, nesting="{}/images", val="/content/pets/valid/images")
    with pytest.raises(
        UserError, match=r"has no val split, only train; .*names /content/pets/valid/images, which does"
    ):
        open_dataset(root, "val")


def test_images_outside_the_folder_are_said(tmp_path):
    (tmp_path / "set").mkdir()
    root = yolo(tmp_path / "set", {}, path="../elsewhere", train="images/train")
    yolo(tmp_path / "elsewhere", {"train": {"a": CAT}})
    said = []
    dataset = open_dataset(root, "train", report=said.append)
    assert len(dataset.annotations(0)[0]) == 1 and dataset[0].original == (30, 40)
    assert any("names images outside" in line for line in said)


def test_several_yaml_files(tmp_path):
    root = yolo(tmp_path, {"train": {"a": CAT}})
    text = (root / "data.yaml").read_text()
    (root / "data.yaml").unlink()
    for name in ("a.yaml", "b.yml"):
        (root / name).write_text(text)
    with pytest.raises(UserError, match=r"several yaml files that describe data \(a.yaml, b.yml\); give one of them"):
        open_dataset(root, "train")
    assert len(open_dataset(root / "b.yml", "train", report=str)) == 1
