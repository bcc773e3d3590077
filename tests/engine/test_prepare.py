"""Settings that only data and device decide, and checkpoints whose settings were written down by an earlier version."""

import pytest
import torch

from headstart.api import distill
from headstart.engine.fit import fit
from headstart.engine.prepare import settle
from headstart.errors import UserError
from headstart.recipe import check_run, dump_run, load_run, plain_run


def quiet(text):
    pass


def test_every_auto_and_what_is_left_out_becomes_a_number(shapes):
    run = check_run({"data": {"path": str(shapes), "batch": 4}, "student": "retinanet_r18", "train": {"device": "cpu"}})
    settled = settle(run, quiet)
    assert (settled.per_epoch, settled.total, len(settled.train_data)) == (3, 36, 10)
    train = settled.run.train
    assert (train.epochs, train.steps, train.schedule) == (12, None, None)
    assert (train.lr, train.warmup, settled.run.data.imgsz) == (0.0025, 3, 640)
    assert train.precision in ("fp32", "bf16") and isinstance(train.channels_last, bool)
    assert settle(settled.run, quiet).run == settled.run


@pytest.mark.parametrize(
    "train, data, kept",
    [
        ({"steps": 7}, {"imgsz": 96}, (None, 7, None, 96)),
        ({"schedule": "2x"}, {"short": 64, "long": 96}, (None, None, "2x", None)),
        ({"epochs": 3}, {}, (3, None, None, 640)),
    ],
)
def test_what_is_given_stays(shapes, train, data, kept):
    tree = {"data": {"path": str(shapes), **data}, "student": "fcos_r18", "train": {"device": "cpu", **train}}
    run = settle(check_run(tree), quiet).run
    assert (run.train.epochs, run.train.steps, run.train.schedule, run.data.imgsz) == kept
    assert settle(check_run(plain_run(run)), quiet).run == run


def test_a_checkpoint_that_says_less_is_continued(tiny_run):
    """As earlier versions wrote it: without what was not set, and no map of a teacher with the same classes."""
    done = fit(tiny_run(steps=2), quiet=True)
    path = done.folder / "last.ckpt"
    content = torch.load(path)
    del content["run"]["train"]["log_every"], content["run"]["train"]["gamma"]
    del content["history"]["data"]["class_map"]
    torch.save(content, path)
    again = distill(resume=done.folder, quiet=True)
    assert again.results["data"]["class_map"] == done.results["data"]["class_map"]
    with pytest.raises(UserError, match=r"train\.gamma was 0\.1, is now 0\.5"):
        distill(resume=done.folder, settings=["train.gamma=0.5"], quiet=True)
    with pytest.raises(UserError, match="class_map"):
        distill(resume=done.folder, class_map={done.results["data"]["classes"][0]: None}, quiet=True)


def test_a_length_left_out_is_written_down_as_epochs(tiny_run, tmp_path):
    tree = plain_run(tiny_run(distil=False))
    del tree["train"]["steps"]
    (tmp_path / "r.yaml").write_text(dump_run(settle(check_run(tree), quiet).run))
    assert load_run(tmp_path / "r.yaml").train.epochs == 12
