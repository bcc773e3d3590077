"""What `headstart push` sends, and to whom it does not."""

import json
import shutil

import pytest
import yaml
from huggingface_hub import errors
from typer.testing import CliRunner

from headstart import load_detector
from headstart.cli import app
from headstart.detectors.weights.native import save_detector
from headstart.errors import UserError
from headstart.hub.push import push
from headstart.report.results import run_results, write_json
from hub.fake_hub import refusal

PLACE = "secret/place/of/mine"
DATA = {
    "path": PLACE, "name": "cells", "classes": ["cat", "dog"], "train_images": 8, "val_images": 3, "batch": 2,
    "steps_per_epoch": 4, "seed": 5, "teacher_weights": {"teacher": "0"},
}  # fmt: skip


def scores(ap):
    return {"AP": ap, "AP50": ap + 20, "AP75": None, "per_class": {}, "images": 3}


def lane(method, ap):
    best = {"step": 4, "epoch": 1, "AP": ap + 1}
    rest = {"history": [], "steps": 8, "seconds": 1.0, "terms": {}}
    return {"method": {"name": method}, "metrics": scores(ap), "best": best, **rest}


@pytest.fixture
def run(tiny, tmp_path):
    """A finished comparison: baseline 20, head 23.25, teacher 40 AP."""
    folder = tmp_path / "runs" / "small"
    lanes = {"baseline": lane("baseline", 20.0), "head": lane("head", 23.25)}
    results = run_results("small", DATA, lanes, teachers={"teacher": scores(40.0)}, baseline="baseline")
    write_json(folder / "results.json", results)
    for name, content in lanes.items():
        save_detector(tiny, folder / name / "student.safetensors", lane=name, step=8, metrics=content["metrics"])
        best = scores(content["metrics"]["AP"] + 1)
        save_detector(tiny, folder / name / "best.safetensors", lane=name, step=4, metrics=best)
    return folder


def sent(hub):
    ((name, files),) = hub.commits
    return name, files, files["README.md"].decode()


def test_a_run_with_its_gain(hub, run):
    said = []
    address = push(run, "anna/cells", license="mit", say=said.append)
    name, files, card = sent(hub)
    assert name == "anna/cells" and set(files) == {"student.safetensors", "results.json", "README.md"}
    assert files["student.safetensors"] == (run / "head" / "student.safetensors").read_bytes()
    assert address.endswith("commit/1") and "Use it as hf://anna/cells" in said[-1]
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "mit" and head["tags"] == ["object-detection", "knowledge-distillation"]
    for part in (
        "| teacher | 40.0 | 60.0 | - |", "| the same student alone | 20.0 | 40.0 | - |",
        "| **this detector** | 23.2 | 43.2 | - |", "| gain | +3.2 | +3.2 | - |", "`cells`", "3 validation images",
        "8 steps of 2 images", "seed 5", "One seed: a few AP are noise.", "headstart predict hf://anna/cells photos/",
    ):  # fmt: skip
        assert part in card, part
    results = json.loads(files["results.json"])
    assert results["gain"]["lanes"]["head"]["AP"] == 3.25 and results["data"]["path"] == "cells"
    assert not any(PLACE.encode() in content for content in files.values())


def test_what_was_sent_can_be_used(hub, run):
    push(run, "anna/cells", say=lambda line: None)
    _, files, _ = sent(hub)
    file = run.parent / "copy"
    file.write_bytes(files["student.safetensors"])
    hub.add("anna/cells", **{"student.safetensors": file})
    assert load_detector("hf://anna/cells").classes == ("cat", "dog")


def test_without_a_licence_the_field_is_left_out(hub, run):
    said = []
    push(run, "anna/cells", say=said.append)
    assert "license" not in yaml.safe_load(sent(hub)[2].split("---")[1]) and "--license" in said[0]


def test_a_dry_run_sends_nothing(hub, run):
    ended = CliRunner().invoke(app, ["push", str(run), "anna/cells", "--dry-run", "--private"])
    assert ended.exit_code == 0, ended.output
    assert hub.commits == [] and hub.private == {} and "Nothing was sent. To anna/cells (private)" in ended.output
    assert {path.name for path in (run / "head" / "hub").iterdir()} == {"README.md", "results.json"}
    push(run, "anna/cells", say=lambda line: None)
    assert (run / "head" / "hub" / "README.md").read_bytes() == sent(hub)[1]["README.md"]


def test_the_best_weights_have_no_gain(hub, run):
    """They were chosen on the images that they are measured on."""
    push(run / "head" / "best.safetensors", "anna/cells", say=lambda line: None)
    card = sent(hub)[2]
    assert "AP 24.2 after step 4" in card and "no gain is given" in card and "| gain" not in card


def test_a_file_alone(hub, run, tmp_path, tiny):
    shutil.copyfile(run / "head" / "student.safetensors", tmp_path / "s.safetensors")
    push(tmp_path / "s.safetensors", "anna/cells", say=lambda line: None)
    _, files, card = sent(hub)
    assert "AP 23.2 on the validation images of its training, says the file" in card and "results.json" not in files
    assert "knowledge-distillation" not in card


def test_results_of_other_weights_are_not_taken(hub, run, tiny):
    said = []
    other = save_detector(tiny, run / "head" / "student.safetensors", lane="head", step=8, metrics=scores(90.0))
    push(other, "anna/cells", say=said.append)
    assert "tells of other weights" in said[0] and "results.json" not in sent(hub)[1] and "gain" not in sent(hub)[2]


def test_a_distilled_student_without_a_baseline(hub, tiny, tmp_path):
    folder = tmp_path / "alone"
    write_json(folder / "results.json", run_results("alone", DATA, {"head": lane("head", 23.25)}))
    save_detector(tiny, folder / "student.safetensors", lane="head", step=8, metrics=scores(23.25))
    push(folder, "anna/cells", say=lambda line: None)
    assert "what the method brought was not measured" in sent(hub)[2] and "| gain" not in sent(hub)[2]


def test_several_students(hub, run, tiny):
    results = json.loads((run / "results.json").read_text())
    results["lanes"]["pkd"] = lane("pkd", 21.0)
    write_json(run / "results.json", results)
    with pytest.raises(UserError, match=r"2 distilled students: say which, such as .*head.student\.safetensors"):
        push(run, "anna/cells")


def test_names_of_classes_are_text(hub, run):
    from headstart.hub.card import write_card

    header = {"classes": ["a|b", "c`d"], "recipe": {}, "training": {}}
    assert "`a|b`, `c'd`" in write_card("anna/cells", header, None)


@pytest.mark.parametrize(
    ("name", "says"), [("cells", "expected OWNER/NAME"), ("hf://anna/cells", "expected OWNER/NAME")]
)
def test_a_repository_has_an_owner(hub, run, name, says):
    with pytest.raises(UserError, match=says):
        push(run, name)


def test_private_is_kept(hub, run):
    hub.private["anna/cells"] = False
    with pytest.raises(UserError, match="exists already and is public, but --private was given"):
        push(run, "anna/cells", private=True)
    assert hub.commits == []
    push(run, "anna/new", private=True, say=lambda line: None)
    assert hub.private["anna/new"] and hub.commits[0][0] == "anna/new"


def test_without_a_token(hub, run):
    hub.token = None
    with pytest.raises(UserError, match="you are not logged in"):
        push(run, "anna/cells")


def test_without_network(hub, run, monkeypatch):
    monkeypatch.setattr("headstart.hub.push.hub_unreachable", lambda: "no route")
    with pytest.raises(UserError, match=r"cannot be reached \(no route\)"):
        push(run, "anna/cells")


def test_refused_by_the_hub(hub, run):
    hub.refuses = refusal(errors.HfHubHTTPError, 403)
    with pytest.raises(UserError, match=r"push anna/cells: the hub refused it \(status 403\)"):
        push(run, "anna/cells")


@pytest.mark.parametrize(
    ("source", "says"), [("nowhere.safetensors", "does not exist"), (".", r"results\.json does not exist")]
)
def test_what_is_no_student(hub, source, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=says):
        push(source, "anna/cells")
