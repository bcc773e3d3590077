"""torchvision's detectors, built with random weights, find the same here as there."""

import argparse
import hashlib

import pytest
import torch
from torchvision.models import detection
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from detectors.weights.torchvision_models import SMALL, build, compare, found_by_both, imported, picture, stir
from headstart.detectors.weights import import_detector, import_file, importing, load_detector
from headstart.detectors.weights.torchvision.names import coco_classes, coco_outputs, official_files
from headstart.engine.predict import find_objects
from headstart.errors import UserError

BUILDERS = [
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
]
CLASSES = ["cat", "dog", "coffee cup"]
# Both ways of padding, images smaller and larger than the detector's size, and one that is not resized.
IMAGES = [(96, 128), (71, 60), (150, 201)]


def assert_same(both, least=5):
    theirs, mine = both
    assert least <= len(theirs[1]) == len(mine[1]) and compare(theirs, mine) == 0


@pytest.mark.parametrize("name", BUILDERS)
def test_the_same_detections(name, tmp_path):
    """Resizing, anchors, box code, RoIAlign and selection included."""
    model = build(name)
    opened = imported(model, tmp_path / f"{name}.pth", CLASSES)
    assert opened.size["short"] == (320 if "320" in name else 800) and opened.detector.classes == tuple(CLASSES)
    size = {} if "320" in name else {"short": SMALL["min_size"], "long": SMALL["max_size"]}
    images = IMAGES[:1] if "rcnn_resnet50_fpn_v2" in name else IMAGES  # their box heads take seconds an image
    found = [found_by_both(model, opened, picture(*shape, seed), **size) for seed, shape in enumerate(images)]
    for both in found:
        assert_same(both)
    assert len({label for theirs, _ in found for label in theirs[2].tolist()}) > 1


def test_a_round_trip_through_our_own_file(tmp_path):
    model = build("fasterrcnn_mobilenet_v3_large_320_fpn")
    torch.save(model.state_dict(), tmp_path / "w.pth")
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    place, opened = import_file(tmp_path / "w.pth", read_as=name, classes=CLASSES)
    assert place == tmp_path / "w.safetensors"
    again, image = load_detector(place), picture(80, 120)
    assert again.recipe == opened.detector.recipe and not again.training
    mine, theirs = (find_objects(d, image, **opened.size) for d in (again, opened.detector))
    assert len(mine) > 5 and torch.equal(mine.boxes, theirs.boxes) and torch.equal(mine.scores, theirs.scores)


def test_other_backbones_and_frozen_norms(tmp_path):
    """torchvision's function for FPNs of any ResNet, whose norms are frozen: no counters in the file."""
    body = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    model = stir(FasterRCNN(body, num_classes=4, **SMALL))
    assert not any("num_batches" in key for key in model.state_dict())
    opened = imported(model, tmp_path / "mine.pth", CLASSES)
    assert opened.detector.recipe["backbone"] == "resnet18" and opened.detector.recipe["norm_eval"]
    assert_same(found_by_both(model, opened, picture(96, 128), short=96, long=160))


def test_the_names_of_older_versions(tmp_path):
    """Files from before version 0.13, such as torchvision's own COCO weights, number layers differently."""
    old = {
        "backbone.fpn.inner_blocks.0.0.": "backbone.fpn.inner_blocks.0.",
        "backbone.fpn.layer_blocks.2.0.": "backbone.fpn.layer_blocks.2.",
        "head.classification_head.conv.1.0.": "head.classification_head.conv.2.",
        "head.classification_head.conv.3.0.": "head.classification_head.conv.6.",
        "head.classification_head.conv.2.0.": "head.classification_head.conv.4.",
        "head.classification_head.conv.0.0.": "head.classification_head.conv.0.",
    }
    state = build("retinanet_resnet50_fpn").state_dict()
    torch.save(state, tmp_path / "new.pth")
    for new_name, old_name in old.items():
        for key in [key for key in state if key.startswith(new_name)]:
            state[key.replace(new_name, old_name)] = state.pop(key)
    assert "head.classification_head.conv.6.bias" in state
    torch.save(state, tmp_path / "old.pth")
    one, other = (import_detector(tmp_path / f"{age}.pth", classes=CLASSES).detector for age in ("new", "old"))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("name", ["retinanet_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_the_91_outputs_of_coco(name, tmp_path):
    """Unused numbers are no classes, but in a softmax they still count."""
    model = build(name, outputs=91)
    every = coco_outputs()
    silent = [row for row, label in enumerate(every) if label in ("__background__", "N/A")]
    head = model.head.classification_head.cls_logits if "retina" in name else model.roi_heads.box_predictor.cls_score
    for row in silent[1:]:
        head.bias.data[row::91] = -3.0 if "faster" in name else -30.0
    opened = imported(model, tmp_path / f"{name}.pth")
    assert opened.detector.classes == coco_classes() and len(coco_classes()) == 80
    assert any("91 outputs" in note for note in opened.notes)
    kept = [row for row in range(91) if row not in silent]
    size = {} if "320" in name else {"short": 96, "long": 160}
    (boxes, scores, labels), mine = found_by_both(model, opened, picture(96, 128), **size)
    labels = torch.tensor([kept.index(int(label) + 1) for label in labels])
    assert_same(((boxes, scores, labels), mine))


def test_labels_from_zero(tmp_path):
    """A dense head may use its output 0, if as many classes are named as there are outputs."""
    model = build("fcos_resnet50_fpn")
    both, three = (imported(model, tmp_path / "w.pth", names) for names in ([*CLASSES, "mouse"], CLASSES))
    assert torch.equal(both.detector.head.cls.weight[1:], three.detector.head.cls.weight)
    assert both.detector.head.cls.bias[0] == -30 and three.detector.head.cls.bias[0] > -3


@pytest.mark.parametrize(
    ("name", "outputs", "given", "says"),
    [
        (
            "fcos_resnet50_fpn",
            4,
            {},
            r"what its 4 outputs are called: give --classes .* 3 \(label 0 is background\) or 4",
        ),
        ("fasterrcnn_resnet50_fpn", 4, {}, "give --classes NAME,NAME,... with 3 names"),
        (
            "fasterrcnn_resnet50_fpn",
            4,
            {"classes": ["a", "b"]},
            "has 3 classes and background, but 2 classes are named",
        ),
        ("fasterrcnn_resnet50_fpn", 4, {"classes": list("abcd")}, "has 3 classes and background, but 4 classes"),
        (
            "fasterrcnn_mobilenet_v3_large_fpn",
            4,
            {"classes": CLASSES},
            "fits two detectors .* --as fasterrcnn_mobilenet",
        ),
        ("ssdlite320_mobilenet_v3_large", 4, {}, "without a feature pyramid"),
        ("keypointrcnn_resnet50_fpn", 2, {}, "Keypoint R-CNN, which cannot be imported"),
    ],
)
def test_what_is_left_open_is_asked(name, outputs, given, says, tmp_path):
    model = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=outputs)
    torch.save(model.state_dict(), tmp_path / "epoch_12.pth")
    with pytest.raises(UserError, match=rf"epoch_12\.pth .*{says}"):
        import_detector(tmp_path / "epoch_12.pth", **given)


def test_frozen_norms_of_fine_tuned_models_are_asked_for(tmp_path):
    """torchvision adds nothing to the variance in models that began from its COCO weights; the file does not say."""
    body = resnet_fpn_backbone(backbone_name="resnet50", weights=None)
    model = FasterRCNN(body, num_classes=4, **SMALL)
    model.backbone.body.layer1[0].bn1.running_var[0] = 1e-7
    state = model.state_dict()
    torch.save(state, tmp_path / "epoch_12.pth")
    with pytest.raises(UserError, match=r"--as fasterrcnn_resnet50_fpn_coco if .* --as fasterrcnn_resnet50_fpn if"):
        import_detector(tmp_path / "epoch_12.pth", classes=CLASSES)
    for name, eps in (("fasterrcnn_resnet50_fpn_coco", 0.0), ("fasterrcnn_resnet50_fpn", 1e-5)):
        read = import_detector(tmp_path / "epoch_12.pth", classes=CLASSES, read_as=name).detector
        assert read.backbone.body.bn1.eps == eps
    # torchvision's own training program saves its arguments, which say it too.
    for weights, eps in ((None, 1e-5), ("FasterRCNN_ResNet50_FPN_Weights.COCO_V1", 0.0)):
        arguments = argparse.Namespace(model="fasterrcnn_resnet50_fpn", weights=weights)
        torch.save({"model": state, "args": arguments}, tmp_path / "model_25.pth")
        assert import_detector(tmp_path / "model_25.pth", classes=CLASSES).detector.backbone.body.bn1.eps == eps


def test_torchvisions_own_files_are_known_by_their_contents(tmp_path, monkeypatch):
    known = official_files()
    assert known["258fb6c6"] == "fasterrcnn_resnet50_fpn_coco"
    assert known["907ea3f9"] == "fasterrcnn_mobilenet_v3_large_320_fpn_coco"
    torch.save(build("fasterrcnn_mobilenet_v3_large_320_fpn").state_dict(), tmp_path / "renamed.pth")
    digest = hashlib.sha256((tmp_path / "renamed.pth").read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(importing, "official_files", lambda: {digest: known["907ea3f9"]})
    assert import_detector(tmp_path / "renamed.pth", classes=CLASSES).size["short"] == 320
