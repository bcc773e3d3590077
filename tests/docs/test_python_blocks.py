"""The Python blocks of README and docs run, page by page and in order, in a folder with a tiny data set.

Detectors that a run names are built small and trained for two steps; nothing else is different. A block after
`<!-- no-run: reason -->` is only compiled.
"""

import json
import shutil
from pathlib import Path

import pytest

from docs.pages import PAGES, ROOT, read_blocks, short
from docs.tiny_runs import TEACHER, small_fit
from headstart.detectors.zoo import DETECTORS, FAMILIES
from headstart.methods import METHODS

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


@pytest.fixture
def registries():
    """What a page adds to the dictionaries is gone afterwards."""
    kept = [(known, dict(known)) for known in (METHODS, FAMILIES, DETECTORS)]
    yield
    for known, before in kept:
        known.clear()
        known.update(before)


def keys(tree):
    """The keys of results.json that docs/results-file.md has to name: of the file, its data, its lanes."""
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
        (example,) = read_blocks(ROOT / "docs" / "results-file.md", "json")
        assert keys(json.loads(example.text)) == keys(names["outcome"].results)


def test_most_pages_have_blocks_that_run():
    running = [short(page) for page in WITH_PYTHON if any(block.runs for block in read_blocks(page, "python"))]
    assert {"README.md", "docs/python.md", "docs/add-a-method.md", "docs/add-a-detector.md"} <= set(running)
