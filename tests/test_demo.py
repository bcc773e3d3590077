import json

from headstart import demo
from headstart.demo import Budget, run_demo


def test_the_whole_way_in_small(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "QUICK", Budget(train=8, val=3, teacher=12, student=1))
    found = run_demo(tmp_path / "demo", quick=True, device="cpu")
    assert found["picture"].stat().st_size > 1000
    assert found["gain"] == found[found["best"]] - found["baseline"] and found["best"] in ("head", "crosskd")
    folder = found["picture"].parent
    results = json.loads((folder / "results.json").read_text())
    assert list(results["lanes"]) == ["baseline", "head", "crosskd"]
    assert found["time_gain"] == found[found["best"]] - found["longer"]
    runs = {folder.name for folder in (tmp_path / "demo" / "runs").iterdir()}
    assert runs == {"yolox_r18", "head-crosskd-yolox_r10", "yolox_r10"}
    said = capsys.readouterr().out
    assert "in equal steps (1): " in said and "in equal time (" in said
    assert "Both are of one seed, 3 validation images: a few AP are noise." in said
