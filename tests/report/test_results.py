"""results.json: what is in it, and that it is whole or not there."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import headstart
from headstart.errors import UserError
from headstart.report.results import SCHEMA, gain, plain, read_results, run_results, write_json

DATA = {"name": "shapes", "val_images": 7}
LANES = {
    "baseline": {"method": "baseline", "metrics": {"AP": 20.0, "AP_S": None, "images": 7, "per_class": {}}},
    "head": {"method": "head", "metrics": {"AP": 26.5, "AP_S": 3.0, "images": 7, "per_class": {}}},
}


def test_a_run_and_its_gain():
    results = run_results("demo", DATA, LANES, teachers={"teacher": {"AP": 50.0}}, baseline="baseline")
    assert results["schema"] == SCHEMA and results["headstart"] == headstart.__version__
    assert results["run"] == "demo" and results["teachers"] == {"teacher": {"AP": 50.0}} and results["lanes"] is LANES
    note = "one seed, 7 validation images: a few AP are noise"
    assert results["gain"] == {"against": "baseline", "lanes": {"head": {"AP": 6.5, "AP_S": None}}, "note": note}


def test_without_a_baseline_there_is_no_gain():
    assert run_results("x", {}, LANES)["gain"] == {"against": None, "lanes": {}, "note": None}
    assert run_results("x", {"val_images": None}, LANES, baseline="baseline")["gain"]["note"] is None
    with pytest.raises(ValueError, match="'plain' is not one of the lanes baseline, head"):
        run_results("x", {}, LANES, baseline="plain")


def test_gain_leaves_out_what_only_one_has():
    assert gain({"AP": 1.0, "VOC_AP": 2.0}, {"AP": 3.0}) == {"AP": -2.0}


def test_write_and_read_back(tmp_path):
    path = tmp_path / "deep" / "results.json"
    write_json(path, run_results("läuft", {"path": tmp_path}, LANES))
    assert read_results(path)["run"] == "läuft"
    assert read_results(str(path))["data"] == {"path": str(tmp_path)}
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_every_kind_of_number_becomes_json():
    value = {
        1: np.float32(0.5),
        "array": np.array([[1, 2]]),
        "tensor": torch.tensor(3.0),
        "bad": [float("nan"), float("inf"), np.nan, torch.tensor(float("nan"))],
        "rest": (True, None, "x", Path("a")),
    }
    assert plain(value) == {
        "1": 0.5,
        "array": [[1, 2]],
        "tensor": 3.0,
        "bad": [None] * 4,
        "rest": [True, None, "x", "a"],
    }


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    write_json(path, {"schema": 1})
    with pytest.raises(TypeError, match=r"value\.lanes\[0\] is a object"):
        write_json(path, {"lanes": [object()]})
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        write_json(path, {"schema": 2})
    assert json.loads(path.read_text()) == {"schema": 1}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "does not exist"),
        ("{", "cannot be read: .*Give the results.json"),
        ('{"schema": 99}', "schema 99"),
        ("[]", "schema None"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, content, message):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_results(path)


def test_bytes_that_are_not_utf8_are_written_as_numbers(tmp_path):
    name = os.fsdecode(b"\xff\xc3\xa9.jpg")
    write_json(tmp_path / "a.json", {"file": name, name: Path(name)})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "file": "\\xff\u00e9.jpg",
        "\\xff\u00e9.jpg": "\\xff\u00e9.jpg",
    }
