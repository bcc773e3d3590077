import csv

import pytest

from headstart.engine.folder import RunFolder, new_folder
from headstart.engine.metrics import MetricsFile
from headstart.errors import UserError


def test_a_proposed_name_is_numbered_and_a_given_one_is_refused(tmp_path):
    names = [new_folder(tmp_path, None, "head").name for _ in range(3)]
    assert names == ["head", "head-2", "head-3"]
    (new_folder(tmp_path, "mine", "head") / "run.yaml").write_text("x")
    assert new_folder(tmp_path, "mine", "head").name == "mine"  # stopped before it saved anything
    (tmp_path / "mine" / "student.safetensors").write_text("x")
    with pytest.raises(UserError, match=r"--resume .*mine.*--name"):
        new_folder(tmp_path, "mine", "head")


def test_one_lane_lies_in_the_folder_itself(tmp_path):
    assert RunFolder(tmp_path, ("head",)).of("head") == tmp_path
    assert RunFolder(tmp_path, ("baseline", "head")).of("head") == tmp_path / "head"


def test_metrics_grow_by_rows_and_columns_and_forget_later_steps(tmp_path):
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path)
    metrics.append({"step": 1, "lane": "a", "loss": 2.0})
    metrics.append({"step": 5, "lane": "a", "AP": 3.0})
    metrics.append({"step": 9, "lane": "a", "loss": 1.0})
    again = MetricsFile(path, keep_until=5)
    again.append({"step": 6, "lane": "a", "loss": 4.0})
    rows = list(csv.DictReader(path.open()))
    assert [row["step"] for row in rows] == ["1", "5", "6"]
    assert [row["AP"] for row in rows] == ["", "3.0", ""]
    assert rows[0].keys() == {"step", "lane", "loss", "AP"}
