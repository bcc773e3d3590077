import copy
import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from headstart.api import distill
from headstart.detectors.weights.native import load_detector, read_metadata
from headstart.engine import predict, prepare
from headstart.engine.fit import fit
from headstart.errors import UserError
from headstart.heads.fcos import FCOSHead
from headstart.methods import METHODS, Method, method_options
from headstart.recipe import check_run, load_run, plain_run

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


def test_what_a_run_leaves(tiny_run, capsys):
    outcome = fit(tiny_run(steps=6, eval_every=1, ema=0.9, log_every=2))
    said = capsys.readouterr().out
    assert "Lane head: what imitates what" in said
    assert "Warning: this teacher finds little here" in said
    folder = outcome.folder
    assert load_run(folder / "run.yaml").train.lr == 0.01
    results = json.loads((folder / "results.json").read_text())
    assert results["teachers"]["teacher"]["images"] == 4
    assert results["data"]["steps_per_epoch"] == 5
    assert results["gain"]["against"] == "baseline"
    for name in ("baseline", "head"):
        lane = results["lanes"][name]
        assert [score["step"] for score in lane["history"]] == [5, 6]
        assert lane["steps"] == 6 and lane["seconds"] > 0
    assert "ckd/rcnn" in results["lanes"]["head"]["terms"]
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert {row["step"] for row in rows if row["lane"] == "head" and row["ckd/rcnn"]} == {"1", "2", "4", "5", "6"}
    assert all(not row["distillation"] for row in rows if row["lane"] == "baseline")


def test_the_shipped_student_is_a_plain_detector_with_the_average(tiny_run, shapes):
    outcome = fit(tiny_run(steps=2, ema=0.9), quiet=True)
    plain = load_detector(outcome.weights["baseline"])
    taught = load_detector(outcome.weights["head"])
    assert plain.state_dict().keys() == taught.state_dict().keys()
    for name, value in taught.state_dict().items():
        assert torch.equal(value, outcome.students["head"].state_dict()[name]), name
    shadow = torch.load(outcome.folder / "last.ckpt")["lanes"]["head"]["ema"]
    weights = load_file(outcome.weights["head"])
    assert all(torch.equal(weights[name], value) for name, value in shadow.items())


def test_the_teacher_is_in_no_checkpoint_and_unchanged(tiny_run, teacher_file):
    given = load_detector(teacher_file)
    before = copy.deepcopy(given.state_dict())
    run = tiny_run(steps=2)
    outcome = fit(run, teacher=given, quiet=True)
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())
    kept = torch.load(outcome.folder / "last.ckpt")["lanes"]["head"]["method"]
    assert {name.split(".")[0] for name in kept} == {"student", "guidances"}


@pytest.mark.parametrize("student", ["retinanet_mnv2_050", "fcos_mnv2_050"])
@pytest.mark.parametrize("fast", [False, True])
def test_bf16(student, fast, tiny_run):
    run = tiny_run(student, steps=2, precision="bf16", batch=4, fast_teacher=fast)
    outcome = fit(run, quiet=True)
    assert all(value.isfinite().all() for s in outcome.students.values() for value in s.state_dict().values())


def test_detectors_made_by_hand(tiny_run, shapes, teacher_file, tmp_path):
    teacher = load_detector(teacher_file)
    student = fit(tiny_run(steps=1, distil=False), quiet=True).students["student"]
    options = {"imgsz": 64, "batch": 2, "steps": 1, "eval_every": 0, "out": str(tmp_path / "hand"), "device": "cpu"}
    outcome = distill(shapes, teacher, student, quiet=True, **options)
    assert list(outcome.students) == ["head"]
    assert outcome.students["head"] is not student
    # Finished or not, a run of modules made by hand needs them again.
    with pytest.raises(UserError, match="hand it over again"):
        distill(resume=outcome.folder)


def test_divergence_stops_with_advice_and_leaves_the_last_good_state(tiny_run, tmp_path):
    run = tiny_run(steps=40, distil=False, lr=1e9, warmup=0, clip=None, checkpoint_every=1, log_every=1)
    with pytest.raises(UserError, match=r"Lane student diverged.*smaller lr"):
        fit(run, quiet=True)
    kept = torch.load(tmp_path / "runs" / "retinanet_mnv2_050" / "last.ckpt")
    assert kept["step"] > 0
    assert all(value.isfinite().all() for value in kept["lanes"]["student"]["method"].values())


def test_tensorboard_that_is_missing(tiny_run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'headstart\[tensorboard\]'"):
        fit(tiny_run(steps=1, distil=False, tensorboard=True), quiet=True)


def test_a_failing_guard_leaves_no_folder(tiny_run, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise UserError("no")

    monkeypatch.setattr(prepare, "check_lane", fail)
    with pytest.raises(UserError):
        fit(tiny_run(steps=1), quiet=True)
    assert not (tmp_path / "runs").exists()


def test_methods_know_where_the_rate_first_drops(tiny_run, monkeypatch):
    inner, seen = Method.forward, []

    def watch(self, batch, targets, progress):
        seen.append(progress)
        return inner(self, batch, targets, progress)

    monkeypatch.setattr(Method, "forward", watch)
    fit(tiny_run(steps=3, milestones=[2], distil=False), quiet=True)
    assert {progress.first_drop for progress in seen} == {2}
    assert [progress.step for progress in seen[-3:]] == [0, 1, 2]


def test_a_loss_of_the_last_part_comes_with_its_first_epoch(tiny_run, monkeypatch):
    """Epochs of five steps; the last tenth of 12 is an epoch at least: from step 5 on."""
    monkeypatch.setattr(FCOSHead, "extra_l1", False, raising=False)
    inner = FCOSHead.loss

    def loss(self, outputs, assignment):
        losses = inner(self, outputs, assignment)
        return losses | ({"l1": losses["box"] / 10} if self.extra_l1 else {})

    monkeypatch.setattr(FCOSHead, "loss", loss)
    run = tiny_run("fcos_mnv2_050", distil=False, log_every=1)
    whole = fit(run, quiet=True)
    rows = list(csv.DictReader((whole.folder / "metrics.csv").open()))
    assert {int(row["step"]) for row in rows if row["student/l1"]} == {*range(6, 13)}
    assert json.loads((whole.folder / "results.json").read_text())["lanes"]["student"]["terms"].keys() >= {"student/l1"}


def test_a_detector_trained_on_squares_is_measured_on_squares(tiny_run, shapes):
    """The file says so; another side that cannot be padded to is refused."""
    tree = plain_run(tiny_run(steps=2, distil=False, eval_every=1))
    done = fit(check_run(tree | {"data": tree["data"] | {"square": True}}), quiet=True)
    size = read_metadata(done.file)["training"]["size"]
    assert size == {"short": 64, "long": 64, "square": True}
    found = predict.validate(done.file, shapes, device="cpu")
    assert found["AP"] == done.results["lanes"]["student"]["metrics"]["AP"]
    with pytest.raises(UserError, match="multiple of 32; found imgsz 50"):
        predict.validate(done.file, shapes, imgsz=50, device="cpu")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_the_methods_of_shipped_recipes_have_these_options(path):
    for choice in load_run(path).choices.values():
        assert {name for name, _ in choice.parts} <= set(METHODS)
        for name, options in choice.parts:
            assert set(options) <= set(method_options(name))
