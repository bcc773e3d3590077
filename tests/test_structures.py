"""What travels: moving, choosing, joining."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from headstart.structures import (
    Assignment,
    CellIndex,
    DenseOutputs,
    Detections,
    Features,
    ImageBatch,
    Objective,
    Progress,
    Targets,
)


def cells(count=3):
    return CellIndex(*(torch.arange(count) + 10 * i for i in range(4)))


def test_moving_moves_every_tensor_however_nested():
    trace = [[torch.zeros(1, 2)], [torch.ones(1, 2)]]
    inner = {"conv": [torch.zeros(2)]}
    outputs = DenseOutputs([torch.zeros(2)], [torch.zeros(3)], None, [(4, 5)], trace, trace, inner=inner)
    there = outputs.to(torch.float64)
    assert there.cls[0].dtype == there.cls_trace[1][0].dtype == there.inner["conv"][0].dtype == torch.float64
    assert inner["conv"][0].dtype == torch.float32 and there.earlier == ()
    first = Assignment(*(torch.zeros(2) for _ in range(4)))
    both = replace(first, earlier=(first,)).to(torch.float64)
    assert both.earlier[0].boxes.dtype == torch.float64 and both.earlier[0].earlier == ()
    assert there.quality is None and there.sizes == [(4, 5)] and outputs.cls[0].dtype == torch.float32
    found = Detections(torch.zeros(3, 4), torch.zeros(3), torch.zeros(3), cells()).to("meta")
    assert found.boxes.device.type == found.cells.anchor.device.type == "meta"
    batch = ImageBatch(torch.zeros(1, 3, 4, 4), [(3, 4)], [7], [(30, 40)]).to("meta")
    assert batch.pixels.device.type == "meta" and batch.ids == [7] and len(batch) == 1


def test_what_travels_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Progress(0, 1).step = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Features([], [], [], []).pyramid = []


def test_ignored_annotations_are_not_wanted():
    targets = Targets(torch.arange(12.0).reshape(3, 4), torch.tensor([2, 0, 1]), torch.tensor([False, True, False]))
    wanted = targets.wanted
    assert len(targets) == 3 and wanted.labels.tolist() == [2, 1] and wanted.boxes[1, 0] == 8
    assert not wanted.ignored.any()


def test_no_annotations():
    none = Targets.empty()
    assert len(none) == len(none.wanted) == 0 and none.boxes.shape == (0, 4)
    assert none.labels.dtype == torch.int64 and none.ignored.dtype == torch.bool


def test_choosing_keeps_boxes_and_cells_together():
    found = Detections(
        torch.arange(12.0).reshape(3, 4), torch.tensor([0.9, 0.5, 0.1]), torch.tensor([0, 1, 2]), cells()
    )
    for index in (torch.tensor([2, 0]), torch.tensor([True, False, True]), slice(1, 3)):
        chosen = found[index]
        for name in ("boxes", "scores", "labels"):
            assert torch.equal(getattr(chosen, name), getattr(found, name)[index])
        assert torch.equal(chosen.cells.x, found.cells.x[index]) and len(chosen) == len(chosen.cells) == 2


def test_rows_without_a_cell():
    none = CellIndex.none(2)
    joined = CellIndex.cat([none, cells(1)])
    assert joined.level.tolist() == [-1, -1, 0] and joined.anchor.tolist() == [-1, -1, 30]
    assert joined.level.dtype == torch.int64 and len(CellIndex.none(0)) == 0


def test_the_total_is_the_sum_in_float32():
    a, b = torch.tensor(1.5, requires_grad=True), torch.tensor(2.0, dtype=torch.bfloat16)
    objective = Objective({"student/cls": a, "akd/x": b}, {"seen": torch.tensor(9.0)})
    assert objective.total.dtype == torch.float32 and objective.total.item() == 3.5
    objective.total.backward()
    assert a.grad == 1 and list(objective) == ["student/cls", "akd/x"]
