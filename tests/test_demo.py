import json

from headstart import demo
from headstart.demo import Budget, run_demo


def test_the_whole_way_in_small(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "QUICK", Budget(train=8, val=3, teacher=12, student=1))
    found = run_demo(tmp_path / "demo", quick=True, device="cpu")
    assert found["picture"].stat().st_size > 1000
    assert found["gain"] == found["crosskd"] - found["baseline"]
    folder = found["picture"].parent
    results = json.loads((folder / "results.json").read_text())
    assert list(results["lanes"]) == ["baseline", "head", "crosskd"]
    assert found["time_gain"] == found["crosskd"] - found["longer"]
    runs = {folder.name for folder in (tmp_path / "demo" / "runs").iterdir()}
    assert runs == {"yolox_r18", "head-crosskd-yolox_r10", "yolox_r10"}
    said = capsys.readouterr().out
    assert "In equal steps (1): HEAD " in said and "In equal time (" in said
    assert "All are of one seed, 3 validation images: a few AP are noise." in said
