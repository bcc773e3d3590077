import json
import subprocess
import sys

import pytest
import torch
import torchvision
import yaml
from typer.testing import CliRunner

from headstart.cli import app
from headstart.data.shapes import make_shapes

TINY = ["--width", "16", "--weights", "none", "--imgsz", "64", "--batch", "2", "--device", "cpu"]
STUDENT = ["--student", "retinanet_mnv2_050", *TINY]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return str(make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=6, val=3, size=64))


@pytest.fixture(scope="module")
def teacher(shapes, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    ended = headstart(
        *["train", "--data", shapes, "--student", "fasterrcnn_r10", *TINY, "--steps", "1", "--name", "teacher"],
        *["--set", "student.options={hidden: 16}", "--out", out],
    )
    assert ended.exit_code == 0, ended.output
    return str(out / "teacher" / "student.safetensors")


def headstart(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def words(result) -> str:
    return " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize(
    "verb",
    [
        [],
        ["data"],
        ["train"],
        ["distill"],
        ["val"],
        ["predict"],
        ["import"],
        ["push"],
        ["models"],
        ["methods"],
        ["demo"],
        ["config", "show"],
    ],
)
def test_help_is_fast_because_torch_is_not_imported(verb):
    code = (
        "import sys, resource\n"
        "from headstart.cli import main\n"
        f"sys.argv = ['headstart', *{verb}, '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'torch', 'lightning', 'timm', 'numpy'} & set(sys.modules), 'a heavy import'\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "Usage" in ended.stdout
    assert float(ended.stderr.split()[-1]) < 1.5  # 0.5 s on an idle machine with compiled bytecode


@pytest.mark.parametrize(
    "arguments, hint",
    [
        (["trian"], "Did you mean 'train'?"),
        (["train", "--epoch", "3"], "--epochs"),
        (["train", "--student", "retinanet_r18"], "data is missing"),
        (["train", "--data", "x"], "student is missing"),
        (["train", "--data", "nowhere", "--student", "retinanet_r18"], "nowhere does not exist"),
        (["train", "--data", "x", "--student", "retinanet_r18", "--optimizer", "sdg"], "did you mean sgd?"),
        (
            ["train", "--data", "x", "--student", "r", "--set", "student.backbon=r50"],
            "did you mean backbone?",
        ),
        (["train", "--data", "x", "--student", "retinanet_r18", "--set", "trian.lr=1"], "did you mean train?"),
        (["train", "--data", "x", "--student", "r", "--epochs", "1", "--steps", "2"], "one of epochs, steps"),
        (
            ["distill", "--data", "x", "--student", "retinanet_r18"],
            "head can also do without: --assistants auto",
        ),
        (["distill", "--data", "x", "--student", "r", "--method", "baseline"], "distill needs a teacher"),
        (["distill", "--data", "nowhere", "--student", "r", "--assistants", "auto"], "nowhere does not exist"),
        (
            [
                "distill",
                "--data",
                "x",
                "--student",
                "r",
                "--teacher",
                "a/b",
                "--teacher",
                "c/d",
                "--set",
                "teacher.entry=e",
            ],
            "teacher is a list of 2 here",
        ),
        (["val", "nothing.safetensors", "--data", "x"], "does not exist"),
        (["predict", "nothing.safetensors", "x.jpg"], "does not exist"),
        (["import", "nothing.pth"], "nothing.pth does not exist"),
        (["val", "hf://anna/cells/model.pth", "--data", "x"], "only .safetensors files are taken from the hub"),
        (["push", "nothing.safetensors", "anna/cells"], "nothing.safetensors does not exist"),
        (["push", "nothing.safetensors", "cells"], "expected OWNER/NAME"),
        (["models", "retinant"], "did you mean retinanet_"),
        (["methods", "haed"], "did you mean head?"),
        (["config", "show", "--recipe", "no.yaml"], "no.yaml does not exist"),
        (["train", "--resume", "nowhere"], "no such path"),
        (
            ["train", "--data", "x", "--student", "r", "--set", "clip=3"],
            "there is no such key; did you mean train.clip?",
        ),
        (
            ["train", "--data", "x", "--student", "r", "--lr", "-1"],
            "train.lr: input should be greater than 0, found -1",
        ),
        (["demo", "--quick", "--out", __file__], f"{__file__}: File exists. Check the path"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(arguments, hint):
    result = headstart(*arguments)
    assert result.exit_code == 2, result.output
    assert hint in words(result)
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments, hint",
    [
        (["--student", "retinanet_r8", *TINY], "did you mean retinanet_r"),
        (["--student", "retinanet", "--backbone", "resnet8", *TINY], "did you mean"),
        ([*STUDENT, "--method", "haed"], "did you mean head?"),
        ([*STUDENT, "--set", "method.weigths=paper"], "did you mean weights?"),
        ([*STUDENT, "--set", "student.options.detph=2"], "did you mean depth?"),
        (["--student", "nothing.safetensors", "--imgsz", "64", "--batch", "2"], "nothing.safetensors does not exist"),
        (["--student", "fasterrcnn_r10", *TINY, "--set", "method.regions=999"], "student samples 512 regions"),
        ([*STUDENT, "--device", "gpuu"], "device must be auto"),
        ([*STUDENT, "--class-map", "no.yaml"], "The class map no.yaml does not exist"),
        ([*STUDENT, "--set", "class_map={crcle: null}"], "the teacher has no class 'crcle'"),
    ],
)
def test_mistakes_that_need_the_data(arguments, hint, shapes, teacher, tmp_path):
    result = headstart("distill", "--data", shapes, "--teacher", teacher, "--steps", "1", "--out", tmp_path, *arguments)
    assert result.exit_code == 2, result.output
    assert hint in words(result)
    assert list(tmp_path.iterdir()) == []  # no empty run folder is left behind


def test_teachers_and_assistants_arrive(monkeypatch):
    given = {}
    monkeypatch.setattr("headstart.api.distill", lambda **options: given.update(options))
    assert headstart("distill", "--assistants", "fcos,rcnn", "--teacher", "a", "--teacher", "b").exit_code == 0
    assert given["assistants"] == "fcos,rcnn" and given["teacher"] == ["a", "b"]


def test_the_short_form_and_what_follows_it(shapes, teacher, tmp_path):
    result = headstart(
        *["distill", "--data", shapes, "--teacher", teacher, *STUDENT, "--method", "head"],
        *["--steps", "2", "--compare", "--name", "first", "--out", tmp_path],
    )
    assert result.exit_code == 0, result.output
    assert "what imitates what" in result.output and "Teacher on the validation images" in result.output
    folder = tmp_path / "first"
    assert {p.name for p in folder.iterdir()} >= {"run.yaml", "results.json", "metrics.csv", "last.ckpt", "head"}
    gain = json.loads((folder / "results.json").read_text())["gain"]
    assert list(gain["lanes"]) == ["head"]
    assert gain["note"] == "one seed, 3 validation images: a few AP are noise"
    assert f"Gains: {gain['note']}." in result.output and "evaluating teacher: 3 images" in result.output
    weights = folder / "head" / "student.safetensors"

    again = headstart("distill", "--data", shapes, "--teacher", teacher, *STUDENT, "--name", "first", "--out", tmp_path)
    assert again.exit_code == 2 and "--resume" in again.output and "--name" in again.output

    scores = tmp_path / "scores.json"
    result = headstart("val", weights, "--data", shapes, "--device", "cpu", "--voc", "--out", scores)
    assert result.exit_code == 0, result.output
    assert json.loads(scores.read_text())["metrics"]["images"] == 3

    result = headstart("predict", teacher, f"{shapes}/val", "--out", tmp_path / "found", "--threshold", "0")
    assert result.exit_code == 0, result.output
    entries = json.loads((tmp_path / "found" / "predictions.json").read_text())
    assert len(entries) == 3 and len(list((tmp_path / "found").glob("*.jpg"))) == 3
    box = entries[0]["objects"][0]["box"]
    assert all(0 <= side <= 64 for side in box)


def test_lists(tmp_path):
    assert "fcos_r50" in headstart("models", "fcos").output
    result = headstart("methods")
    assert "baseline" in result.output and "head" in result.output
    assert "weights" in headstart("methods", "head").output
    assert json.loads(headstart("config", "schema").output)["title"] == "Run"
    recipe = tmp_path / "r.yaml"
    recipe.write_text("data: pictures\nstudent: retinanet_r18\n")
    assert "momentum: 0.9" in headstart("config", "show", "--recipe", recipe, "--set", "train.epochs=3").output


def test_whole_names_come_first_with_their_size():
    def listed(text):
        rows = [line.split() for line in headstart("models", text).output.splitlines() if "resnet" in line]
        return [row[0] for row in rows if "_" in row[0]], rows

    names, rows = listed("r10")
    families = ["retinanet", "fcos", "atss", "gfl", "reppoints", "rtmdet", "yolox", "fasterrcnn", "cascadercnn"]
    assert names == [f"{family}_r10" for family in families] + [f"{family}_r101" for family in families]
    assert rows[0][-3:] == ["15.2", "173.8", "347.7"]  # millions of parameters, GMACs, GFLOPs
    assert listed("retinanet_r10")[0] == ["retinanet_r10", "retinanet_r101"]


def test_settings_as_they_are_resolved(shapes):
    """The same run with and without the data."""
    arguments = ["config", "show", "student=retinanet_mnv2_050", "weights=none", "batch=2", "device=cpu"]
    shown = headstart(*arguments, f"data={shapes}")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[0] == "# 36 steps, 3 in an epoch of 6 images"
    resolved = yaml.safe_load(shown.stdout)
    assert "auto" not in json.dumps(resolved)
    assert (resolved["data"]["imgsz"], resolved["data"]["batch"], resolved["train"]["epochs"]) == (640, 2, 12)
    assert (resolved["train"]["lr"], resolved["train"]["warmup"], resolved["train"]["device"]) == (0.00125, 3, "cpu")


def test_a_dry_run_leaves_nothing(shapes, tmp_path):
    result = headstart("train", "--data", shapes, *STUDENT, "--steps", "2", "--out", tmp_path / "runs", "--dry-run")
    assert result.exit_code == 0, result.output
    assert f"for 2 steps with 1 evaluation, in {tmp_path / 'runs' / 'retinanet_mnv2_050'}" in words(result)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_others_are_spoken_of(shapes, tmp_path):
    state = torchvision.models.resnet18().state_dict()
    torch.save({"model": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "r18.pth")
    run = ["train", "--data", shapes, "--width", "16", "--imgsz", "64", "--batch", "2", "--device", "cpu", "--dry-run"]
    result = headstart(*run, "--student", "retinanet_r18", "--weights", tmp_path / "r18.pth")
    assert result.exit_code == 0, result.output
    assert f"The student's backbone r18: 100 of 100 tensors read from {tmp_path / 'r18.pth'}" in words(result)
    assert "2 of the classifier left out (fc.weight, fc.bias)" in words(result)
    result = headstart(*run, "--student", "retinanet_r34", "--weights", tmp_path / "r18.pth")
    assert result.exit_code == 2
    assert "100 of its 180 tensors were found, 80 missing (layer1.2.conv1.weight" in words(result)
    assert "It looks like resnet18: give --backbone resnet18" in words(result)


def test_words_in_place_of_options(shapes, tmp_path):
    """As people type who come from Ultralytics."""
    typed = [
        f"data={shapes}",
        "model=retinanet_mnv2_050",
        "width=16",
        "weights=none",
        "imgsz=64",
        "batch=2",
        "device=cpu",
    ]
    result = headstart("train", *typed, "steps=1", f"project={tmp_path}", "name=first")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "first" / "student.safetensors").exists()
    assert "evaluating student: 3 images" in result.output
    wrong = headstart("train", *typed, "stps=1")
    assert wrong.exit_code == 2
    assert f"did you mean steps? Then the command is: headstart train --data {shapes} --student" in words(wrong)


def test_python_m_headstart():
    ended = subprocess.run([sys.executable, "-m", "headstart", "--version"], capture_output=True, text=True)
    assert ended.stdout.strip() == "0.1.0"
