"""Foreign files where weights are expected: imported, validated, drawn from, and as teachers of a run."""

import json

import pytest
import torch
from typer.testing import CliRunner

from detectors.weights.test_mmdetection import around
from headstart.api import distill
from headstart.cli import app
from headstart.data.discover import open_dataset
from headstart.data.shapes import make_shapes
from headstart.detectors.weights import (
    import_detector,
    import_file,
    load_detector,
    open_detector,
    read_metadata,
    save_detector,
)
from headstart.engine.fit import fit
from headstart.engine.predict import predict, validate
from headstart.errors import UserError
from headstart.recipe import check_run
from laws.tiny import detector


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=6, val=3, size=64)


@pytest.fixture
def teacher(reference, shapes, tmp_path):
    """A file of mmdetection's Faster R-CNN, small but for its ResNet, which knows seven of the ten classes."""
    classes = open_dataset(shapes, "val").classes[:7]
    meta = {"CLASSES": classes, "config": "model = dict(test_cfg=dict(rcnn=dict(score_thr=0.01)))", "epoch": 12}
    state = around(reference("two_stage_faster"), 32, dense=False)
    torch.save({"state_dict": state, "meta": meta, "optimizer": {"param_groups": [{"lr": 0.1}]}}, tmp_path / "f.pth")
    return tmp_path / "f.pth"


def headstart(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def words(result) -> str:
    return " ".join(result.output.split())


def test_the_command_writes_an_ordinary_file(teacher, tmp_path):
    result = headstart("import", teacher)
    assert result.exit_code == 0, result.output
    assert "Read as mmdetection's Faster R-CNN on resnet18, 7 classes" in words(result)
    assert "images are normalised as RGB" in words(result) and "Written:" in result.output
    place = tmp_path / "f.safetensors"
    again, first = load_detector(place), import_detector(teacher).detector
    own = first.state_dict()
    assert again.recipe == first.recipe and again.classes == first.classes
    assert all(torch.equal(value, own[key]) for key, value in again.state_dict().items())
    notes = read_metadata(place)["training"]
    assert notes["size"] == {"short": 800, "long": 1333, "resize": "opencv"}
    assert notes["imported"]["file"] == "f.pth" and notes["imported"]["source"].startswith("mmdetection's")
    result = headstart("import", teacher)
    assert result.exit_code == 2 and "exists already and is not overwritten" in words(result)
    assert headstart("import", teacher, "--out", tmp_path / "other.safetensors").exit_code == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--classes", "a,b"], "has 7 outputs, but 2 classes are named: a, b"),
        (["--classes", "a,a"], "expected different names, found 'a'"),
        (["--entry", "model"], "no weights under 'model': it has state_dict"),
    ],
)
def test_mistakes_of_the_command(teacher, options, says):
    result = headstart("import", teacher, *options)
    assert result.exit_code == 2 and says in words(result) and "Traceback" not in result.output
    assert list(teacher.parent.glob("*.safetensors")) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "f.pth"], "would be written over itself: give --out another name"),
        (["--out", "folder"], "is a folder: give --out the name of a file, such as folder/f.safetensors"),
        (["--out", "f.pth/x.safetensors"], "could not be written to f.pth/x.safetensors"),
        (["--as", "fcos"], "Faster R-CNN on resnet18 and does not agree with --as fcos (fcos)"),
        (["--as", "mine"], "--as mine says nothing of it: leave it out, or give"),
        (["--classes", "names.txt"], "there is no such file"),
        (["--classes", "a,,b"], "expected different names, found one that is empty"),
        (["--classes", "f.pth"], "file with one name a line"),
    ],
)
def test_more_mistakes_of_the_command(teacher, options, says, monkeypatch):
    monkeypatch.chdir(teacher.parent)
    (teacher.parent / "folder").mkdir()
    result = headstart("import", "f.pth", *options)
    assert result.exit_code == 2 and says in words(result) and "Traceback" not in result.output
    assert list(teacher.parent.rglob("*.safetensors")) == []


@pytest.mark.parametrize("content", [b"", b"only words, but a good many of them"])
def test_files_that_are_nothing(content, tmp_path):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"w\.pth cannot be read: .* damaged, cut short or no checkpoint"):
        import_file(tmp_path / "w.pth")


def test_half_of_our_own_file(tmp_path):
    place = save_detector(detector("retinanet"), tmp_path / "own.safetensors")
    place.write_bytes(place.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"own\.safetensors cannot be read: .* damaged or cut short"):
        import_file(place)


def test_classes_from_a_file(teacher, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(f"thing {i}" for i in range(7)) + "\n")
    assert headstart("import", teacher, "--classes", tmp_path / "names.txt").exit_code == 0
    assert load_detector(tmp_path / "f.safetensors").classes[6] == "thing 6"


def test_our_own_files_need_no_import(tmp_path):
    place = save_detector(detector("retinanet"), tmp_path / "own.safetensors")
    with pytest.raises(UserError, match="own file and needs no import: use it as it is"):
        import_file(place, tmp_path / "x.safetensors")
    assert open_detector(place).source == "headstart"
    with pytest.raises(UserError, match="says what it is: leave out classes"):
        open_detector(place, classes=["a"])
    with pytest.raises(UserError, match=r"none\.pth does not exist.*or a checkpoint"):
        open_detector(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            ["conv1.weight", "layer1.0.conv1.weight", "fc.weight"],
            "is no detector that can be imported: .* found conv1",
        ),
        (["backbone.bottom_up.stem.conv1.weight", "proposal_generator.rpn_head.conv.weight"], "a model of detectron2"),
        (["transformer.encoder.layers.0.linear1.weight", "class_embed.weight"], "a model of DETR"),
        (["model.0.conv.weight", "model.0.bn.weight", "model.1.conv.weight"], "a model of Ultralytics' YOLO"),
        (["backbone.body.conv1.weight", "head.classification_head.module_list.0.weight"], "without a feature pyramid"),
        (["backbone.conv1.weight", "rpn_head.rpn_conv.weight"], "its heads have rpn_head.rpn_conv"),
        (["backbone.conv1.weight", "bbox_head.retina_cls.weight"], r"RetinaNet|retinanet without a feature pyramid"),
    ],
)
def test_files_of_other_models(names, says, tmp_path):
    torch.save({name: torch.zeros(3, 3) for name in names}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=rf"other\.pth .*{says}"):
        import_detector(tmp_path / "other.pth")


def test_other_commands_say_where_to_say_it(teacher):
    content = torch.load(teacher)
    torch.save(content["state_dict"], teacher)
    with pytest.raises(UserError, match=r"give --classes .* options of `headstart import FILE`"):
        open_detector(teacher)


def test_scores_and_pictures(teacher, shapes, tmp_path):
    """`val` and `predict` take the file as it is, and resize as mmdetection does."""
    said = []
    numbers = validate(teacher, shapes, imgsz=64, device="cpu", say=said.append)
    assert numbers["images"] == 3 and len(numbers["per_class"]) == 7
    assert said[0] == "Read as mmdetection's Faster R-CNN on resnet18" and said[1].startswith("- ")
    assert any("3 images" in line for line in said)  # what is measured on
    entries = predict(teacher, [shapes / "val"], tmp_path / "found", threshold=0.0, imgsz=64, device="cpu", draw=False)
    assert len(entries) == 3 and entries[0]["objects"]
    assert json.loads((tmp_path / "found" / "predictions.json").read_text()) == entries


def test_a_foreign_teacher(teacher, shapes, tmp_path, capsys, monkeypatch):
    """Distilled from directly, by name of the file; what was assumed is said."""
    monkeypatch.chdir(tmp_path)
    outcome = distill(
        str(shapes),
        str(teacher),
        "retinanet",
        "head",
        backbone="mnv2_050",
        weights="none",
        width=16,
        imgsz=64,
        batch=2,
        steps=2,
        device="cpu",
        eval_every=0,
        settings=["method.regions=16"],
    )
    said = capsys.readouterr().out
    assert "The teacher was read as mmdetection's Faster R-CNN on resnet18" in said
    assert "akd/rcnn/fc0" in outcome.results["lanes"]["head"]["terms"]


def test_a_foreign_student(reference, shapes, tmp_path, capsys):
    """Training goes on from a foreign detector that knows the data's classes."""
    state = around(reference("dense_gfl"), 64)
    classes = list(open_dataset(shapes, "val").classes[:7])
    torch.save({"state_dict": state}, tmp_path / "epoch_12.pth")
    tree = {
        "data": {"path": str(shapes), "imgsz": 64, "batch": 2, "classes": classes},
        "student": {"file": str(tmp_path / "epoch_12.pth"), "classes": classes},
        "train": {"steps": 1, "eval_every": 0, "device": "cpu"},
        "out": str(tmp_path / "runs"),
    }
    outcome = fit(check_run(tree))
    assert "The student was read as mmdetection's GFL" in capsys.readouterr().out
    assert load_detector(outcome.file).recipe["backbone"] == "resnet18"
