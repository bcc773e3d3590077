"""headstart data, and the options --split and --val-split of the other commands."""

import json
import re
import shutil

import pytest
from typer.testing import CliRunner

from headstart.cli import app
from headstart.data.shapes import make_shapes
from headstart.recipe import load_run

TINY = ["--student", "retinanet_mnv2_050", "--width", "16", "--weights", "none", "--imgsz", "64", "--batch", "2"]


def headstart(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def words(result) -> str:
    return " ".join(result.output.replace("│", " ").split())


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=12, val=3, size=64)


@pytest.fixture
def train_only(shapes, tmp_path):
    root = tmp_path / "mine"
    shutil.copytree(shapes, root)
    shutil.rmtree(root / "val")
    (root / "annotations" / "instances_val.json").unlink()
    return root


@pytest.fixture
def with_test(shapes, tmp_path):
    root = tmp_path / "mine"
    shutil.copytree(shapes, root)
    (root / "val").rename(root / "test")
    (root / "annotations" / "instances_val.json").rename(root / "annotations" / "instances_test.json")
    return root


def test_what_is_said_of_a_folder(shapes):
    result = headstart("data", shapes, "--imgsz", 128)
    assert result.exit_code == 0, result.output
    said = words(result)
    assert f"{shapes}: COCO" in said and "boxes at 128 px" in said and "heart" in said
    assert re.search(r"train 12 \d+ \d+ 0 ", said) and re.search(r"val 3 \d+ \d+ 0 ", said)


def test_a_folder_divided_and_written(train_only, tmp_path):
    result = headstart("data", train_only, "--split", 0.25, "--out", tmp_path / "coco")
    assert result.exit_code == 0, result.output
    said = re.search(r"split 0\.25 \(seed 0\): (\d+) images train, (\d+) validate\.", words(result))
    counts = [int(number) for number in said.groups()]
    listed = [
        len(json.loads((tmp_path / "coco" / "annotations" / f"instances_{split}.json").read_text())["images"])
        for split in ("train", "val")
    ]
    assert listed == counts and sum(counts) == 12
    again = headstart("data", tmp_path / "coco")
    assert again.exit_code == 0 and f"val {counts[1]} " in words(again)


def test_data_that_is_not_in_order(train_only, tmp_path):
    (train_only / "train" / "000003.jpg").write_text("no image")
    result = headstart("data", train_only, "--out", tmp_path / "coco")
    assert result.exit_code == 2 and "heart" in result.output, "the tables come first"
    assert "1 entry is not in order. Repair the data, or leave out 1 image with --bad-data skip." in words(result)
    assert not (tmp_path / "coco").exists()
    result = headstart("data", train_only, "--out", tmp_path / "coco", "--bad-data", "skip")
    assert result.exit_code == 0 and len(list((tmp_path / "coco" / "train").iterdir())) == 11


@pytest.mark.parametrize(
    "arguments, hint",
    [
        (["nowhere"], "nowhere does not exist"),
        (["SHAPES", "--split", "0.2"], "has a validation split, so --split 0.2 is not needed"),
        (["SHAPES", "--split", "2"], "between 0 and 1 such as 0.2, found 2"),
        (["SHAPES", "--bad-data", "ignore"], "bad_data must be stop or skip, found 'ignore'"),
        (["SHAPES", "--out", "SHAPES"], "exists already and is not overwritten"),
    ],
)
def test_mistakes(arguments, hint, shapes):
    result = headstart("data", *(shapes if word == "SHAPES" else word for word in arguments))
    assert result.exit_code == 2 and hint in words(result) and "Traceback" not in result.output


def test_a_run_that_makes_its_split_is_continued_and_measured_on_it(train_only, tmp_path):
    length = ["--steps", 2, "--device", "cpu", "--name", "a", "--out", tmp_path / "runs"]
    result = headstart("train", "--data", train_only, *TINY, *length, "--split", 0.25, "--split-seed", 3)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "runs" / "a"
    made = re.search(r"split 0\.25 \(seed 3\): \d+ images train, (\d+) validate", words(result))
    settings = load_run(folder / "run.yaml").data
    assert (settings.split, settings.split_seed) == (0.25, 3)
    results = json.loads((folder / "results.json").read_text())
    assert results["data"]["split"]["seed"] == 3 and results["data"]["val_images"] == int(made[1])
    assert "Training images:" in words(result)

    val = ["val", folder / "student.safetensors", "--data", train_only, "--device", "cpu", "--out", tmp_path / "s.json"]
    measured = headstart(*val, "--split", 0.25, "--split-seed", 3)
    assert measured.exit_code == 0 and made[0] in words(measured), measured.output
    metrics = json.loads((tmp_path / "s.json").read_text())["metrics"]
    (lane,) = results["lanes"].values()
    assert metrics["images"] == int(made[1]) and metrics["AP"] == pytest.approx(lane["metrics"]["AP"], abs=0.01)
    assert "has no val split, only train; add it" in words(headstart(*val))

    assert "is finished" in headstart("train", "--resume", folder).output
    other = headstart("train", "--resume", folder, "--split-seed", 4)
    assert other.exit_code == 2 and "data.split_seed was 3, is now 4" in words(other)
    gone = next((train_only / "train").iterdir())
    gone.rename(gone.with_name("renamed.jpg"))
    file = train_only / "annotations" / "instances_train.json"
    file.write_text(file.read_text().replace(gone.name, "renamed.jpg"))
    moved = headstart("train", "--resume", folder)
    assert moved.exit_code == 2 and "The data has changed since this run began" in words(moved)


def test_validation_on_another_split(with_test, tmp_path):
    start = ["train", "--data", with_test, *TINY, "--steps", 1, "--device", "cpu", "--out", tmp_path / "runs"]
    refused = headstart(*start)
    assert refused.exit_code == 2 and "no validation split, only train and test: --val-split test" in words(refused)
    result = headstart(*start, "--val-split", "test", "--name", "a")
    assert result.exit_code == 0, result.output
    assert "12 training images, 3 validation images" in result.output
    both = headstart(*start, "--val-split", "test", "--split", 0.2)
    assert both.exit_code == 2 and "give either split" in words(both)
    wrong = headstart(*start, "--val-split", "tset")
    assert wrong.exit_code == 2 and "did you mean test?" in words(wrong)
    share = headstart(*start, "--split", 20)
    assert share.exit_code == 2 and "data.split: the share of the images that validate, between 0 and 1" in words(share)
