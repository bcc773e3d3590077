"""Runs with several teachers, and with none."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from headstart.api import distill
from headstart.cli.errors import handle_errors
from headstart.data.discover import open_dataset
from headstart.detectors.weights.native import load_detector, save_detector
from headstart.detectors.zoo import build_detector
from headstart.engine.fit import fit
from headstart.engine.resume import load_checkpoint
from headstart.engine.teacher import name_teachers, share_class_map
from headstart.errors import UserError
from headstart.methods import METHODS, Guidance
from headstart.recipe import check_run, load_run, plain_run


@dataclass(frozen=True)
class PanelOptions:
    """Only whether there is a teacher at all."""

    assistants: str | list[str] | None = None


class Panel(Guidance):
    """The mean of the student's finest level imitates that of a teacher's, or without one the number 1."""

    def __init__(self, student, teacher):
        super().__init__()
        self.teacher = teacher
        self.name = f"panel/{teacher.name if teacher else 'assistant'}"
        self.adapter = nn.Linear(student.neck.width, 1)

    def forward(self, step):
        goal = self.teacher.features(step.batch).pyramid[0].mean() if self.teacher else 0
        found = self.adapter(step.features.pyramid[0].mean((2, 3)))
        return {self.name: (found - 1 - goal).square().mean()}


def build_panel(student, teachers, options: PanelOptions):
    return [Panel(student, teacher) for teacher in (teachers or [None])]


@pytest.fixture(autouse=True)
def panel(monkeypatch):
    monkeypatch.setitem(METHODS, "panel", build_panel)


@pytest.fixture
def dense_file(shapes, tmp_path):
    detector = build_detector(
        "fcos_mnv2_050", open_dataset(shapes, "val").classes[:8], width=16, depth=1, pretrained=False
    )
    return save_detector(detector, tmp_path / "weights" / "student.safetensors")


@pytest.fixture
def of_two(tiny_run, teacher_file, dense_file):
    """of_two(**changes of train) -> a run with two teachers and the lanes baseline and panel."""

    def make(**train):
        teachers = [str(teacher_file), {"file": str(dense_file)}]
        tree = plain_run(tiny_run(**train)) | {"teacher": teachers, "method": "panel"}
        return check_run(tree)

    return make


def test_two_teachers(of_two, dense_file, capsys):
    outcome = fit(of_two(steps=6, eval_every=1))
    said = capsys.readouterr().out
    assert "Teacher fasterrcnn on the validation images:" in said
    assert "Teacher fcos on the validation images (8 of 10 classes):" in said
    assert "Warning: the teacher fcos knows 8 of the 10 classes" in said
    assert "Classes of student and teacher fcos" in said
    results = json.loads((outcome.folder / "results.json").read_text())
    assert {name: scores["images"] for name, scores in results["teachers"].items()} == {"fasterrcnn": 4, "fcos": 4}
    assert results["data"]["teacher_weights"].keys() == {"fasterrcnn", "fcos"}
    assert {who: len(pairs) for who, pairs in results["data"]["class_map"].items()} == {"fasterrcnn": 10, "fcos": 8}
    assert set(results["lanes"]["panel"]["terms"]) >= {"panel/fasterrcnn", "panel/fcos"}
    assert not any(term.startswith("panel") for term in results["lanes"]["baseline"]["terms"])
    table = [line.split() for line in said[said.index("Results on the validation images") :].splitlines()]
    rows = {words[0]: len(words) for words in table if words and words[0] in (*results["teachers"], *results["lanes"])}
    assert rows == {"fasterrcnn": 7, "fcos": 7, "baseline": 7, "panel": 8}  # a gain for the lane that distils

    assert distill(resume=outcome.folder, quiet=True).results["teachers"].keys() == {"fasterrcnn", "fcos"}
    other = load_detector(dense_file)
    next(other.neck.parameters()).data.add_(1)
    save_detector(other, dense_file)
    with pytest.raises(UserError, match=r"The teacher fcos is not the one .* had the checksum \w{8}, now \w{8}"):
        distill(resume=outcome.folder, quiet=True)


def test_modules_and_files_may_stand_side_by_side(of_two, teacher_file, dense_file, shapes):
    made = load_detector(dense_file)
    before = copy.deepcopy(made.state_dict())
    options = plain_run(of_two())["data"] | {"steps": 1, "eval_every": 0, "device": "cpu", "width": 16}
    options = {key: options[key] for key in ("imgsz", "batch", "steps", "eval_every", "device", "width")}
    options |= {"weights": "none", "out": str(dense_file.parent / "runs"), "quiet": True}
    outcome = distill(shapes, [teacher_file, made], "retinanet_mnv2_050", "panel", **options)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert outcome.results["data"]["teacher_weights"].keys() == {"fasterrcnn", "fcos"}
    assert outcome.results["teachers"] == {}  # nothing is measured without evaluation
    run = load_run(outcome.folder / "run.yaml")
    assert [choice.file for choice in run.teachers] == [str(teacher_file), None]
    with pytest.raises(UserError, match="the teacher of this run was handed over in Python"):
        distill(resume=outcome.folder, quiet=True)
    again = distill(resume=outcome.folder, teacher=[teacher_file, made], quiet=True)
    assert again.results["lanes"] == outcome.results["lanes"]
    with pytest.raises(UserError, match="the run names 2 teachers, but 1 were handed over"):
        fit(run, teacher=made, quiet=True)


def lanes_of(run, **lanes):
    """The same run with these lanes instead."""
    tree = {key: value for key, value in plain_run(run).items() if key not in ("method", "baseline")}
    return check_run(tree | {"lanes": lanes})


def test_a_lane_may_learn_from_some_of_the_teachers_or_none(of_two, capsys):
    panel = {"name": "panel"}
    alone = {"name": "panel", "teachers": [], "assistants": "auto"}
    run = lanes_of(of_two(steps=2, eval_every=1), both=panel, second={**panel, "teachers": ["fcos"]}, alone=alone)
    outcome = fit(run, quiet=True)
    terms = {name: {t for t in lane["terms"] if "panel" in t} for name, lane in outcome.results["lanes"].items()}
    assert terms == {
        "both": {"panel/fasterrcnn", "panel/fcos"},
        "second": {"panel/fcos"},
        "alone": {"panel/assistant"},
    }
    assert load_run(outcome.folder / "run.yaml").choices["alone"].teachers == []
    assert distill(resume=outcome.folder, quiet=True).results["lanes"] == outcome.results["lanes"]


@pytest.mark.parametrize(
    ("lane", "says"),
    [
        ({"name": "panel", "teachers": ["fcs"]}, r"lane one: no teacher is called 'fcs'; did you mean fcos\?"),
        ({"name": "panel", "teachers": []}, "a teacher was given, but no method that would use it"),
        ({"name": "baseline", "teachers": ["fcos"]}, "lanes.one: method baseline learns from no teacher; leave out"),
        ({"name": "panel", "teachers": "fcos"}, "lanes.one.teachers: input should be a valid list, found 'fcos'"),
    ],
)
def test_mistakes_in_the_teachers_of_a_lane(of_two, tmp_path, lane, says):
    with pytest.raises(UserError, match=says):
        fit(lanes_of(of_two(steps=1), baseline={"name": "baseline"}, one=lane), quiet=True)
    assert not (tmp_path / "runs").exists()


def test_one_in_a_list_is_the_only_one(tiny_run, teacher_file):
    run = check_run(plain_run(tiny_run(steps=1, eval_every=1)) | {"teacher": [str(teacher_file)]})
    assert list(fit(run, quiet=True).results["teachers"]) == ["teacher"]


def test_a_method_may_refuse_a_second_teacher(of_two, monkeypatch, tmp_path):
    def build_for_one(student, teachers, options: PanelOptions):
        raise UserError(f"method panel learns from one teacher, found {len(teachers)}")

    monkeypatch.setitem(METHODS, "panel", build_for_one)
    with pytest.raises(UserError, match="method panel learns from one teacher, found 2"):
        fit(of_two(steps=1), quiet=True)
    assert not (tmp_path / "runs").exists()


def test_each_teacher_is_proved_to_be_frozen_and_unchanged(of_two, monkeypatch):
    inner = Panel.forward

    def meddle(self, step):
        if self.name.endswith("fcos"):
            next(self.teacher.model.neck.parameters()).data.add_(1)
        return inner(self, step)

    monkeypatch.setattr(Panel, "forward", meddle)
    with pytest.raises(UserError, match="Lane panel changes its teacher"):
        fit(of_two(steps=1), quiet=True)


def test_every_teacher_needs_a_class_in_common(of_two, tmp_path):
    stranger = build_detector("fcos_mnv2_050", ["zebra"], width=16, depth=1, pretrained=False)
    with pytest.raises(UserError, match=r"^teacher fcos: teacher and student have no class in common"):
        fit(of_two(steps=1), teacher=[None, stranger], quiet=True)


def test_without_a_teacher(tiny_run, tmp_path):
    tree = plain_run(tiny_run(steps=6, eval_every=1, distil=False))
    run = check_run(tree | {"method": {"name": "panel", "assistants": "auto"}, "baseline": True})
    outcome = fit(run, quiet=True)
    assert outcome.results["teachers"] == {} and "teacher_weights" not in outcome.results["data"]
    assert outcome.results["gain"]["against"] == "baseline"
    assert "panel/assistant" in outcome.results["lanes"]["panel"]["terms"]
    assert outcome.folder.name == "panel-retinanet_mnv2_050"
    assert distill(resume=outcome.folder, quiet=True).results["lanes"] == outcome.results["lanes"]


def test_a_run_without_a_teacher_is_continued_by_distill(tiny_run, monkeypatch, capsys):
    from headstart.engine.callback import RunCallback

    inner = RunCallback.on_train_start

    def stop(self, *rest):
        inner(self, *rest)
        self.interrupt.requested = True

    monkeypatch.setattr(RunCallback, "on_train_start", stop)
    run = check_run(plain_run(tiny_run(distil=False)) | {"method": {"name": "panel", "assistants": ["fcos"]}})
    with pytest.raises(BaseException) as ended:
        handle_errors(fit)(run, quiet=True)
    assert ended.value.exit_code == 130
    (folder,) = Path(run.out).iterdir()
    assert f"headstart distill --resume {folder}" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setitem(METHODS, "panel", build_panel)
    assert distill(resume=folder, quiet=True).results["lanes"]["panel"]["steps"] == 12
    assert load_checkpoint(folder / "last.ckpt")["history"]["teachers"] == {}


def test_names_of_several(teacher_file):
    run = check_run(
        {"data": "x", "student": "retinanet_r18", "method": "head", "teacher": ["a/b.pth", "a/c.pth", "a/d.pth", "e/d"]}
    )

    class Made:
        def __init__(self, **recipe):
            self.recipe = recipe

    models = [Made(name="fasterrcnn"), Made(name="fasterrcnn"), Made(), Made()]
    assert name_teachers(models, run.teachers, ["head"]) == ["fasterrcnn", "fasterrcnn-2", "d", "d-2"]
    assert name_teachers(models, run.teachers, ["fasterrcnn", "d"])[::2] == ["fasterrcnn-2", "d-2"]
    assert name_teachers(models[:1], run.teachers[:1], ["head"]) == ["teacher"]


def test_a_class_map_speaks_to_every_teacher():
    teachers = [["tvmonitor", "Dog"], ["dog", "zebra"]]
    given = {"tvmonitor": "screen", "dog": None}
    assert share_class_map(given, teachers) == [{"tvmonitor": "screen", "dog": None}, {"dog": None}]
    with pytest.raises(UserError, match=r"no teacher has a class 'zbra'; did you mean 'zebra'\?"):
        share_class_map({"zbra": None}, teachers)
    assert share_class_map({"bus": "x", "dog": None}, teachers[:1], ["bus"]) == [{"dog": None}]
    with pytest.raises(UserError, match="neither teacher nor student's file has a class 'bs'"):
        share_class_map({"bs": "x"}, teachers[:1], ["bus"])
    assert share_class_map({"zbra": None}, teachers[:1]) == [{"zbra": None}]  # left to `match` to complain of
