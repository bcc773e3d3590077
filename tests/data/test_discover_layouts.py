"""Folders as they come from the net and from the exports of annotation tools: each opens with its counts."""

import json

import pytest

from data.data_folders import annotation, picture, voc_xml
from headstart.data.discover import find_layout, open_dataset
from headstart.errors import UserError

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
CAT = ("cat", 5, 6, 15, 18)
LINE = "1 0.5 0.5 0.5 0.2\n"


def coco_json(file, names, *, categories=CATEGORIES):
    """A json of images of 40 x 30 px, each with one dog at [4, 5, 10, 12]."""
    file.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": i, "file_name": name, "width": 40, "height": 30} for i, name in enumerate(names, 1)]
    boxes = [annotation(i, 2, [4, 5, 10, 12], id=i) for i in range(1, len(names) + 1)]
    file.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))


def xml(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def text(file, content):
    xml(file, content)


def counts(root, split, **options):
    """(images, boxes, lines told)"""
    told = []
    dataset = open_dataset(root, split, report=told.append, **options)
    for i in range(len(dataset)):
        assert dataset[i].original == (30, 40)
    return len(dataset), sum(dataset.boxes_per_class()), told


def refused(root, split="train"):
    with pytest.raises(UserError) as caught:
        open_dataset(root, split)
    return str(caught.value)


def facemask(root):
    """annotations/custom_train.json beside train2017."""
    for split in ("train", "val"):
        picture(root / f"{split}2017" / "a.jpg")
        coco_json(root / "annotations" / f"custom_{split}.json", ["a.jpg"])


def images_by_split(root):
    for split in ("train", "val"):
        for name in "ab":
            picture(root / "images" / split / f"{name}.jpg")
        coco_json(root / "annotations" / f"{split}.json", ["a.jpg", "b.jpg"])


def split_folders(root):
    """train/images and train/annotations.json"""
    for split in ("train", "valid"):
        picture(root / split / "images" / "a.jpg")
        coco_json(root / split / "annotations.json", ["images/a.jpg"])


def roboflow_coco(root):
    for split in ("train", "valid", "test"):
        picture(root / split / "a.jpg")
        coco_json(root / split / "_annotations.coco.json", ["a.jpg"])


def roboflow_voc(root):
    for split in ("train", "valid"):
        picture(root / split / "a_jpg.rf.0a1b.jpg")
        xml(root / split / "a_jpg.rf.0a1b.xml", voc_xml([CAT]))


def roboflow_yolo(root):
    for split in ("train", "valid"):
        picture(root / split / "images" / "a.jpg")
        text(root / split / "labels" / "a.txt", LINE)
    places = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    text(root / "data.yaml", places + "\nnc: 2\nnames: ['cat', 'dog']\n\nroboflow:\n  version: 1\n")


def one_folder_deeper(root):
    """As an archive unpacks: everything in a folder inside."""
    roboflow_yolo(root / "pets-1")


def voc_in_split_folders(root):
    for split in ("train", "validation"):
        picture(root / "annotations" / ".." / "images" / split / "a.jpg")
        xml(root / "annotations" / split / "a.xml", voc_xml([CAT]))


def darknet(root):
    """CVAT's YOLO 1.1."""
    for split in ("train", "valid"):
        picture(root / f"obj_{split}_data" / f"{split}.jpg")
        text(root / f"obj_{split}_data" / f"{split}.txt", LINE)
        text(root / f"{split}.txt", f"data/obj_{split}_data/{split}.jpg\n")
    text(root / "obj.names", "cat\ndog\n")
    text(root / "obj.data", "classes = 2\ntrain = data/train.txt\n")


def labelme_in_split_folders(root):
    for split in ("train", "val"):
        picture(root / split / "a.jpg")
        shape = {"label": "cat", "points": [[1, 2], [9, 12]], "shape_type": "rectangle"}
        text(root / split / "a.json", json.dumps({"shapes": [shape], "imagePath": "a.jpg"}))


@pytest.mark.parametrize(
    ("build", "kind", "word"),
    [
        (facemask, "COCO", "val"),
        (images_by_split, "COCO", "val"),
        (split_folders, "COCO", "valid"),
        (roboflow_coco, "COCO (Roboflow)", "valid"),
        (roboflow_voc, "VOC", "valid"),
        (roboflow_yolo, "YOLO", "val"),
        (one_folder_deeper, "YOLO", "val"),
        (voc_in_split_folders, "VOC", "validation"),
        (darknet, "YOLO", "valid"),
        (labelme_in_split_folders, "LabelMe", "val"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_divided_folders(tmp_path, build, kind, word):
    build(tmp_path)
    layout = find_layout(tmp_path)
    assert layout.kind == kind and layout.names["val"] == word
    images = 2 if build is images_by_split else 1
    for split in ("train", "val"):
        assert counts(tmp_path, split)[:2] == (images, images)


def annots_and_images(root):
    for name in "abc":
        picture(root / "images" / f"{name}.png")
        xml(root / "annots" / f"{name}.xml", voc_xml([CAT]))


def xml_beside_pictures(root):
    for name in "abc":
        picture(root / f"{name}.jpg")
        xml(root / f"{name}.xml", voc_xml([CAT]))


def cvat_coco(root):
    for name in "abc":
        picture(root / "images" / "default" / f"{name}.jpg")
    coco_json(root / "annotations" / "instances_default.json", ["a.jpg", "b.jpg", "c.jpg"])


def json_beside_pictures(root):
    for name in "abc":
        picture(root / f"{name}.jpg")
    coco_json(root / "result.json", ["images/a.jpg", "images\\b.jpg", "/data/upload/3/c.jpg"])


def label_studio_yolo(root):
    for name in "abc":
        picture(root / "images" / f"{name}.jpg")
        text(root / "labels" / f"{name}.txt", LINE)
    text(root / "classes.txt", "cat\ndog\n")
    text(root / "notes.json", json.dumps({"categories": CATEGORIES, "info": {"contributor": "Label Studio"}}))


def labelme(root):
    for name in "abc":
        picture(root / f"{name}.jpg")
        shape = {"label": "dog", "points": [[1, 2], [9, 2], [5, 12]], "shape_type": "polygon"}
        content = {"version": "5.0", "shapes": [shape], "imagePath": f"..\\pets\\{name}.jpg", "imageData": "x" * 10**5}
        text(root / f"{name}.json", json.dumps(content | {"imageHeight": 30, "imageWidth": 40}))


def cvat_xml(root):
    images = ""
    for i, name in enumerate("abc"):
        picture(root / "images" / f"{name}.jpg")
        box = '<box label="dog" xtl="4" ytl="5" xbr="14.5" ybr="17" occluded="0"/>'
        images += f'<image id="{i}" name="{name}.jpg" width="40" height="30">{box}</image>'
    xml(root / "annotations.xml", f"<annotations><version>1.1</version>{images}</annotations>")


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (annots_and_images, "VOC"),
        (xml_beside_pictures, "VOC"),
        (cvat_coco, "COCO"),
        (json_beside_pictures, "COCO"),
        (label_studio_yolo, "YOLO"),
        (labelme, "LabelMe"),
        (cvat_xml, "CVAT"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_folders_in_one_piece(tmp_path, build, kind):
    build(tmp_path)
    layout = find_layout(tmp_path)
    assert layout.kind == kind and list(layout.splits) == ["all"]
    message = refused(tmp_path)
    assert f"({kind}) is not divided" in message and "3 images with 3 boxes" in message and "--split 0.2" in message


def test_training_and_test_data_only(tmp_path):
    roboflow_coco(tmp_path)
    for file in list((tmp_path / "valid").iterdir()):
        file.unlink()
    assert list(find_layout(tmp_path).splits) == ["train", "test"]
    assert "has no val split, only train and test" in refused(tmp_path, "val")
    assert counts(tmp_path, "test")[:2] == (1, 1)


def test_splits_that_a_data_yaml_names_without_having_them(tmp_path):
    roboflow_yolo(tmp_path)
    assert list(find_layout(tmp_path).splits) == ["train", "val"]
    assert "has no test split" in refused(tmp_path, "test") and "names ../test/images, which does" in refused(
        tmp_path, "test"
    )


def test_pictures_of_another_split_are_not_taken(tmp_path):
    """Both have an a.jpg, and those of val are missing."""
    facemask(tmp_path)
    for folder, name in (("train", "a"), ("val", "a")):
        xml(tmp_path / "voc" / "labels" / folder / f"{name}.xml", voc_xml([CAT]))
    picture(tmp_path / "voc" / "images" / "train" / "a.jpg")
    assert "points to image a, which is not in" in refused(tmp_path / "voc", "val")


def test_what_is_passed_over_is_counted(tmp_path):
    facemask(tmp_path)
    for name in ("old.csv", "older.csv", "all.zip", "train2017/._a.jpg", "__MACOSX/train2017/._a.jpg", ".cache/b.jpg"):
        text(tmp_path / name, "x")
    picture(tmp_path / "train2017" / "extra.jpg")
    images, boxes, told = counts(tmp_path, "train")
    said = "\n".join(told)
    assert (images, boxes) == (1, 1) and "2 .csv files, 1 .zip file" in said
    assert "3 hidden files or folders with images: .cache and 2 more" in said
    assert "does not list 1 image of its folder: train2017/extra.jpg" in said
    assert not any(".csv" in line for line in counts(tmp_path, "val")[2]), "said once"


def test_a_refusal_names_what_was_found_and_a_remedy(tmp_path):
    picture(tmp_path / "photos" / "a.jpg")
    message = refused(tmp_path)
    assert "Found photos/: 1 image in all" in message and "export them as COCO" in message
    text(tmp_path / "boxes.csv", "a.jpg,1,2,3,4,cat")
    text(tmp_path / "boxes.json", '{"images": [')
    message = refused(tmp_path)
    assert "1 .csv file" in message and "boxes.json is not readable json" in message and "to COCO" in message
    text(tmp_path / "boxes.json", "{}")
    text(tmp_path / "photos" / "a.txt", LINE)
    assert "1 image and 1 YOLO label file, but no class names" in refused(tmp_path)


def test_several_formats_are_named_with_their_files(tmp_path):
    facemask(tmp_path)
    annots_and_images(tmp_path)
    message = refused(tmp_path)
    assert "several formats (COCO and VOC)" in message and "annots/a.xml" in message


def test_a_thousand_images_are_found_quickly(tmp_path):
    """Without looking at the pictures; the limit is generous, as the machine may be busy."""
    import os
    import time

    picture(tmp_path / "images" / "train" / "0.jpg")
    text(tmp_path / "labels" / "train" / "0.txt", LINE)
    for i in range(1, 1000):
        os.link(tmp_path / "images" / "train" / "0.jpg", tmp_path / "images" / "train" / f"{i}.jpg")
        os.link(tmp_path / "labels" / "train" / "0.txt", tmp_path / "labels" / "train" / f"{i}.txt")
    text(tmp_path / "classes.txt", "cat\ndog\n")
    start = time.process_time()
    layout = find_layout(tmp_path)
    from headstart.data.problems import Problems

    raw = layout.splits["train"](Problems())
    assert len(raw.images) == 1000 and time.process_time() - start < 3
