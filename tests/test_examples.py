"""The scripts in examples/ run."""

import importlib.util
from pathlib import Path

import torch

from headstart import build_detector, load_detector, open_dataset, save_detector
from headstart.data.shapes import make_shapes

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_a_training_loop_of_ones_own(tmp_path, capsys):
    data = make_shapes(tmp_path / "data", train=6, val=2, size=64)
    torch.manual_seed(0)
    classes = open_dataset(data, "train").classes
    teacher = build_detector("fasterrcnn_r10", classes, pretrained=False, width=16, hidden=16)
    file = save_detector(teacher, tmp_path / "teacher.safetensors")
    script = EXAMPLES / "own_loop.py"
    assert len(script.read_text().splitlines()) <= 60
    spec = importlib.util.spec_from_file_location("own_loop", script)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main(str(data), str(file), str(tmp_path / "student.safetensors"), steps=2, size=64)
    assert load_detector(tmp_path / "student.safetensors").classes == classes
    assert "teacher fc1 -> student cls tower block 3 at traced cells" in capsys.readouterr().out
