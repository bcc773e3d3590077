"""What is answered before torch is imported."""

import subprocess
import sys
import time

import pytest

from headstart.data.shapes import make_shapes
from headstart.early import demand_data, look_first
from headstart.errors import UserError
from headstart.recipe import check_run


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return str(make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=2, val=2, size=32))


def run(data, **changes):
    return check_run({"data": data, "student": {"name": "retinanet_r18", "pretrained": False}, **changes})


def test_what_is_in_order_passes(shapes):
    look_first(run(shapes))
    look_first(run(shapes, student={"name": "retinanet", "backbone": "resnet26d"}))


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"student": "nothing.pth"}, r"^student: nothing\.pth does not exist"),
        ({"teacher": "nothing.pth", "method": "head"}, r"^teacher: nothing\.pth does not exist"),
        ({"teacher": ["pyproject.toml", "b.pth"], "method": "head"}, r"^teacher: b\.pth does not exist"),
        (
            {"student": {"name": "fcos_r18", "pretrained": "w.pth"}},
            r"^weights file w\.pth does not exist: pass --weights",
        ),
    ],
)
def test_files_that_are_not_there(shapes, changes, says, monkeypatch):
    monkeypatch.chdir(__file__.rpartition("/tests/")[0])
    with pytest.raises(UserError, match=says):
        look_first(run(shapes, **changes))


def test_names_are_checked_unless_the_builders_are_there(shapes, monkeypatch):
    import headstart.detectors.zoo  # noqa: F401 (a program may have added to it)

    look_first(run(shapes, student="mine_r18"))
    monkeypatch.delitem(sys.modules, "headstart.detectors.zoo")
    with pytest.raises(UserError, match=r"^no detector is called 'retinanet_r8'; did you mean retinanet_r"):
        look_first(run(shapes, student="retinanet_r8"))
    with pytest.raises(UserError, match=r"^no detector is called 'retinanet'; say which backbone: retinanet_r18"):
        look_first(run(shapes, student="retinanet"))


def test_splits_that_are_not_there(shapes, tmp_path):
    with pytest.raises(UserError, match=r"has no test split, only train and val; add it"):
        demand_data(shapes, "test")
    with pytest.raises(UserError, match="is in none of the known formats"):
        demand_data(str(tmp_path), "train")


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--data", "nowhere", "--student", "retinanet_r18"],
        ["train", "--data", "SHAPES", "--student", "retinanet_r8"],
        ["train", "--recipe", "nothing.yaml"],
        ["train", "--resume", "nowhere"],
        ["distill", "--data", "SHAPES", "--student", "retinanet_r18", "--teacher", "nothing.safetensors"],
        ["val", "nothing.safetensors", "--data", "SHAPES"],
        ["predict", "nothing.safetensors", "x.jpg"],
    ],
)
def test_mistakes_do_not_wait_for_torch(arguments, shapes):
    code = (
        "import sys, resource\n"
        "from headstart.cli import main\n"
        f"sys.argv = ['headstart', *{[shapes if word == 'SHAPES' else word for word in arguments]}]\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 2, end.code\n"
        "assert not {'torch', 'torchvision', 'lightning', 'timm'} & set(sys.modules), 'a heavy import'\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "assert used.ru_utime + used.ru_stime < 2"
    )
    started = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.startswith("Error: ") and ended.stderr.count("\n") == 1
    assert time.monotonic() - started < 30  # of a machine that is busy; 0.4 s on an idle one


def test_the_package_itself_is_light():
    code = "import headstart, headstart.api, sys; sys.exit(bool({'torch', 'timm', 'lightning'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
