"""A run that is continued knows its data and its teacher by what they are, wherever they lie."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from headstart.api import distill
from headstart.detectors.weights.native import load_detector, save_detector
from headstart.engine.callback import RunCallback
from headstart.engine.fit import fit
from headstart.engine.folder import find_run
from headstart.engine.interrupt import Interrupted
from headstart.errors import UserError
from headstart.recipe import check_run, load_run


@pytest.fixture(scope="module")
def original(shapes, teacher_file, tmp_path_factory):
    """A folder with a run that was stopped after step 2 of 3, its data and its teacher, all named relative to it."""
    root = tmp_path_factory.mktemp("original")
    shutil.copytree(shapes, root / "data")
    shutil.copy(teacher_file, root / "teacher.safetensors")
    settings = {
        "data": {"path": "data", "imgsz": 64, "batch": 2},
        "student": {"name": "retinanet_r10", "width": 16, "pretrained": False, "options": {"depth": 1}},
        "teacher": "teacher.safetensors",
        "method": {"name": "head", "regions": 16},
        "train": {"steps": 3, "warmup": 0, "lr": 0.01, "eval_every": 0, "device": "cpu", "checkpoint_every": 1},
        "name": "stopped",
    }
    save = RunCallback.save

    def stop(self):
        save(self)
        if self.saved == 2:
            raise Interrupted

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted, match="Stopped after step 2"):
        patch.chdir(root)
        patch.setattr(RunCallback, "save", stop)
        fit(check_run(settings), quiet=True)
    return root


@pytest.fixture
def stopped(original, tmp_path, monkeypatch):
    """A copy of that run's folder, data and teacher's file."""
    root = shutil.copytree(original, tmp_path / "copy")
    monkeypatch.chdir(root)
    return root / "runs" / "stopped", root / "data", root / "teacher.safetensors"


def annotations(data: Path, split: str = "train") -> Path:
    return next((data / "annotations").glob(f"*{split}*.json"))


def edit(file: Path, change) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_data_teacher_and_folder_may_move(stopped, tmp_path, capsys):
    folder, data, teacher = stopped
    moved = [shutil.move(place, tmp_path / f"moved-{place.name}") for place in (folder, data, teacher)]
    with pytest.raises(UserError, match="data does not exist"):
        distill(resume=moved[0], quiet=True)
    done = distill(resume=moved[0], data=moved[1], teacher=moved[2])
    assert "The run goes on from step 2 of 3." in capsys.readouterr().out
    assert done.results["data"]["path"] == str(moved[1])
    settings = load_run(Path(moved[0]) / "run.yaml")
    assert settings.data.path == str(moved[1]) and settings.teachers[0].file == str(moved[2])
    assert list(done.results["lanes"]["head"]["method"]) == ["name", "regions"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c["annotations"][0].update(bbox=[1, 1, 20, 20]), r"1 image with other boxes, labels, size or id \("),
        (
            lambda c: c["annotations"][0].update(category_id=c["annotations"][0]["category_id"] % 3 + 1),
            "1 image with other",
        ),
        (lambda c: c["images"].reverse(), "the images stand in another order"),
    ],
)
def test_changed_labels_and_boxes_are_refused(change, told, stopped):
    folder, data, _ = stopped
    edit(annotations(data), change)
    before = (folder / "last.ckpt").read_bytes()
    with pytest.raises(UserError, match=rf"The data has changed .*: the train data in .* has {told}.*--data DIR"):
        distill(resume=folder, quiet=True)
    assert (folder / "last.ckpt").read_bytes() == before


def test_another_image_is_refused(stopped):
    folder, data, _ = stopped
    picture = sorted((data / "train").glob("*"))[0]
    picture.write_bytes(picture.read_bytes() + b"\0")
    with pytest.raises(UserError, match=f"1 image whose file is another one .*{picture.name}"):
        distill(resume=folder, quiet=True)


def test_another_teacher_is_refused(stopped, tmp_path):
    folder, _, teacher = stopped
    detector = load_detector(teacher)
    detector.std.mul_(2)
    save_detector(detector, tmp_path / "std.safetensors")
    with pytest.raises(UserError, match=r"The teacher is not the one .* normalised, in another way.*--teacher FILE"):
        distill(resume=folder, teacher=tmp_path / "std.safetensors", quiet=True)
    detector.head.roi.cls.bias.data.add_(1)
    save_detector(detector, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"The teacher is not the one .*: its weights had the checksum"):
        distill(resume=folder, teacher=tmp_path / "weights.safetensors", quiet=True)


def test_a_checkpoint_from_before_checksums_is_continued_and_says_so(stopped, capsys):
    folder, *_ = stopped
    content = torch.load(folder / "last.ckpt")
    del content["history"]["identity"]
    torch.save(content, folder / "last.ckpt")
    distill(resume=folder)
    assert "written before checksums" in capsys.readouterr().out


def test_settings_that_are_newer_than_the_run_have_their_defaults(stopped):
    folder, *_ = stopped
    content = torch.load(folder / "last.ckpt")
    del content["run"]["train"]["decay_norm_and_bias"]
    del content["run"]["data"]["jitter"]
    torch.save(content, folder / "last.ckpt")
    assert distill(resume=folder, quiet=True).results["lanes"]["head"]["steps"] == 3


def test_an_edited_run_yaml_is_named(stopped):
    folder, *_ = stopped
    written = folder / "run.yaml"
    text = written.read_text()
    written.write_text(text.replace("momentum: 0.9", "momentum: 0.8"))
    with pytest.raises(UserError, match=r"in .*run\.yaml train\.momentum was 0\.9, is now 0\.8\. Leave that out of"):
        distill(resume=folder, quiet=True)
    assert "momentum: 0.8" in written.read_text()
    written.write_text(text.replace("log_every: 20", "log_every: 2"))  # changes nothing of the weights
    distill(resume=folder, quiet=True)
    assert load_run(written).train.log_every == 2


def test_a_run_that_saved_nothing_begins_again_in_its_folder(stopped):
    folder, *_ = stopped
    (folder / "last.ckpt").unlink()
    (folder / ".last.ckpt.0123456789abcdef.partial").touch()
    assert find_run(folder) == (folder, None)
    done = distill(resume=folder, quiet=True)
    assert done.folder == folder and done.results["lanes"]["head"]["steps"] == 3
    assert not list(folder.glob(".*"))


def test_a_name_may_take_the_folder_of_a_run_that_saved_nothing(stopped):
    folder, *_ = stopped
    settings = load_run(folder / "run.yaml")
    with pytest.raises(UserError, match="exists already"):
        fit(settings, quiet=True)
    (folder / "last.ckpt").unlink()
    assert fit(settings, quiet=True).folder.resolve() == folder.resolve()
