"""Whole runs whose teacher's answers are kept on disk."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from headstart.detectors.weights.importing import open_detector
from headstart.engine.fit import fit
from headstart.engine.precision import Precision
from headstart.engine.teacher import make_teachers
from headstart.errors import UserError
from headstart.recipe import check_run, plain_run
from headstart.teachers import Frozen, Stored

SILENT = {"baseline": False}


@pytest.fixture
def taught(tiny_run, tmp_path):
    """taught(method, teacher={...}, **data) -> a Run of one lane of 12 steps, epochs of five, batches of two."""

    def make(method="head", teacher=None, **data):
        tree = plain_run(tiny_run(method=None if method == "head" else method))
        return check_run(tree | SILENT | {"data": tree["data"] | data, "teacher": tree["teacher"] | (teacher or {})})

    return make


def train(run, **more):
    """The weights that it ends with, and how many images the teacher's neck has seen."""
    teacher = open_detector(run.teacher.file).detector
    seen = []
    teacher.neck.register_forward_hook(lambda module, args, _: seen.append(len(args[0][0])))
    done = fit(run, teacher=teacher, **more)
    return load_file(done.file), sum(seen)


@pytest.mark.parametrize("method", ["head", "crosskd+pkd"])
def test_a_run_with_a_cache_ends_with_the_same_weights(method, taught, tmp_path, capsys):
    """The second time no image is passed through the teacher but in the checks before the run."""
    whole, passed = train(taught(method), quiet=True)
    run = taught(method, {"cache": str(tmp_path / "cache")})
    first, once = train(run)
    told = capsys.readouterr().out
    second, never = train(run, quiet=True)
    for name, value in whole.items():
        assert torch.equal(value, first[name]) and torch.equal(value, second[name]), name
    checks = passed - 24
    assert never == checks < once < passed
    kept = sorted({file.name.split(".")[1] for file in (tmp_path / "cache").rglob("*.safetensors")})
    assert kept == (["neck"] if method == "head" else sorted(["cls_tower-0", "neck", "outputs", "reg_tower-0"]))
    assert f"Cache of the teacher in {tmp_path / 'cache'}" in told and "in 2 views (as they are, and mirrored)" in told
    assert "for 10 images" in told and "of at most 20 GB (teacher.cache_limit)" in told


def test_the_estimate_is_what_is_written(taught, tmp_path, capsys):
    """Without mirrors every image has one view, and all are padded alike."""
    run = taught(teacher={"cache": str(tmp_path / "cache"), "cache_limit": 0.001}, flip=0.0)
    fit(run)
    told = capsys.readouterr().out
    files = list((tmp_path / "cache").rglob("*.safetensors"))
    assert len(files) == 10
    size = sum(value.numel() * value.element_size() for value in load_file(files[0]).values())
    assert f"of an image neck {size / 1e6:.3g} MB; for 10 images about {10 * size / 1e9:.3g} GB" in told
    assert "of at most 0.001 GB" in told


def test_nothing_is_written_by_a_dry_run(taught, tmp_path):
    fit(taught(teacher={"cache": str(tmp_path / "cache")}), dry_run=True, quiet=True)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "data",
    [{"mosaic": 0.5}, {"mixup": 0.5}, {"scale": [0.5, 1.5]}, {"crop": 0.5}, {"jitter": True}, {"hsv": True}],
    ids=lambda data: next(iter(data)),
)
def test_where_views_never_come_again_it_is_refused(taught, data):
    with pytest.raises(UserError, match=rf"teacher\.cache: with data\.{next(iter(data))} hardly a view .* leave out"):
        taught(teacher={"cache": True}, **data)


def test_a_drawn_size_is_no_view_that_comes_again(taught):
    sizes = {"imgsz": None, "short": [48, 64], "long": 64}
    with pytest.raises(UserError, match=r"with data\.short"):
        taught(teacher={"cache": True}, **sizes)
    assert taught(teacher={"cache": True}, **{**sizes, "short": 64}).teacher.cache is True


def test_each_teacher_has_a_folder_of_its_own(taught, tmp_path, cache):
    """By its weights, its size and the number format."""

    def folder(choice, precision=Precision()):  # noqa: B008
        (teacher,) = make_teachers(taught(teacher=choice), ("circle", "square", "triangle"), precision, print)
        assert isinstance(teacher, Stored)
        return teacher.store.folder, teacher.store.teacher

    kept = str(tmp_path / "cache")
    plain = folder({"cache": kept})
    assert plain[0] == Path(kept) and folder({"cache": kept, "cache_limit": 3}) == plain
    others = [folder({"cache": kept, "imgsz": 32}), folder({"cache": kept}, Precision(torch.bfloat16))]
    assert len({plain, *others}) == 3
    assert folder({"cache": True}) == (cache / "teachers", plain[1])
    (without,) = make_teachers(taught(), ("circle", "square", "triangle"), Precision(), print)
    assert type(without) is Frozen


def test_a_teacher_at_its_own_size_trains_and_is_measured(taught, capsys):
    run = taught(teacher={"imgsz": 32})
    tree = plain_run(run)
    fit(check_run(tree | {"train": tree["train"] | {"steps": 2, "epochs": None, "eval_every": 1}}))
    told = capsys.readouterr().out
    assert "Teacher at 32 px on the validation images" in told and "teacher at 32 px fc0, at scaled boxes" in told


def test_predictions_at_other_cells_are_refused_before_training(taught, tmp_path):
    with pytest.raises(UserError, match="predicts at other cells"):
        fit(taught("mimic", {"imgsz": 32}), quiet=True)
    assert not (tmp_path / "runs").exists()
