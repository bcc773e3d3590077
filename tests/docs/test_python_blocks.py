"""The Python blocks of README and docs run, page by page and in order, in a folder with a tiny data set.

Detectors that a run names are built small and trained for two steps; nothing else is different. A block after
`<!-- no-run -->` is only compiled.
"""

import json
import shutil
from pathlib import Path

import pytest

from docs.pages import PAGES, ROOT, read_blocks, short
from headstart.config import GIVEN, Run
from headstart.data.discover import open_dataset
from headstart.data.shapes import make_shapes
from headstart.detectors.weights.native import save_detector
from headstart.detectors.zoo import DETECTORS, FAMILIES, build_detector
from headstart.engine.fit import fit
from headstart.methods import METHODS

TEACHER = "runs/teacher/student.safetensors"
BEFORE = {
    "docs/evaluation.md": (
        "from headstart.data.discover import open_dataset\n"
        "from headstart.data.loader import val_loader\n"
        "from headstart.data.transforms import Transform\n"
        "from headstart.detectors.weights.native import load_detector\n"
        "dataset = open_dataset('my-data', 'val')\n"
        "loader = val_loader(dataset, Transform(64, 64, flip=0.0), batch_size=2)\n"
        f"detector = load_detector('{TEACHER}')\n"
    ),
}
"""What a page takes for granted."""


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """my-data (and DIR, the same), photos, and the weights of a teacher, to be copied for each page."""
    folder = tmp_path_factory.mktemp("docs")
    data = make_shapes(folder / "my-data", train=8, val=3, size=64)
    shutil.copytree(data, folder / "DIR")
    shutil.copytree(data / "val", folder / "photos")
    classes = open_dataset(data, "val").classes
    teacher = build_detector("fasterrcnn", classes, backbone="mnv2_050", pretrained=False, width=16, hidden=16)
    save_detector(teacher, folder / TEACHER, size={"short": 64, "long": 64})
    return folder


@pytest.fixture
def registries():
    """What a page adds to the dictionaries is gone afterwards."""
    kept = [(known, dict(known)) for known in (METHODS, FAMILIES, DETECTORS)]
    yield
    for known, before in kept:
        known.clear()
        known.update(before)


def shrink(choice):
    if choice is None or choice.get("file") or choice["name"] == GIVEN:
        return choice
    family = DETECTORS.get(choice["name"], (choice["name"],))[0]
    options = {"hidden": 16} if family == "fasterrcnn" else {}
    return {"name": family, "backbone": "mnv2_050", "width": 16, "pretrained": False, "options": options}


def small_fit(run, **given):
    tree = run.model_dump(mode="json")
    tree["data"] |= {"imgsz": 64, "batch": 2, "workers": 0}
    for key in ("short", "long"):
        tree["data"].pop(key, None)
    for who in ("student", "teacher"):
        if who in tree:
            tree[who] = shrink(tree[who])
    tree["train"] = {"steps": 2, "device": "cpu", "seed": tree["train"]["seed"]}
    return fit(Run.model_validate(tree), **given)


def keys(tree):
    """The keys of results.json that docs/results.md has to name: of the file, its data, its lanes."""
    return set(tree), set(tree["data"]), {frozenset(lane) for lane in tree["lanes"].values()}, set(tree["gain"])


WITH_PYTHON = [page for page in PAGES if read_blocks(page, "python")]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=short)
def test_python_blocks_run(page, material, tmp_path, monkeypatch, registries):
    blocks = read_blocks(page, "python")
    shutil.copytree(material, tmp_path, dirs_exist_ok=True)
    if any('name="teacher"' in block.text and block.runs for block in blocks):
        shutil.rmtree(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("headstart.engine.fit.fit", small_fit)
    names = {"__name__": f"page_{Path(page).stem}".replace("-", "_")}
    exec(BEFORE.get(short(page), ""), names)
    for block in blocks:
        # Empty lines before it, so that a traceback names the line of the page.
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec", dont_inherit=True)
        if block.runs:
            exec(code, names)
    if short(page) == "README.md":
        (example,) = read_blocks(ROOT / "docs" / "results.md", "json")
        assert keys(json.loads(example.text)) == keys(names["outcome"].results)


def test_most_pages_have_blocks_that_run():
    running = [short(page) for page in WITH_PYTHON if any(block.runs for block in read_blocks(page, "python"))]
    assert {"README.md", "docs/python.md", "docs/add-a-method.md", "docs/add-a-detector.md"} <= set(running)
