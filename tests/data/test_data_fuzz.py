"""Whatever stands in the annotation files, a reader answers with samples or with a UserError."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.data_folders import annotation, coco, voc, voc_xml, yolo
from headstart.data.discover import open_dataset
from headstart.errors import UserError

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))

values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
json_values = st.recursive(
    values, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=6), v, max_size=4)
)
places = st.sampled_from(["images", "annotations", "categories"])
fields = st.sampled_from(
    ["id", "file_name", "width", "height", "image_id", "category_id", "bbox", "iscrowd", "name", "supercategory"]
)


@pytest.fixture(scope="module")
def folders():
    root = Path(tempfile.mkdtemp())
    coco(root / "coco", [annotation(1, 3, [1, 2, 5, 5]), annotation(2, 7, [1, 2, 5, 5])])
    voc(root / "voc", {"train": {"a": voc_xml([("cat", 1, 2, 9, 9)]), "b": voc_xml([])}})
    yolo(root / "yolo", {"train": {"a": "0 0.5 0.5 0.2 0.2", "b": None}})
    yield root
    shutil.rmtree(root)


def opened(root):
    """Opens with bad data skipped: what comes out must be sound; a UserError is an answer as well."""
    try:
        dataset = open_dataset(root, "train", bad_data="skip", report=str)
    except UserError as error:
        assert str(error).strip()
        return
    for i in range(len(dataset)):
        boxes, labels, _ = dataset.annotations(i)
        height, width = dataset.sizes[i]
        assert np.isfinite(boxes).all() and (boxes >= 0).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes[:, 2:] <= [width, height]).all() and ((labels >= 0) & (labels < len(dataset.classes))).all()
        assert dataset.file(i).is_file()
    assert len(set(dataset.ids)) == len(dataset)


@QUICK
@given(place=places, position=st.integers(0, 1), field=fields, value=json_values)
def test_coco_with_one_strange_value(folders, place, position, field, value):
    file = folders / "coco" / "annotations" / "instances_train.json"
    before = file.read_text()
    content = json.loads(before)
    content[place][position][field] = value
    try:
        file.write_text(json.dumps(content))
        opened(folders / "coco")
    finally:
        file.write_text(before)


@QUICK
@given(place=places, value=json_values)
def test_coco_with_a_strange_list(folders, place, value):
    file = folders / "coco" / "annotations" / "instances_train.json"
    before = file.read_text()
    try:
        file.write_text(json.dumps(json.loads(before) | {place: value}))
        opened(folders / "coco")
    finally:
        file.write_text(before)


@QUICK
@given(
    text=st.text(max_size=30) | st.lists(st.sampled_from([*"<>/ 19", "object", "bndbox", "name", "xmin"])).map("".join)
)
def test_voc_xml(folders, text):
    (folders / "voc" / "Annotations" / "a.xml").write_text(text)
    opened(folders / "voc")


@QUICK
@given(numbers=st.lists(st.text(max_size=5) | st.floats().map(str) | st.integers().map(str), min_size=4, max_size=4))
def test_voc_corners(folders, numbers):
    escaped = [n.replace("&", "&amp;").replace("<", "&lt;") for n in numbers]
    (folders / "voc" / "Annotations" / "a.xml").write_text(voc_xml([("cat", *escaped)]))
    opened(folders / "voc")


@QUICK
@given(text=st.text(max_size=40))
def test_voc_lists(folders, text):
    (folders / "voc" / "Annotations" / "a.xml").write_text(voc_xml([("cat", 1, 2, 9, 9)]))
    file = folders / "voc" / "ImageSets" / "Main" / "train.txt"
    file.write_text(text)
    opened(folders / "voc")
    file.write_text("a\nb\n")


@QUICK
@given(
    text=st.text(max_size=40)
    | st.lists(st.integers().map(str) | st.floats().map(str) | st.floats(0, 1).map(str), max_size=12).map(" ".join)
)
def test_yolo_lines(folders, text):
    (folders / "yolo" / "labels" / "train" / "a.txt").write_text(text)
    opened(folders / "yolo")


@QUICK
@given(key=st.sampled_from(["names", "nc", "path", "train", "val"]), value=json_values)
def test_yolo_settings(folders, key, value):
    file = folders / "yolo" / "data.yaml"
    before = file.read_text()
    try:
        file.write_text(json.dumps(json.loads(before) | {key: value}))
        opened(folders / "yolo")
    finally:
        file.write_text(before)


@QUICK
@given(text=st.text(max_size=40))
def test_yolo_yaml(folders, text):
    file = folders / "yolo" / "data.yaml"
    before = file.read_text()
    try:
        file.write_text(text)
        opened(folders / "yolo")
    finally:
        file.write_text(before)
