"""The benchmarks run, at a tiny size, and say what they promise; how fast anything is, is not tested."""

import json
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from laws.tiny import CLASSES, DENSE, detector

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(FOLDER.glob("*.py"))
RATIOS = {"plain_vs_torchvision", "head_vs_plain", "head_bf16_vs_plain", "teacher_share"}


def load(script: Path):
    spec = spec_from_file_location(f"benchmark_{script.stem}", script)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    if str(FOLDER) not in sys.path:  # as where a script is run: one may use another's parts
        sys.path.append(str(FOLDER))
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(monkeypatch, capsys):
    """run("script", *arguments) -> what it printed."""

    def call(name: str, *arguments: str) -> str:
        script = FOLDER / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        load(script).main()
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_benchmark_says_how_it_is_used(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as end:
        load(script).main()
    assert end.value.code == 0 and "--" in capsys.readouterr().out
    assert f"python benchmarks/{script.name}" in script.read_text()


def test_every_benchmark_is_listed():
    text = (FOLDER / "README.md").read_text()
    assert [s.name for s in SCRIPTS if s.name not in text] == []


def test_step_time_prints_one_line_of_ratios(run):
    printed = run("step_time", "--rounds", "1", "--size", "64", "--batch", "1", "--bf16", "no", "--json")
    found = json.loads(printed)
    assert printed.count("\n") == 1 and set(found) >= RATIOS
    assert found["head_bf16_vs_plain"] is None
    assert all(found[key] > 0 for key in RATIOS - {"head_bf16_vs_plain"}) and found["teacher_share"] < 1
    assert 0 < found["regions"] <= 512 and 0 < found["seconds"]["head_teacher"] < found["seconds"]["head"]


def test_data_speed_compares_the_pipeline_and_the_check(run, monkeypatch, tmp_path):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))  # it sets a folder of its own
    found = json.loads(run("data_speed", "--images", "2", "--rounds", "1", "--json"))
    assert found["ours_vs_transforms_v2"] > 0 and set(found["opening"]) == {"decoding", "check", "remembered"}
    assert all(value > 0 for value in found["opening"].values())


def test_pooling_compares_both_cases(run):
    found = json.loads(run("pooling", "--rounds", "1", "--size", "64", "--regions", "4", "--channels", "8", "--json"))
    assert set(found) == {"assistant", "teacher"} and all(row["ratio"] > 0 for row in found.values())


def test_heads_time_compares_every_dense_head(run):
    arguments = ("--rounds", "1", "--size", "64", "--batch", "1", "--backbone", "mnv2_050", "--width", "16", "--json")
    found = json.loads(run("heads_time", *arguments))
    assert set(found["ratios"]) == set(found["seconds"]) == set(DENSE)
    assert found["ratios"]["retinanet"] == 1 and all(ratio > 0 for ratio in found["ratios"].values())


def test_heads_time_compares_the_students_with_their_formulas_written_plainly(run):
    arguments = ("--students", "--rounds", "1", "--size", "64", "--batch", "1", "--backbone", "mnv2_050", "--json")
    found = json.loads(run("heads_time", *arguments, "--width", "16"))
    assert set(found["vs_plainly"]) == {"rtmdet_tiny", "yolox_tiny"} < set(found["seconds"])
    assert set(found["ratios"]) == set(found["seconds"]) and found["ratios"]["retinanet"] == 1


@pytest.mark.parametrize(("family", "options"), [("rtmdet", {}), ("yolox", {"assigner": "mmdetection"})])
@pytest.mark.parametrize("boxes", [0, 1, 30])
def test_formulas_written_plainly_have_the_same_losses(family, options, boxes):
    step_time, plain = load(FOLDER / "step_time.py"), load(FOLDER / "parts" / "plain_students.py")
    images, targets = step_time.draw_batch(2, 128, boxes)
    targets = [replace(target, labels=target.labels % len(CLASSES)) for target in targets]
    student = detector(family, **options).train()
    ours = sum(student.loss(student(images, targets), targets).values())
    plainly = plain.plain_losses(student, images, targets)
    torch.testing.assert_close(ours, plainly, rtol=1e-4, atol=1e-5)
    parameters = list(student.parameters())
    goals = torch.autograd.grad(plainly, parameters)
    largest = max(float(goal.abs().max()) for goal in goals)
    for found, goal in zip(torch.autograd.grad(ours, parameters), goals):
        torch.testing.assert_close(found, goal, rtol=1e-3, atol=1e-5 * largest)


def test_deformable_compares_both_ways(run):
    found = json.loads(run("deformable", "--rounds", "1", "--size", "64", "--batch", "1", "--channels", "8", "--json"))
    assert set(found["seconds"]) == {"ours", "torchvision", "convolution"} and found["ratio"] > 0


def test_assistants_time_compares_numbers_of_regions_and_no_teacher(run):
    words = "--rounds 1 --size 64 --batch 1 --width 16 --backbone r10 --regions 4 8 --student fasterrcnn_r10"
    found = json.loads(run("assistants_time", *words.split(), "--kinds", "cascadercnn", "fcos", "free", "--json"))
    by_regions = [f"{kind}, {number} regions" for kind in ("cascadercnn", "free") for number in (4, 8)]
    assert list(found) == ["plain", *by_regions[:2], "fcos", *by_regions[2:]]
    assert all(row["vs_plain"] > 0 for row in found.values())
    assert found["free, 8 regions"]["teacher"] == 0 < found["fcos"]["teacher"]


def test_methods_time_compares_methods_and_leaves_out_what_cannot_be(run):
    words = "--rounds 1 --size 64 --batch 1 --width 16 --student gfl_r10 --teacher fasterrcnn_r10 --json"
    found = json.loads(run("methods_time", *words.split(), "--methods", "ld", "head", "pkd", "head+pkd"))
    assert list(found) == ["plain", "head", "pkd", "head+pkd"]
    assert found["plain"]["vs_plain"] == 1 and found["plain"]["extra_mb"] == 0
    assert found["head+pkd"]["extra_mb"] > found["head"]["extra_mb"] > 0 < found["pkd"]["teacher"]


def test_paired_lanes_are_trained_by_one_process_at_a_time(tmp_path):
    paired = load(FOLDER / "parts" / "paired.py")
    with paired.claim(tmp_path / "a") as mine, paired.claim(tmp_path / "a") as theirs:
        assert mine and not theirs
    with paired.claim(tmp_path / "a") as again:
        assert again


def test_league_leaves_out_what_a_pair_cannot_have(capsys):
    league = load(FOLDER / "league.py")
    assert list(league.possible("retinanet-fasterrcnn", ["head", "ld", "head+pkd"])) == ["head", "head+pkd"]
    assert "retinanet-fasterrcnn has no ld: method ld" in capsys.readouterr().out


def test_crosskd_prints_what_is_there(run, tmp_path):
    """A row per lane, with the paired gain over the seeds that are finished."""
    for seed, (alone, mimic, cross) in enumerate([(10, 12, 14), (11, 12, 16)]):
        folder = tmp_path / "800" / f"gfl-gfl-{seed}"
        folder.mkdir(parents=True)
        lanes = {"alone": alone, "mimic": mimic, "crosskd": cross}
        rows = {lane: {"AP": ap, "seconds": 10 if lane == "alone" else 15, "steps": 8} for lane, ap in lanes.items()}
        rows["alone, 16 steps"] = {"AP": alone + 4, "seconds": 20, "steps": 16}
        (folder / "result.json").write_text(json.dumps({"teacher": 20, **rows}))
    printed = run(
        "crosskd", "--seeds", "0", "1", "2", "--out", str(tmp_path), "--only", "gfl-gfl", "--table"
    ).splitlines()
    assert (
        printed[4]
        == "| gfl-gfl | 20.0 | crosskd | 15.0 ± 1.4 | +4.5 | -1.9 to +10.9 | 1.50 | +2.5 | -3.9 to +8.9 | 2 |"
    )


def test_pairs_prints_what_is_there(run, tmp_path):
    """Only seeds that both were trained with count; the gain is paired, with Student's interval."""
    results = {"teacher-gfl": 20, "retinanet-alone-0": 5, "retinanet-alone-1": 9, "retinanet-alone-2": 7}
    results |= {"retinanet-gfl-0": 8, "retinanet-gfl-1": 10}
    for name, value in results.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps({"AP": value}))
    only = ("--only", "retinanet-gfl", "retinanet-reppoints", "--table")
    rows = run("pairs", "--seeds", "0", "1", "2", "--out", str(tmp_path), *only).splitlines()
    assert rows[2:] == ["| retinanet-gfl | 20.0 | 7.0 ± 2.8 | 9.0 ± 1.4 | +2.0 | -10.7 to +14.7 | 2 |"]


def test_pairs_trains_teachers_before_their_students():
    pairs = load(FOLDER / "pairs.py")
    planned = pairs.jobs([0, 1], pairs.PAIRS)
    for number, job in enumerate(planned.values()):
        assert job.teacher is None or f"teacher-{job.teacher}" in list(planned)[:number]
    assert {f"{pair.student}-alone-1" for pair in pairs.PAIRS.values()} <= set(planned)
