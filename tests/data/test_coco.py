"""COCO and Roboflow: boxes, categories and crowds as they are meant, and every contradiction listed."""

import json

import pytest

from data.data_folders import annotation, coco, picture
from headstart.data.discover import open_dataset
from headstart.errors import UserError


def test_boxes_labels_and_crowd(tmp_path):
    root = coco(tmp_path, [annotation(1, 7, [5, 6, 10, 12]), annotation(1, 3, [0, 0, 8.5, 9], iscrowd=1)])
    dataset = open_dataset(root, "train")
    assert dataset.classes == ("cat", "dog") and dataset.ids == [1, 2] and dataset.split == "train"
    boxes, labels, ignored = dataset.annotations(0)
    assert boxes.tolist() == [[5, 6, 15, 18], [0, 0, 8.5, 9]]
    assert labels.tolist() == [1, 0] and ignored.tolist() == [False, True]
    assert dataset.sizes.tolist() == [[30, 40], [30, 40]]
    empty = dataset[1]
    assert empty.boxes.shape == (0, 4) and empty.labels.shape == (0,) and empty.image.shape == (3, 30, 40)


def test_boxes_are_clipped_and_said_so(tmp_path):
    said = []
    dataset = open_dataset(coco(tmp_path, [annotation(1, 3, [-5, 20, 30, 30])]), "train", report=said.append)
    assert dataset.annotations(0)[0].tolist() == [[0, 20, 25, 30]]
    assert any("1 boxes reached over the edge" in line for line in said)
    assert any("no box of class dog" in line for line in said)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (annotation(1, 3, [5, 5, 0, 4]), "has no area"),
        (annotation(1, 3, [5, 5, -3, 4]), "has no area"),
        (annotation(1, 3, [50, 5, 5, 5]), "lies outside the image"),
        (annotation(1, 3, [float("nan"), 5, 5, 5]), "is not finite"),
        (annotation(1, 3, [0, 5, float("inf"), 5]), "is not finite"),
        (annotation(1, 3, [10**400, 5, 5, 5]), "needs a bbox of four numbers"),
        (annotation(1, 3, ["a", 5, 5, 5]), "needs a bbox of four numbers"),
        (annotation(1, 3, [True, 5, 5, 5]), "needs a bbox of four numbers"),
        (annotation(1, 3, [5, 5, 5]), "needs a bbox of four numbers"),
        (annotation(1, 3, None), "needs a bbox of four numbers"),
        (annotation(9, 3, [5, 5, 5, 5]), "points to image 9, which is not listed"),
        (annotation("1.5", 3, [5, 5, 5, 5]), "points to image 1.5, which is not listed"),
        (annotation(True, 3, [5, 5, 5, 5]), "points to image True, which is not listed"),
        (annotation(1, 3, [5, 5, 5, 5], iscrowd="perhaps"), "iscrowd perhaps is neither 0 nor 1"),
        (annotation(1, 3, ["1_0", 5, 5, 5]), "needs a bbox of four numbers"),
        (annotation(1, 4, [5, 5, 5, 5]), "points to category 4, which is not listed"),
        ([1, 2], "annotation number 1 is not an object"),
    ],
)
def test_bad_annotations_stop_or_are_skipped(tmp_path, bad, reason):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5]), bad])
    with pytest.raises(UserError, match="--bad-data skip") as caught:
        open_dataset(root, "train")
    assert reason in str(caught.value)
    said = []
    dataset = open_dataset(root, "train", bad_data="skip", report=said.append)
    assert len(dataset) == 2 and dataset.annotations(0)[0].tolist() == [[1, 1, 6, 6]]
    assert len(dataset.problems) == 1 and reason in said[0] and "left out 1 box" in said[0]


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"id": 1, "file_name": "3.jpg"}, "image id 1 is already that of"),
        ({"id": 3, "file_name": "2.jpg"}, "is listed twice"),
        ({"id": 3, "file_name": "missing.jpg"}, "does not exist"),
        ({"id": 3, "file_name": "x" * 5000}, "not a readable image"),
        ({"id": 3, "file_name": "\udcff\ud800.jpg"}, ""),
        ({"id": "three", "file_name": "3.jpg"}, "needs an integer id"),
        ({"id": 3}, "needs an integer id and a file_name"),
        ({"id": 3, "file_name": "3.jpg", "height": 40, "width": 30}, "annotations say 30 x 40"),
        ("3.jpg", "needs an integer id"),
    ],
)
def test_bad_images_stop_or_are_skipped(tmp_path, extra, reason):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])])
    picture(root / "train" / "3.jpg")
    file = root / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"images": [*content["images"], extra]}))
    with pytest.raises(UserError) as caught:
        open_dataset(root, "train")
    assert reason in str(caught.value) and "1 image with --bad-data skip" in str(caught.value)
    assert open_dataset(root, "train", bad_data="skip").ids == [1, 2]


@pytest.mark.parametrize(
    ("categories", "reason"),
    [
        ([{"id": 3, "name": "cat"}, {"id": 3, "name": "dog"}], "is given twice"),
        ([{"id": 3, "name": "cat"}, {"id": 4, "name": "cat"}], "name 'cat' of another category"),
        ([{"id": 3, "name": "cat"}, {"id": 4}], "needs an integer id and a name"),
        ([{"id": 3, "name": "cat"}, "dog"], "needs an integer id and a name"),
    ],
)
def test_bad_categories(tmp_path, categories, reason):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])], categories=categories)
    with pytest.raises(UserError, match="leave out 1 class") as caught:
        open_dataset(root, "train")
    assert reason in str(caught.value)
    assert open_dataset(root, "train", bad_data="skip").classes == ("cat",)


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "{", '{"images": []}', '{"images": 3, "categories": []}', "\xff", "[" * 10**5]
)
def test_a_file_that_is_no_coco_json(tmp_path, text):
    root = coco(tmp_path, [])
    (root / "annotations" / "instances_train.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"instances_train\.json"):
        open_dataset(root, "train")


def test_no_image_folder_fits(tmp_path):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])])
    (root / "train").rename(root / "photos")
    assert len(open_dataset(root, "train")) == 2, "pictures are found wherever they lie"
    for file in (root / "photos").iterdir():
        file.rename(file.with_name(f"x{file.name}"))
    with pytest.raises(
        UserError, match=r"lists images such as 1\.jpg, found nowhere .*2 images there, such as photos/x"
    ):
        open_dataset(root, "train")


@pytest.mark.parametrize("folder", ["train2017", "images/train2017", "images", "images/train", "train/images", "."])
def test_image_folders_that_are_found(tmp_path, folder):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])])
    (root / "annotations" / "instances_train.json").rename(root / "annotations" / "instances_train2017.json")
    (root / "annotations" / "captions_train2017.json").write_text("{}")
    (root / folder).mkdir(parents=True, exist_ok=True)
    for file in list((root / "train").glob("*.jpg")):
        file.rename(root / folder / file.name)
    assert open_dataset(root, "train").file(0) == root / folder / "1.jpg"


def test_two_files_for_one_split(tmp_path):
    root = coco(tmp_path, [])
    (root / "annotations" / "instances_train2014.json").write_text("{}")
    with pytest.raises(UserError, match="several annotation files for one split"):
        open_dataset(root, "train")


def test_roboflow_export(tmp_path):
    categories = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 1, "name": "cat", "supercategory": "pets"},
        {"id": 2, "name": "dog", "supercategory": "pets"},
    ]
    for split, folder in (("train", "train"), ("val", "valid")):
        picture(tmp_path / folder / "a.jpg")
        content = {
            "images": [{"id": 0, "file_name": "a.jpg", "height": 30, "width": 40}],
            "annotations": [annotation(0, 2, [1, 2, 3, 4])],
            "categories": categories,
        }
        (tmp_path / folder / "_annotations.coco.json").write_text(json.dumps(content))
        dataset = open_dataset(tmp_path, split)
        assert dataset.classes == ("cat", "dog") and dataset.annotations(0)[1].tolist() == [1]


@pytest.mark.parametrize(
    "written",
    [lambda i: i, str, float, lambda i: f"{i}.0", lambda i: f" {i} "],
    ids=["7", "'7'", "7.0", "'7.0'", "' 7 '"],
)
def test_ids_in_every_form(tmp_path, written):
    images = [{"id": 1, "file_name": "1.jpg"}, {"id": written(2), "file_name": "2.jpg", "width": "40", "height": 30.0}]
    categories = [{"id": written(7), "name": "dog"}, {"id": 3, "name": "cat"}]
    root = coco(tmp_path, [annotation(written(2), 7, ["1", 2, 3.0, "4.5"])], categories=categories)
    file = root / "annotations" / "instances_train.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"images": images}))
    said = []
    dataset = open_dataset(root, "train", report=said.append)
    assert dataset.ids == [1, 2] and dataset.classes == ("cat", "dog")
    assert dataset.annotations(1)[0].tolist() == [[1, 2, 4, 6.5]] and dataset.annotations(1)[1].tolist() == [1]
    assert any("were read as whole numbers" in line for line in said) == (
        written(2) != 2 or type(written(2)) is not int
    )


def test_text_ids(tmp_path):
    images = [{"id": f"pic-{i}", "file_name": f"{i}.jpg"} for i in (1, 2)]
    root = coco(tmp_path, [annotation("pic-2", 3, [1, 2, 3, 4])])
    file = root / "annotations" / "instances_train.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"images": images}))
    said = []
    dataset = open_dataset(root, "train", report=said.append)
    assert dataset.ids == [0, 1] and len(dataset.annotations(1)[0]) == 1
    assert any("images are numbered from 0" in line for line in said)


@pytest.mark.parametrize(
    ("written", "ignored"),
    [
        (1, True),
        (True, True),
        ("1", True),
        ("true", True),
        (1.0, True),
        (0, False),
        ("0", False),
        (False, False),
        ("no", False),
        (None, False),
        ("", False),
        ("0.0", False),
    ],
)
def test_crowd_in_every_form(tmp_path, written, ignored):
    root = coco(tmp_path, [annotation(1, 3, [1, 2, 3, 4], iscrowd=written)])
    assert open_dataset(root, "train").annotations(0)[2].tolist() == [ignored]


def test_names_stay_as_they_were_written(tmp_path):
    root = coco(tmp_path, [annotation(1, 1, [1, 1, 5, 5])])
    file = root / "annotations" / "instances_train.json"
    names = ["7", '"010"', "1e3", "1.50", "true", '"null"', '" no "']
    listed = ", ".join(f'{{"id": {i}, "name": {name}}}' for i, name in enumerate(names, 1))
    content = json.loads(file.read_text()) | {"categories": "HERE"}
    file.write_text(json.dumps(content).replace('"HERE"', f"[{listed}]"))
    assert open_dataset(root, "train").classes == ("7", "010", "1e3", "1.50", "true", "null", "no")


@pytest.mark.parametrize(
    "name",
    [
        "train\\1.jpg",
        "..\\train\\1.jpg",
        "C:\\data\\pets\\1.jpg",
        "/data/bob/pets/train/1.jpg",
        "https://host.example/data/1.jpg?d=3#x",
        "./train/1.jpg",
        "1",
        "1.JPG",
    ],
)
def test_names_of_other_machines(tmp_path, name):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])], images=1)
    file = root / "annotations" / "instances_train.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"images": [{"id": 1, "file_name": name}]}))
    assert open_dataset(root, "train").file(0) == root / "train" / "1.jpg"


@pytest.mark.parametrize(
    ("on_disk", "listed"), [("a b.jpg", "a%20b.jpg"), ("a%20b.jpg", "a%20b.jpg"), ("caf\u00e9.jpg", "cafe\u0301.jpg")]
)
def test_names_that_are_spelled_otherwise(tmp_path, on_disk, listed):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])], images=1)
    (root / "train" / "1.jpg").rename(root / "train" / on_disk)
    file = root / "annotations" / "instances_train.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"images": [{"id": 1, "file_name": listed}]}))
    assert open_dataset(root, "train").file(0).name == on_disk


def test_images_outside_the_folder_are_said(tmp_path):
    root = coco(tmp_path / "set", [annotation(1, 3, [1, 1, 5, 5])], images=1)
    picture(tmp_path / "outside.jpg")
    file = root / "annotations" / "instances_train.json"
    images = [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "../../outside.jpg"}]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"images": images}))
    said = []
    assert len(open_dataset(root, "train", report=said.append)) == 2
    assert any("names images outside" in line and "../outside.jpg" in line for line in said)


def test_two_names_of_one_file(tmp_path):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])], images=1)
    file = root / "annotations" / "instances_train.json"
    images = [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "./1.jpg"}]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"images": images}))
    with pytest.raises(UserError, match=r"is the file train/1\.jpg of image id 1 once more"):
        open_dataset(root, "train")


def test_images_are_not_taken_from_another_split_by_their_names(tmp_path):
    for split in ("train", "val"):
        coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])], split=split, images=3)
    (tmp_path / "val" / "2.jpg").unlink()
    with pytest.raises(UserError, match=r"val/2\.jpg +the image file does not exist"):
        open_dataset(tmp_path, "val")


def test_results_are_no_annotations(tmp_path):
    root = coco(tmp_path, [annotation(1, 3, [1, 1, 5, 5])])
    (root / "val_results.json").write_text(json.dumps([annotation(1, 3, [1, 1, 5, 5], score=0.5)]))
    with pytest.raises(UserError, match="no val split, only train"):
        open_dataset(root, "val")
