"""`batch: auto`: the search, the sizes that are tried, and what is written down."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from headstart.data.discover import open_dataset
from headstart.engine import batch_size
from headstart.engine.batch_size import (
    GraphicsMemory,
    SystemMemory,
    Trial,
    choose_batch,
    largest,
    largest_image,
    with_batch,
)
from headstart.engine.fit import fit
from headstart.errors import UserError
from headstart.recipe import check_run, plain_run

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "holds, most, found, tried",
    [
        (0, 64, 0, [1]),
        (1, 64, 1, [1, 2]),
        (3, 64, 3, [1, 2, 4, 3]),
        (100, 64, 64, [1, 2, 4, 8, 16, 32, 64]),
        (100, 10, 10, [1, 2, 4, 8, 10]),
        (100, 1, 1, [1]),
        (21, 64, 20, [1, 2, 4, 8, 16, 32, 24, 20]),
        (45, 64, 40, [1, 2, 4, 8, 16, 32, 64, 48, 40]),
    ],
)
def test_the_largest_count_to_within_a_quarter(holds, most, found, tried):
    seen = []
    assert largest(lambda count: seen.append(count) or count <= holds, most) == found
    assert seen == tried


def test_the_largest_image_joins_landscape_and_portrait():
    sizes = np.array([[300, 600], [480, 320], [100, 100]])
    assert largest_image(sizes, 640, 640) == (640, 640)
    assert largest_image(sizes[:1], 640, 640) == (320, 640)  # 320 x 640
    assert largest_image(sizes[:2], 320, 600) == (480, 608)  # 300 x 600 and 480 x 320


class Linear:
    """Memory of 100 bytes for the process, and `each` for an image."""

    def __init__(self, each, room):
        self.each, self.free, self.counts = each, room, []

    def room(self):
        return self.free

    def peak(self, step):
        step()
        return 100 + self.each * self.counts[-1]


@pytest.mark.parametrize(
    "each, room, most, found",
    [(10, 200, 64, 10), (10, 135, 64, 0), (10, 10_000, 64, 64), (0, 200, 64, 64), (10, 200, 3, 3)],
)
def test_what_a_few_images_need_is_drawn_out(each, room, most, found):
    memory = Linear(each, room)
    trial = SimpleNamespace(step=memory.counts.append)
    assert batch_size._extrapolate(memory, trial, most) == found
    assert memory.counts == [1, 1, 2, 4] if most > 3 else [1, 1, 2]


def test_a_step_is_a_real_one(tiny_run, shapes):
    """Of both lanes, with the teacher, on images with the most objects, padded to the largest size."""
    dataset = open_dataset(shapes, "train")
    trial = Trial(tiny_run(), dataset, CPU)
    images, targets = trial.batch(12)
    assert images.pixels.shape == (12, 3, 64, 64) and len(images) == 12
    counts = [len(target) for target in targets]
    assert counts[0] == max(counts) and counts[:10] == sorted(counts[:10], reverse=True) and counts[10:] == counts[:2]
    before = [{k: v.clone() for k, v in lane.method.student.state_dict().items()} for lane in trial.lanes]
    trial.step(2)
    assert [lane.name for lane in trial.lanes] == ["baseline", "head"]
    for lane, old in zip(trial.lanes, before):
        assert any(not torch.equal(value, old[key]) for key, value in lane.method.student.state_dict().items())


def test_a_step_is_of_the_largest_side_that_is_drawn(tiny_run, shapes):
    run = tiny_run(distil=False)
    data = run.data.model_copy(update={"multi_scale": (32, 160)})
    trial = Trial(run.model_copy(update={"data": data}), open_dataset(shapes, "train"), CPU)
    images, targets = trial.batch(2)
    assert images.pixels.shape == (2, 3, 160, 160) and max(targets[0].boxes.flatten()) > 64


def test_the_number_is_said_and_written(tiny_run, monkeypatch, capsys):
    monkeypatch.setattr(batch_size, "STEPS_PER_EPOCH", 3)
    monkeypatch.setattr(SystemMemory, "room", lambda self: 10**12)
    run = tiny_run(steps=2, distil=False)
    done = fit(check_run({**plain_run(run), "data": {**plain_run(run)["data"], "batch": "auto"}}))
    assert (
        "Batch: 3 images per step fit into 1000.0 GB; more than 64, or fewer than 3 steps per epoch, are not tried."
    ) in capsys.readouterr().out
    assert yaml.safe_load((done.folder / "run.yaml").read_text())["data"]["batch"] == 3
    assert done.results["data"]["batch"] == 3 and done.results["data"]["steps_per_epoch"] == 4


def test_looking_changes_no_weight(tiny_run, monkeypatch):
    """The run that follows is the one with the number given."""
    monkeypatch.setattr(batch_size, "STEPS_PER_EPOCH", 3)
    run = tiny_run(steps=2)
    looked, given = (fit(with_batch(run, batch), quiet=True) for batch in ("auto", 3))
    for lane, student in looked.students.items():
        other = given.students[lane].state_dict()
        assert all(torch.equal(value, other[key]) for key, value in student.state_dict().items())


def test_where_it_cannot_be_measured(tiny_run, shapes, monkeypatch, tmp_path):
    run, dataset = with_batch(tiny_run(), "auto"), open_dataset(shapes, "train")
    with pytest.raises(UserError, match=r"measures one process, and this run has 2: .* give 2 times as many"):
        choose_batch(run, dataset, CPU, print, world=2)
    monkeypatch.setattr(SystemMemory, "room", lambda self: 0)
    with pytest.raises(UserError, match="not even one image per step fits into memory"):
        choose_batch(run, dataset, CPU, print)
    monkeypatch.setattr(SystemMemory, "status", tmp_path / "status")
    with pytest.raises(UserError, match="on Linux and on CUDA devices only: give a number"):
        choose_batch(run, dataset, CPU, print)
    assert choose_batch(tiny_run(batch=2), dataset, CPU, print) == tiny_run(batch=2)


def test_the_limit_of_a_container_counts(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 5000 kB\n")
    (tmp_path / "status").write_text("VmHWM:\t 700 kB\nVmRSS:\t 600 kB\n")
    monkeypatch.setattr(SystemMemory, "meminfo", tmp_path / "meminfo")
    monkeypatch.setattr(SystemMemory, "status", tmp_path / "status")
    monkeypatch.setattr(SystemMemory, "reset", tmp_path / "reset")
    monkeypatch.setattr(SystemMemory, "group", tmp_path)
    assert SystemMemory().room() == (600 + 4000) * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{1000 * 1024}\n")
    assert SystemMemory().room() == (600 + 4000) * 1024
    (tmp_path / "memory.max").write_text(f"{2000 * 1024}\n")
    assert SystemMemory().room() == (600 + 800) * 1024
    assert SystemMemory().peak(lambda: None) == 700 * 1024 and (tmp_path / "reset").read_text() == "5"


def test_a_gpu_that_is_full_says_so(monkeypatch):
    """The search on CUDA, with the allocator's answers in place of a GPU."""
    cuda = batch_size.torch.cuda
    for name in ("empty_cache", "reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(cuda, name, lambda *device: None)
    monkeypatch.setattr(cuda, "mem_get_info", lambda device: (900, 2000))
    monkeypatch.setattr(cuda, "memory_reserved", lambda device: 100)
    used = []
    monkeypatch.setattr(cuda, "max_memory_reserved", lambda device: 40 * used[-1])

    def step(count):
        if count > 30:
            raise torch.cuda.OutOfMemoryError("full")
        used.append(count)

    memory, trial = GraphicsMemory(torch.device("cuda")), SimpleNamespace(step=step)
    assert memory.room() == 900
    assert largest(lambda count: batch_size._fits(memory, trial, count), 64) == 20  # 22 images of 40 bytes; 24 did not
