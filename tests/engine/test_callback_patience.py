"""Early stopping: all lanes together, exactly resumed, in several processes alike."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headstart.api import distill
from headstart.engine.callback import RunCallback
from headstart.engine.evaluator import Evaluator
from headstart.engine.fit import fit
from headstart.errors import UserError
from headstart.recipe import dump_run, load_run

APS = {"baseline": [1.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0], "head": [5.0, 4.0, 4.0, 4.0, 6.0, 5.0, 5.0]}
"""baseline rises last at the third evaluation, head at the fifth: with a patience of 2 the seventh is the last."""


@pytest.fixture
def scripted(monkeypatch):
    """Evaluations that give the APS, in the order in which a lane is evaluated."""
    asked = dict.fromkeys(APS, 0)

    def score(self, lane, progress=None):
        asked[lane.name] += 1
        return {"AP": APS[lane.name][asked[lane.name] - 1], "AP50": None, "images": 4, "per_class": {}}

    monkeypatch.setattr(Evaluator, "score_lane", score)
    return asked


def test_all_lanes_must_have_stopped_rising(tiny_run, scripted, capsys):
    done = fit(tiny_run(steps=60, eval_every=1, patience=2))
    assert "Stopped early, after step 35 of 60: no lane's AP has risen for 2 evaluations (train.patience)." in (
        capsys.readouterr().out
    )
    for name, lane in done.results["lanes"].items():
        assert lane["steps"] == 35 and [row["AP"] for row in lane["history"]] == APS[name]
    assert done.results["lanes"]["baseline"]["best"]["step"] == 15
    assert load_run(done.folder / "run.yaml").train.patience == 2
    again = distill(resume=done.folder)
    assert "is finished (35 steps); there is nothing to continue" in capsys.readouterr().out
    assert again.results["lanes"] == done.results["lanes"]


def test_a_resumed_run_remembers_since_when(tiny_run, scripted, monkeypatch):
    """Broken off between the sixth evaluation and the seventh."""
    run = tiny_run(steps=60, eval_every=1, patience=2).model_copy(update={"name": "broken"})
    inner = RunCallback.on_train_batch_end

    def broken(self, trainer, pl_module, outputs, batch, batch_idx):
        inner(self, trainer, pl_module, outputs, batch, batch_idx)
        if self.module.step == 32:
            raise RuntimeError("lost power")

    with monkeypatch.context() as patched:
        patched.setattr(RunCallback, "on_train_batch_end", broken)
        with pytest.raises(RuntimeError, match="lost power"):
            fit(run, quiet=True)
    assert scripted == {"baseline": 6, "head": 6}
    resumed = distill(resume=Path(run.out) / "broken", quiet=True)
    assert scripted == {"baseline": 7, "head": 7}
    assert {name: lane["steps"] for name, lane in resumed.results["lanes"].items()} == {"baseline": 35, "head": 35}
    with pytest.raises(UserError, match=r"train\.patience was 2, is now 3"):
        distill(resume=Path(run.out) / "broken", patience=3, quiet=True)


def test_without_patience_a_run_goes_to_its_end(tiny_run, scripted):
    assert fit(tiny_run(steps=12, eval_every=1, distil=True), quiet=True).results["lanes"]["head"]["steps"] == 12


def test_patience_needs_evaluations(tiny_run):
    with pytest.raises(UserError, match="patience counts evaluations, and eval_every 0 means that there are none"):
        tiny_run(patience=2, eval_every=0)


def test_two_processes_stop_together(tiny_run, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(dump_run(tiny_run(steps=30, devices=2, eval_every=1, patience=1, batch=4, lr=1e-9, distil=False)))
    script = Path(__file__).parent / "two_processes.py"
    ended = subprocess.run(
        [sys.executable, script, path, "2", tmp_path / "done.pt"], capture_output=True, text=True, timeout=240
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    folder = Path(torch.load(tmp_path / "done.pt")["folder"])
    lane = json.loads((folder / "results.json").read_text())["lanes"]["student"]
    assert lane["steps"] == 6 and [row["AP"] for row in lane["history"]] == [0.0, 0.0]
