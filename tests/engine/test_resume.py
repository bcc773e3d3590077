import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from headstart.api import distill
from headstart.engine.callback import RunCallback
from headstart.engine.fit import fit
from headstart.engine.interrupt import Interrupted
from headstart.engine.resume import demand_same_run, load_checkpoint
from headstart.errors import UserError
from headstart.recipe import check_run, dump_run, load_run, plain_run

HERE = Path(__file__).parent


def without_clock(content):
    for lane in content["lanes"].values():
        lane.pop("seconds")
    content.pop("run")
    return content


def assert_same(one, other, place=""):
    assert type(one) is type(other), place
    if isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list):
        for number, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{place}[{number}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    else:
        assert one == other, place


def run_killed(run, tmp_path, step):
    path = tmp_path / "run.yaml"
    path.write_text(dump_run(run))
    ended = subprocess.run([sys.executable, HERE / "killed_run.py", path, str(step)], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.parametrize("method", [None, "crosskd+pkd", "mgd+fgd"])
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(method, tiny_run, tmp_path):
    """Batch norm in training, an average, two lanes; saved at step 6, killed after step 8, epochs of five steps."""
    run = tiny_run(method=method, ema=0.9, checkpoint_every=3, log_every=2, eval_every=1)
    broken = run.model_copy(update={"name": "broken"})
    run_killed(broken, tmp_path, 8)
    folder = tmp_path / "runs" / "broken"
    assert load_checkpoint(folder / "last.ckpt")["step"] == 6
    assert not (folder / "results.json").exists()
    resumed = distill(resume=folder, quiet=True)
    whole = fit(run, quiet=True)
    assert set(whole.weights) == {"baseline", method or "head"}
    for lane in whole.weights:
        one, other = load_file(whole.weights[lane]), load_file(resumed.weights[lane])
        assert_same(one, other, lane)
    one, other = (without_clock(load_checkpoint(o.folder / "last.ckpt")) for o in (whole, resumed))
    assert_same(one, other)
    read = [list(csv.DictReader((o.folder / "metrics.csv").open())) for o in (whole, resumed)]
    rows = [[(row["step"], row["lane"], row["AP"] != "") for row in table] for table in read]
    assert len(set(rows[1])) == len(rows[1])
    # A resumed run also reads its first step, to show something soon.
    assert set(rows[0]) == {row for row in rows[1] if row[0] != "7"}


def test_a_killed_run_with_mosaics_ends_the_same(tiny_run, tmp_path):
    """Everything that is drawn and every new setting of the training; saved at step 6, killed after step 8, mosaics up
    to step 15, resumed by two workers."""
    changes = {"mosaic": 0.7, "mixup": 0.5, "scale": [0.5, 1.5], "crop": 0.5, "hsv": True, "square": True}
    changes |= {"mixup_mosaic": True, "rotate": 10.0, "shear": 2.0, "multi_scale": [32, 96]}
    settings = {"decay": "flat-cosine", "warmup_shape": "quadratic", "nesterov": True, "ema": "exponential"}
    tree = plain_run(tiny_run(distil=False, steps=20, checkpoint_every=3, decay_norm_and_bias=False, **settings))
    run = check_run(tree | {"data": tree["data"] | changes})
    run_killed(run.model_copy(update={"name": "broken"}), tmp_path, 8)
    assert load_checkpoint(tmp_path / "runs" / "broken" / "last.ckpt")["step"] == 6
    resumed = distill(resume=tmp_path / "runs" / "broken", workers=2, quiet=True)
    whole = fit(run, quiet=True)
    assert_same(load_file(whole.file), load_file(resumed.file))
    one, other = (without_clock(load_checkpoint(o.folder / "last.ckpt")) for o in (whole, resumed))
    assert_same(one, other)
    plain = fit(check_run(tree), quiet=True)
    assert any(not torch.equal(a, b) for a, b in zip(load_file(plain.file).values(), load_file(whole.file).values()))


def test_a_run_killed_while_it_calibrates_ends_the_same(tiny_run, tmp_path, capsys):
    """All-stage guidance measures for eight steps; saved at step 6, killed after step 8."""
    tree = plain_run(tiny_run(method="allstage", checkpoint_every=3, log_every=2))
    method = {"name": "allstage", "calibration": 8, "warmup": 2, "regions": 16}
    run = check_run(tree | {"method": method, "baseline": False})
    run_killed(run.model_copy(update={"name": "broken"}), tmp_path, 8)
    assert load_checkpoint(tmp_path / "runs" / "broken" / "last.ckpt")["step"] == 6
    resumed, whole = distill(resume=tmp_path / "runs" / "broken", quiet=True), fit(run)
    assert "allstage: calibrated weights: neck " in capsys.readouterr().out
    assert_same(load_file(whole.file), load_file(resumed.file))
    one, other = (without_clock(load_checkpoint(o.folder / "last.ckpt")) for o in (whole, resumed))
    assert_same(one, other)
    weights = one["lanes"]["allstage"]["method"]["guidances.allstage.macro.weights"]
    assert (weights > 0).all()
    rows = list(csv.DictReader((whole.folder / "metrics.csv").open()))
    shown = [float(row["allstage/neck/weight"]) for row in rows if row["allstage/neck/weight"]]
    assert shown[-1] == pytest.approx(weights[0].item(), rel=1e-4) and float(rows[0]["allstage/neck"]) == 0


def test_a_killed_run_that_imitates_now_and_then_ends_the_same(tiny_run, tmp_path):
    """Saved at step 6, killed after step 8: HEAD guides in steps 0, 4 and 8, and has stopped at step 10."""
    tree = plain_run(tiny_run(checkpoint_every=3, log_every=2))
    run = check_run(tree | {"method": tree["method"] | {"every": 4, "until": 0.8}})
    run_killed(run.model_copy(update={"name": "broken"}), tmp_path, 8)
    resumed = distill(resume=tmp_path / "runs" / "broken", quiet=True)
    whole = fit(run, quiet=True)
    one, other = (without_clock(load_checkpoint(o.folder / "last.ckpt")) for o in (whole, resumed))
    assert_same(one, other)
    read = [list(csv.DictReader((o.folder / "metrics.csv").open())) for o in (whole, resumed)]
    later = [[row for row in rows if int(row["step"]) > 8] for rows in read]  # it also reads its first step, number 7
    assert later[0] == later[1] and read[0][0].keys() == read[1][0].keys()
    last = [row for row in read[0] if row["lane"] == "head"][-1]
    assert last["step"] == "12" and float(last["akd/rcnn/fc0"]) == float(last["distillation"]) == 0
    (own,) = {row["akd/rcnn/fc0"] for row in read[0] if row["lane"] == "baseline"}
    assert own == ""


def test_what_rests_is_not_changed(tiny_run):
    """Not by momentum, not by weight decay: after its share of the run the method's own layers stand still."""
    tree = plain_run(tiny_run(weight_decay=0.1))
    states = []
    for steps in (6, 9):
        train = tree["train"] | {"steps": steps, "decay": "constant"}
        run = check_run(tree | {"train": train, "method": tree["method"] | {"until": 6 / steps}})
        states.append(load_checkpoint(fit(run, quiet=True).folder / "last.ckpt")["lanes"]["head"]["method"])
    own = [name for name in states[0] if name.startswith("guidances.") and name.endswith(("weight", "bias"))]
    assert own and all(torch.equal(states[0][name], states[1][name]) for name in own)
    assert not torch.equal(states[0]["student.head.cls.weight"], states[1]["student.head.cls.weight"])


def test_lanes_do_not_disturb_each_other(tiny_run):
    both = fit(tiny_run(steps=4), quiet=True)
    alone = fit(tiny_run(steps=4, distil=False), quiet=True)
    assert_same(load_file(both.weights["baseline"]), load_file(alone.file))


def test_a_finished_run_says_so(tiny_run, capsys):
    done = fit(tiny_run(steps=2, distil=False), quiet=True)
    before = done.file.stat().st_mtime_ns
    again = distill(resume=done.folder)
    assert "is finished (2 steps)" in capsys.readouterr().out
    assert again.results["lanes"] == done.results["lanes"]
    assert done.file.stat().st_mtime_ns == before


def test_settings_that_would_change_the_run_are_refused_by_name(tiny_run):
    done = fit(tiny_run(steps=2, distil=False), quiet=True)
    with pytest.raises(UserError, match=r"train\.lr was 0\.01, is now 0\.5.*start a new run"):
        distill(resume=done.folder, lr=0.5)
    with pytest.raises(UserError, match=r"data\.batch was 2, is now 3"):
        distill(resume=done.folder, batch=3)


def test_harmless_settings_may_change():
    run = {"data": {"path": "x", "workers": 0}, "train": {"device": "cpu", "lr": 0.1}}
    demand_same_run(run, {"data": {"path": "x", "workers": 4}, "train": {"device": "cuda", "lr": 0.1}})


def test_a_run_saved_before_a_setting_existed_is_continued(tiny_run):
    done = fit(tiny_run(steps=2, distil=False), quiet=True)
    content = load_checkpoint(done.folder / "last.ckpt")
    del content["run"]["data"]["split_seed"]
    torch.save(content, done.folder / "last.ckpt")
    assert distill(resume=done.folder, quiet=True).results["lanes"] == done.results["lanes"]
    with pytest.raises(UserError, match=r"data\.split_seed was 0, is now 3"):
        distill(resume=done.folder, split_seed=3)


def test_null_of_an_option_is_part_of_a_run():
    """`ckd_stop: null` means never, its default `auto` something else: a resumed run keeps its own."""
    saved = {"method": {"name": "head", "ckd_stop": None}}
    demand_same_run(saved, {"method": {"name": "head", "ckd_stop": None}})
    with pytest.raises(UserError, match=r"method\.ckd_stop was null, is now not set"):
        demand_same_run(saved, {"method": {"name": "head"}})


def test_null_given_by_the_user_is_trained_with_written_and_resumed(tiny_run):
    run = tiny_run(steps=2)
    run = check_run(plain_run(run) | {"method": {**plain_run(run)["method"], "ckd_stop": None}})
    done = fit(run, quiet=True)
    assert done.results["lanes"]["head"]["method"]["ckd_stop"] is None
    assert load_run(done.folder / "run.yaml").choices["head"].options["ckd_stop"] is None
    assert load_checkpoint(done.folder / "last.ckpt")["run"]["method"]["ckd_stop"] is None
    again = distill(resume=done.folder, quiet=True)
    assert again.results["lanes"]["head"]["method"]["ckd_stop"] is None
    with pytest.raises(UserError, match=r"method\.ckd_stop was null, is now auto"):
        distill(resume=done.folder, settings=["method.ckd_stop=auto"], quiet=True)


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04broken"])
def test_a_damaged_checkpoint_is_refused(content, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"last\.ckpt"):
        distill(resume=tmp_path)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"without it"):
        distill(resume=tmp_path)
    with pytest.raises(UserError, match="no such path"):
        distill(resume=tmp_path / "nowhere")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(number, tiny_run, tmp_path):
    run = tiny_run(steps=5000, distil=False, checkpoint_every=2, seed=1).model_copy(update={"name": "stopped"})
    path = tmp_path / "run.yaml"
    path.write_text(dump_run(run))
    command = [sys.executable, "-m", "headstart", "train", "--recipe", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    saved = tmp_path / "runs" / "stopped" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not saved.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(number)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert "Traceback" not in words
    assert f"headstart train --resume {saved.parent}" in words
    step = load_checkpoint(saved)["step"]
    assert f"Stopped after step {step} of 5000" in words
    assert load_run(saved.parent / "run.yaml").train.steps == 5000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("hook", "before", "stopped"),
    [("on_fit_start", True, 1), ("on_train_start", True, 1), ("on_train_batch_end", False, 2)],
)
def test_no_moment_is_wrong_for_a_signal(hook, before, stopped, number, tiny_run, monkeypatch):
    """Before Lightning has put its handler beside ours, while it stands there, and after the step's last look."""
    inner, sent = getattr(RunCallback, hook), []

    def with_signal(self, *rest):
        if not before:
            inner(self, *rest)
        if not sent:
            sent.append(number)
            signal.raise_signal(number)
        if before:
            inner(self, *rest)

    monkeypatch.setattr(RunCallback, hook, with_signal)
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted, match=f"Stopped after step {stopped} of 6"):
        fit(tiny_run(steps=6, distil=False), quiet=True)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_checkpoint_of_an_earlier_version_is_refused_with_what_can_be_done(tiny_run):
    done = fit(tiny_run(steps=1, distil=False), quiet=True)
    path = done.folder / "last.ckpt"
    torch.save({**torch.load(path), "format": 2}, path)
    with pytest.raises(UserError, match=r"of another version .* --student FOLDER/student\.safetensors"):
        distill(resume=done.folder, quiet=True)
