"""The scripts and the notebook in examples/ run."""

import importlib.util
import json
import os
from pathlib import Path

import pytest
import torch
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

import headstart
from headstart import build_detector, load_detector, open_dataset, save_detector
from headstart.data.shapes import make_shapes

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def made(tmp_path):
    """A drawn data set, its classes and the weights of a tiny teacher."""
    data = make_shapes(tmp_path / "data", train=6, val=2, size=64)
    torch.manual_seed(0)
    classes = open_dataset(data, "train").classes
    teacher = build_detector("fasterrcnn_r10", classes, pretrained=False, width=16, hidden=16)
    return data, classes, save_detector(teacher, tmp_path / "teacher.safetensors")


def load(name, most):
    """A script as a module; it has at most so many lines."""
    script = EXAMPLES / f"{name}.py"
    assert len(script.read_text().splitlines()) <= most
    spec = importlib.util.spec_from_file_location(name, script)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example


def test_a_training_loop_of_ones_own(made, tmp_path, capsys):
    data, classes, file = made
    example = load("own_loop", 60)
    example.main(str(data), str(file), str(tmp_path / "student.safetensors"), steps=2, size=64)
    assert load_detector(tmp_path / "student.safetensors").classes == classes
    assert "teacher fc1 -> student cls tower block 3 at traced cells" in capsys.readouterr().out


def test_a_student_of_ones_own(made, tmp_path, capsys):
    """SSDlite of torchvision, by an assistant and PKD; what is saved is torchvision's own state dict."""
    data, classes, file = made
    load("own_student", 100).main(str(data), str(file), str(tmp_path / "ssdlite.pt"), steps=2, size=96)
    net = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=len(classes) + 1)
    net.load_state_dict(torch.load(tmp_path / "ssdlite.pt"))
    said = capsys.readouterr().out
    assert "teacher fc1 -> assistant/rcnn fc1" in said and "teacher neck -> student neck" in said
    assert all(f"'{term}': " in said for term in ("student/classification", "akd/rcnn/fc1", "pkd/neck"))


def read_notebook():
    return json.loads((EXAMPLES / "own_data.ipynb").read_text(encoding="utf-8"))


def test_the_notebook_is_stored_without_outputs():
    cells = read_notebook()["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 4 and len(cells) > len(code)
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_the_notebook_runs_and_ends_with_pictures(tmp_path, monkeypatch):
    why = "needs the packages of the group `dev` that run notebooks"
    nbclient = pytest.importorskip("nbclient", reason=why)
    nbformat = pytest.importorskip("nbformat", reason=why)
    pytest.importorskip("ipykernel", reason=why)
    # The kernel is a process of its own: one thread, no GPU, the sources that are tested here.
    for name, value in (("OMP_NUM_THREADS", "1"), ("CUDA_VISIBLE_DEVICES", ""), ("JUPYTER_PLATFORM_DIRS", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(Path(headstart.__file__).parents[1]), prepend=os.pathsep)
    notebook = nbformat.read(EXAMPLES / "own_data.ipynb", as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
    assert "gain" in "".join(output.get("text", "") for output in outputs)
    assert len(list((tmp_path / "own_data" / "found").glob("*.jpg"))) == 6
