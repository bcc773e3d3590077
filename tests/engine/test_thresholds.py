"""Runs with pseudo-labels and with images without labels: thresholds, checkpoints, resume, two processes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from headstart.api import distill
from headstart.data.shapes import make_shapes
from headstart.engine.fit import fit
from headstart.engine.resume import load_checkpoint
from headstart.errors import UserError
from headstart.evaluation.thresholds import Chosen, ThresholdScorer
from headstart.recipe import check_run, dump_run, plain_run

HERE = Path(__file__).parent
PSEUDO = {"name": "pseudo", "threshold": 0.05}


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Seven images, of which nobody says what they show."""
    return make_shapes(tmp_path_factory.mktemp("photos") / "shapes", train=7, val=1, size=64, seed=9) / "train"


@pytest.fixture
def blind_run(tiny_run, photos):
    """blind_run(method, **changes of train) -> the lanes baseline and method, two images of either kind in a batch."""

    def make(method=PSEUDO, unlabelled=True, **train):
        tree = plain_run(tiny_run(method="pkd", batch=4, **train))
        tree["method"] = method
        if unlabelled:
            tree["data"]["unlabelled"] = str(photos)
        return check_run(tree)

    return make


def same_weights(one, other):
    for lane, file in one.weights.items():
        ours, theirs = load_file(file), load_file(other.weights[lane])
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours), lane
    return True


def test_thresholds_are_chosen_once_and_kept(blind_run, monkeypatch, capsys):
    asked = []

    def choose(self):
        asked.append(len(self.table().images))
        return {name: Chosen(0.06 + 0.01 * n, 0.5) for n, name in enumerate(self.dataset.classes)}

    monkeypatch.setattr(ThresholdScorer, "choose", choose)
    run = blind_run({"name": "pseudo"}, steps=2, eval_every=1)
    done = fit(run)
    assert asked == [4] and "Thresholds (best F1): disc 0.06, ring 0.07" in capsys.readouterr().out
    kept = load_checkpoint(done.folder / "last.ckpt")["lanes"]["pseudo"]["method"]["guidances.pseudo.thresholds"]
    torch.testing.assert_close(kept, 0.06 + 0.01 * torch.arange(10))
    assert not any("threshold" in name for name in load_file(done.weights["pseudo"]))
    distill(resume=done.folder, quiet=True)
    assert asked == [4]


def test_a_teacher_that_finds_nothing_is_warned_of(blind_run, capsys):
    done = fit(blind_run({"name": "pseudo"}, steps=1, eval_every=1))
    assert "finds no object of the validation images" in " ".join(capsys.readouterr().out.split())
    kept = load_checkpoint(done.folder / "last.ckpt")["lanes"]["pseudo"]["method"]["guidances.pseudo.thresholds"]
    assert kept.tolist() == [0.5] * 10


def test_without_validation_images_there_is_nothing_to_choose_by(blind_run):
    with pytest.raises(UserError, match=r"this run has none \(eval_every 0\).*method\.threshold=0\.5"):
        fit(blind_run({"name": "pseudo"}, steps=2), quiet=True)


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(blind_run, tmp_path):
    """An epoch is five steps of two images with labels; saved at step 6, killed after step 8."""
    run = blind_run({"name": "pseudo+pkd", "pseudo": {"threshold": 0.05}}, checkpoint_every=3)
    path = tmp_path / "run.yaml"
    path.write_text(dump_run(run.model_copy(update={"name": "broken"})))
    ended = subprocess.run([sys.executable, HERE / "killed_run.py", path, "8"], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    resumed = distill(resume=tmp_path / "runs" / "broken", quiet=True)
    whole = fit(run, quiet=True)
    assert same_weights(whole, resumed)
    facts = json.loads((whole.folder / "results.json").read_text())["data"]
    assert facts["train_images"] == 10 and facts["steps_per_epoch"] == 5
    assert facts["unlabelled"] == {"images": 7, "per_batch": 2}


def test_a_run_that_is_continued_needs_the_same_images(blind_run, photos, tmp_path):
    done = fit(blind_run(steps=1), quiet=True)
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in sorted(photos.iterdir()):
        (moved / file.name).write_bytes(file.read_bytes())
    assert distill(resume=done.folder, unlabelled=moved, quiet=True).results["lanes"] == done.results["lanes"]
    (moved / file.name).unlink()
    with pytest.raises(UserError, match=r"the unlabelled data in .* has 1 image removed"):
        distill(resume=done.folder, unlabelled=moved, quiet=True)


def test_the_metrics_say_how_many_objects_there_are_to_find(blind_run):
    done = fit(blind_run(steps=3), quiet=True)
    assert set(done.results["lanes"]["baseline"]["terms"]) == set(done.results["lanes"]["pseudo"]["terms"])
    rows = [line.split(",") for line in (done.folder / "metrics.csv").read_text().splitlines()]
    column = rows[0].index("pseudo/objects")
    assert [row[column] != "" for row in rows[1:3]] == [False, True] and float(rows[2][column]) > 0


def test_two_processes(blind_run, tmp_path):
    """Each has one image of either kind."""
    run = blind_run({"name": "pseudo+pkd", "pseudo": {"threshold": 0.05}}, steps=3, devices=2)
    path = tmp_path / "run.yaml"
    path.write_text(dump_run(run))
    command = [sys.executable, HERE / "two_processes.py", path, "2", tmp_path / "done.pt"]
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert torch.load(tmp_path / "done.pt")["processes"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": None, "method": None, "baseline": False}, r"data\.unlabelled: images without labels .* a teacher"),
        ({"data": {"path": "x", "unlabelled_share": 0.3}}, "unlabelled_share is a share of the images in unlabelled"),
        ({"data": "x", "method": {"name": "pseudo", "on": "unlabelled"}}, r"on unlabelled .* give data\.unlabelled"),
        ({"data": {"path": "x", "unlabelled": "y", "unlabelled_share": 1}}, "less than 1"),
    ],
)
def test_settings_that_do_not_go_together(blind_run, changes, message):
    tree = {**plain_run(blind_run()), **changes}
    with pytest.raises(UserError, match=message):
        check_run({key: value for key, value in tree.items() if value is not None})


def test_a_batch_of_one_kind_is_refused(blind_run):
    run = blind_run()
    run.data.batch = 1
    with pytest.raises(UserError, match="both kinds of images"):
        fit(run, quiet=True)
