"""A weights file on data that calls its classes otherwise."""

import json
import os
import shutil

import pytest

from data.data_folders import picture
from engine.test_teacher_classes import Oracle
from headstart.classmap import match_classes
from headstart.data.discover import open_dataset
from headstart.detectors.weights.importing import NATIVE, Imported
from headstart.detectors.weights.native import save_detector
from headstart.detectors.zoo import build_detector
from headstart.engine import predict
from headstart.errors import UserError


@pytest.fixture(scope="module")
def classes(shapes):
    return open_dataset(shapes, "val").classes


@pytest.fixture
def scored(shapes, monkeypatch):
    """The numbers of a detector that finds everything under its own names, and what was said of the names."""

    def score(names, call, data=shapes, **options):
        oracle = Oracle(open_dataset(shapes, "val"), names, call)
        monkeypatch.setattr(predict, "open_detector", lambda file: Imported(oracle, NATIVE, {}, []))
        said = []
        options = {"imgsz": 64, "device": "cpu", "say": said.append, "voc": True} | options
        numbers = predict.validate("w.safetensors", data, **options)
        what, boxes, *others = said
        assert " val: 4 images, " in what and boxes.startswith("Images: ")
        return numbers, others

    return score


def test_the_same_classes_in_another_order_and_spelling(scored, classes):
    same, said = scored(list(classes), {name: name for name in classes})
    assert same["AP"] == pytest.approx(100) and list(same["per_class"]) == list(classes) and said == []
    turned, said = scored([name.upper() for name in reversed(classes)], {name: name.upper() for name in classes})
    assert turned["AP"] == pytest.approx(100) and turned["VOC_AP"] == pytest.approx(100)
    assert list(turned["per_class"]) == list(reversed(classes))
    assert len(said) == 1 and f"{classes[-1].upper()} as {classes[-1]}" in said[0]


def test_only_classes_of_both_sides_count(scored, classes):
    found, said = scored(["zebra", *classes[:4], "junk"], {name: name for name in classes[:4]})
    assert found["AP"] == pytest.approx(100) and list(found["per_class"]) == list(classes[:4])
    assert said == ["Measured on 4 classes; not in the data and left out: zebra, junk"]


def test_a_class_map(scored, classes, tmp_path):
    """Renamed, left out and merged classes; as a mapping and as a file."""
    names = ["round", *classes[1:-1], "pointed", "junk"]
    call = {name: name for name in classes} | {classes[0]: "round", classes[-1]: "pointed"}
    plain, _ = scored(names, call)
    assert list(plain["per_class"]) == list(classes[1:-1])
    given = {"round": classes[0], "pointed": classes[-1], classes[1]: None}
    (tmp_path / "names.yaml").write_text(
        f"round: {classes[0]}\npointed: {classes[-1]}\n{classes[1]}: null\n", encoding="utf-8"
    )
    for way in (given, tmp_path / "names.yaml", str(tmp_path / "names.yaml")):
        mapped, said = scored(names, call, class_map=way)
        assert list(mapped["per_class"]) == [classes[0], *classes[2:]]
        assert mapped["AP"] == pytest.approx(100)
        assert f"round as {classes[0]}" in said[0] and classes[1] in said[1]


def test_a_class_without_objects_in_this_split(scored, shapes, classes, tmp_path):
    """The other split names it, so it is known, and undefined."""
    folder = shutil.copytree(shapes, tmp_path / "copy")
    file = folder / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    gone = next(category["id"] for category in content["categories"] if category["name"] == classes[-1])
    content["categories"] = [category for category in content["categories"] if category["id"] != gone]
    content["annotations"] = [row for row in content["annotations"] if row["category_id"] != gone]
    file.write_text(json.dumps(content))
    found, said = scored(list(classes), {name: name for name in classes}, data=folder)
    assert said == [] and found["per_class"][classes[-1]]["AP"] is None and len(found["per_class"]) == len(classes)


@pytest.mark.parametrize(
    ("names", "given", "says"),
    [
        (["zebra", "gnu"], None, "detector and data have no class in common: the detector finds zebra, gnu; the data"),
        (["zebra", "gnu"], {"zbra": None}, "the detector has no class 'zbra'; did you mean 'zebra'"),
        (["zebra", "gnu"], {"zebra": "hart"}, "the data has no class 'hart'; did you mean 'heart'"),
        (["zebra", "gnu"], {"zebra": ["heart"]}, r"expected `detector class: data class` \(or null\), found 'zebra'"),
        (["zebra", "gnu"], "nowhere.yaml", "class map nowhere.yaml does not exist"),
    ],
)
def test_what_cannot_be_measured(scored, names, given, says):
    with pytest.raises(UserError, match=says):
        scored(names, {}, class_map=given)


def test_names_are_compared_in_words():
    same = match_classes(["cat", "dog"], ["cat", "dog"])
    other = match_classes(["tvmonitor", "dog", "gnu"], ["tv", "dog"])
    assert predict.compare_names(same) == []
    assert predict.compare_names(other) == [
        "Classes of another name in the data: tvmonitor as tv",
        "Measured on 2 classes; not in the data and left out: gnu",
    ]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    detector = build_detector("retinanet_r10", ["p", "q"], width=16, pretrained=False).eval()
    file = tmp_path_factory.mktemp("weights") / "student.safetensors"
    return save_detector(detector, file, size={"short": 64, "long": 64})


def test_bad_files_are_named_and_the_rest_is_done(weights, tmp_path, capsys):
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name in ("a.jpg", "d.png", os.fsdecode(b"\xff.jpg")):
        picture(photos / name)
    (photos / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0broken")
    os.mkfifo(photos / "c.jpg")
    content = bytearray((photos / "d.png").read_bytes())
    content[content.index(b"IDAT") + 20] ^= 1
    (photos / "d.png").write_bytes(content)
    (photos / "e.jpg").write_bytes((photos / "a.jpg").read_bytes()[:-2])
    (photos / "again").symlink_to(photos)
    said = []
    entries = predict.predict(weights, [photos], out, threshold=0.0, device="cpu", say=said.append)
    assert json.loads((out / "predictions.json").read_text(encoding="utf-8")) == entries
    bad = {
        "b.jpg": "damaged (a JPEG without a readable header)",
        "c.jpg": "not a regular file (a folder, a pipe or a device)",
        "d.png": "damaged (the checksum of the PNG's chunk IDAT is wrong)",
    }
    names = ["a.jpg", "b.jpg", "c.jpg", "d.png", "e.jpg", "\\xff.jpg"]
    assert [entry["file"] for entry in entries] == [f"{photos}/{name}" for name in names]
    assert {name: entry["error"] for name, entry in zip(names, entries) if "error" in entry} == bad
    for name, entry in zip(names, entries):
        assert (entry["width"], entry["height"]) == ((0, 0) if name in bad else (40, 30))
    noted = {**bad, "e.jpg": "the last bytes of the file are missing"}
    assert said == [f"{photos}/{name}: {text}" for name, text in noted.items()]
    drawn = {"a.jpg", "e.jpg", os.fsdecode(b"\xff.jpg"), "predictions.json"}
    assert {file.name for file in out.iterdir()} == drawn


def test_the_command_says_by_its_status_that_files_were_bad(weights, tmp_path, capsys):
    import typer

    from headstart.cli.predict import predict as command

    picture(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").touch()
    options = {"out": str(tmp_path / "out"), "threshold": 0.3, "imgsz": None, "draw": False, "device": "cpu"}
    command(str(weights), [str(tmp_path / "a.jpg")], **options)
    with pytest.raises(typer.Exit) as end:
        command(str(weights), [str(tmp_path)], **options)
    told = capsys.readouterr()
    assert end.value.exit_code == 2 and f"{tmp_path}/b.jpg: empty" in told.out
    assert "1 of 2 images could not be read" in told.err and "in 1 images" in told.out


@pytest.mark.parametrize("imgsz", [30000, 10**20, 4097, 0, -1])
def test_sizes_have_a_limit(weights, tmp_path, imgsz):
    with pytest.raises(UserError, match=f"1 to 4096 pixels, found {imgsz}; cut larger images into tiles"):
        predict.predict(weights, [picture(tmp_path / "a.jpg")], tmp_path / "out", imgsz=imgsz, device="cpu")
    with pytest.raises(UserError, match="1 to 4096 pixels"):
        predict.validate(weights, tmp_path, imgsz=imgsz)


@pytest.mark.parametrize("batch", [0, -1, 513, 1000000])
def test_batches_have_a_limit(weights, tmp_path, batch):
    with pytest.raises(UserError, match=f"a batch must be 1 to 512 images here, found {batch}"):
        predict.validate(weights, tmp_path, batch=batch)


def test_sources_that_are_no_images(weights, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "empty").mkdir()
    for name, reason in (
        ("pipe.jpg", "is a pipe or a device"),
        ("no.jpg", "does not exist"),
        ("empty", "has no image"),
    ):
        with pytest.raises(UserError, match=f"{name} {reason}"):
            predict.predict(weights, [tmp_path / name], tmp_path / "out", device="cpu")
