"""Own weight files: the same detector comes back, or one sentence says why not."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import headstart
from headstart.detectors.weights import load_detector, load_weights, native, read_metadata, save_detector
from headstart.detectors.zoo import build_detector
from headstart.errors import UserError
from headstart.structures import ImageBatch

CLASSES = ("cat", "dog", "coffee cup")


def tiny(name="retinanet_r10", classes=CLASSES, **options):
    return build_detector(name, classes, pretrained=False, width=64, **options)


@pytest.fixture
def saved(tmp_path):
    detector = tiny()
    return detector, save_detector(detector, tmp_path / "deep" / "student.safetensors", seed=3, scores={"AP": 12.5})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("retinanet_r10", {"depth": 1}),
        ("fcos_mnv2_050", {"improved": True}),
        ("fasterrcnn_r10", {"hidden": 16, "frozen_stages": 1}),
        ("retinanet", {"backbone": "mobilenetv2_035"}),
    ],
)
def test_the_same_detector_comes_back(tmp_path, name, options):
    torch.manual_seed(0)
    detector = tiny(name, **options).eval()
    detector.mean.add_(1.5)
    path = save_detector(detector, tmp_path / "w.safetensors")
    again = load_detector(path)
    assert again.classes == CLASSES and again.recipe == detector.recipe and not again.training
    state = again.state_dict()
    assert list(state) == list(detector.state_dict())
    assert all(torch.equal(v, state[k]) for k, v in detector.state_dict().items())
    assert torch.equal(again.mean, detector.mean) and torch.equal(again.std, detector.std)
    batch = ImageBatch(torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8), [(60, 90)], [7], [(60, 90)])
    for mine, theirs in zip(detector.detect(batch), again.detect(batch), strict=True):
        assert torch.equal(mine.boxes, theirs.boxes) and torch.equal(mine.scores, theirs.scores)


def test_files_with_former_names_of_options_are_read(tmp_path):
    options = {"reg_max": 4, "selection": {"score_threshold": 0.2, "max_detections": 7}}
    detector = tiny("gfl_r10", **options)
    detector.recipe |= {"reach": detector.recipe.pop("reg_max"), "selection": {"threshold": 0.2, "keep": 7}}
    path = save_detector(detector, tmp_path / "w.safetensors")
    assert "reg_max" not in read_metadata(path)["recipe"]
    again = load_detector(path)
    assert again.head.reg_max == 4 and again.head.selection == detector.head.selection
    assert {key: again.recipe[key] for key in options} == options


def test_metadata_without_tensors(saved):
    detector, path = saved
    header = read_metadata(path)
    assert header["headstart_version"] == headstart.__version__ and header["format_version"] == 2
    assert header["classes"] == list(CLASSES) and header["recipe"] == json.loads(json.dumps(detector.recipe))
    assert header["training"] == {"seed": 3, "scores": {"AP": 12.5}}
    assert header["preprocessing"]["order"] == "RGB"
    assert header["preprocessing"]["mean"] == pytest.approx([123.675, 116.28, 103.53])


def test_channels_last_and_tied_tensors(tmp_path):
    detector = tiny().to(memory_format=torch.channels_last)
    detector.twin = detector.neck
    path = save_detector(detector, tmp_path / "w.safetensors")
    stored = load_file(path)
    assert all(torch.equal(stored[k], v) and stored[k].is_contiguous() for k, v in detector.state_dict().items())
    weight = next(p for p in detector.neck.parameters() if p.dim() == 4 and p.shape[2] == 3)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    _, path = saved
    before = path.read_bytes()

    def broken(tensors, file, metadata):
        file.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(native, "save_file", broken)
    with pytest.raises(UserError, match="No space left"):
        save_detector(tiny(), path)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_it_is_readable_by_others(saved, tmp_path):
    (tmp_path / "plain").write_text("x")
    assert saved[1].stat().st_mode & 0o777 == (tmp_path / "plain").stat().st_mode & 0o777


def test_every_tensor_that_does_not_fit_is_named(saved):
    path = saved[1]
    tensors = load_file(path)
    gone, bent = sorted(tensors)[0], sorted(tensors)[5]
    del tensors[gone]
    tensors[bent] = torch.zeros(2, 3, 5)
    tensors["assistant.left_over"] = torch.zeros(1)
    rewrite(path, tensors)
    with pytest.raises(UserError) as error:
        load_detector(path)
    for part in (gone, f"{bent} (2, 3, 5) instead of", "assistant.left_over"):
        assert part in str(error.value)


def rewrite(path, tensors, **changes):
    header = {**read_metadata(path), **changes}
    save_file(tensors, path, metadata={k: json.dumps(v) for k, v in header.items()})


def test_another_format_and_an_unknown_recipe(saved):
    detector, path = saved
    tensors = load_file(path)
    rewrite(path, tensors, recipe={**detector.recipe, "name": "yolo"})
    with pytest.raises(UserError, match=r"cannot be built.*yolo"):
        load_detector(path)
    for version, remedy in ((99, "Upgrade headstart"), (1, "Train it again")):
        save_detector(detector, path)
        rewrite(path, tensors, format_version=version)
        with pytest.raises(UserError, match=remedy):
            load_detector(path)


def test_a_detector_built_by_hand(tmp_path):
    detector = tiny()
    detector.recipe = {}
    path = save_detector(detector, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="built by hand"):
        load_detector(path)
    other = tiny()
    load_weights(other, path)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in detector.state_dict().items())


def test_a_header_whose_length_begins_like_a_pickle(tmp_path):
    """The file begins with its header's length; a low byte of 0x80 is no sign of a pickle."""
    detector, path = tiny(), tmp_path / "w.safetensors"
    for filling in range(64):  # the header is padded to a multiple of 8, so 32 lengths are possible
        save_detector(detector, path, note="x" * 8 * filling)
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert load_detector(path).classes == CLASSES


def test_other_classes_are_refused(saved):
    with pytest.raises(UserError, match="same order"):
        load_weights(tiny(classes=("dog", "cat", "coffee cup")), saved[1])


def test_files_of_another_kind(saved, tmp_path):
    _, path = saved
    whole = path.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "head.safetensors").write_bytes(whole[:40])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("hello, this is not a weights file at all")
    torch.save({"a": torch.zeros(1)}, tmp_path / "pickle.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "tagged.safetensors", metadata={"format": "pt"})
    for file, says in {
        "cut": "damaged or cut short",
        "head": "damaged or cut short",
        "empty": "damaged or cut short",
        "text": "damaged or cut short",
        "pickle": "pickled torch file",
        "foreign": "not a detector of headstart",
        "tagged": "not a detector of headstart",
        "missing": "does not exist",
    }.items():
        with pytest.raises(UserError, match=says) as error:
            load_detector(tmp_path / f"{file}.safetensors")
        assert f"{file}.safetensors" in str(error.value)
    with pytest.raises(UserError, match=r"is a folder.*such as .*student\.safetensors"):
        load_detector(path.parent)
