"""`--dry-run`: everything up to the first step, and nothing left behind."""

from contextlib import suppress
from pathlib import Path

import pytest

from headstart.api import distill, train
from headstart.engine.callback import RunCallback
from headstart.engine.fit import evaluation_steps, fit
from headstart.engine.prepare import prepare
from headstart.errors import UserError
from headstart.recipe import check_run, plain_run


def test_it_says_what_would_be_trained_and_where(tiny_run, tmp_path, capsys):
    run = tiny_run(steps=12, eval_every=1)
    outcome = fit(run, dry_run=True)
    said = capsys.readouterr().out
    assert not (tmp_path / "runs").exists() and outcome.folder is None and outcome.weights == {}
    assert "Lane head: what imitates what" in said and "on the validation images" not in said
    plan = said[said.index("Dry run:") :].splitlines()
    assert plan[0] == "Dry run: everything was checked, nothing was trained or written. It would train"
    assert plan[1].startswith("- lane baseline: retinanet_mnv2_050, 0.5 million parameters (0.5 million trained")
    assert plan[1].endswith(" by baseline") and plan[2].endswith(" by head, with teacher")
    assert plan[3] == f"for 12 steps with 3 evaluations, in {tmp_path / 'runs' / 'head-retinanet_mnv2_050'}"
    lane = outcome.results["lanes"]["head"]
    assert (lane["steps"], lane["metrics"], lane["best"]) == (0, {}, None)
    assert list(outcome.students) == ["baseline", "head"]


def test_the_checks_are_those_of_the_run(tiny_run):
    wrong = plain_run(tiny_run()) | {"method": {"name": "head", "akd_weight": 0}}
    with pytest.raises(UserError, match="is exactly zero on real images"):
        fit(check_run(wrong), dry_run=True, quiet=True)


def test_a_name_that_is_taken_is_found(tiny_run, tmp_path):
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "student.safetensors").touch()
    with pytest.raises(UserError, match="exists already"):
        fit(tiny_run().model_copy(update={"name": "x"}), dry_run=True, quiet=True)


@pytest.mark.parametrize("broken", [True, False])
def test_of_a_run_that_is_continued(broken, tiny_run, capsys, monkeypatch):
    run = tiny_run(steps=12, eval_every=1, distil=False).model_copy(update={"name": "run"})
    folder, inner = Path(run.out) / "run", RunCallback.on_train_batch_end

    def breaking(self, *rest):
        inner(self, *rest)
        if broken and self.module.step == 7:
            raise RuntimeError("lost power")

    with monkeypatch.context() as patched, suppress(RuntimeError):
        patched.setattr(RunCallback, "on_train_batch_end", breaking)
        fit(run, quiet=True)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    outcome = distill(resume=folder, dry_run=True)
    said = capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert outcome.results["lanes"]["student"]["steps"] == (5 if broken else 12)
    assert (f"for 7 steps with 2 evaluations, in {folder}" if broken else "is finished (12 steps)") in said


def test_from_python(shapes, tmp_path):
    options = {
        "width": 16,
        "weights": "none",
        "imgsz": 64,
        "batch": 2,
        "steps": 3,
        "device": "cpu",
        "out": str(tmp_path),
    }
    outcome = train(shapes, "retinanet_mnv2_050", dry_run=True, quiet=True, **options)
    assert outcome.folder is None and outcome.results["lanes"]["student"]["steps"] == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "train, after, steps",
    [((12, 1), 0, [5, 10, 12]), ((10, 1), 0, [5, 10]), ((12, 2), 0, [10, 12]), ((12, 1), 5, [10, 12])],
)
def test_the_steps_of_evaluations(tiny_run, train, after, steps):
    total, every = train
    run = tiny_run(steps=total, eval_every=every, distil=False)
    prepared = prepare(run, None, None, None, 0, 1, lambda text: None)
    assert evaluation_steps(prepared, after) == steps


def test_a_run_without_evaluation_has_no_such_steps(tiny_run):
    assert evaluation_steps(prepare(tiny_run(distil=False), None, None, None, 0, 1, lambda text: None)) == []
