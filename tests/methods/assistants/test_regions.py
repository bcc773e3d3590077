"""Assistants that read regions: which boxes, from which levels, and what the teacher is asked."""

import pytest
import torch

from headstart.heads.roi import BoxHead
from headstart.methods.adapters import LinearAdapter
from headstart.methods.assistants.regions import CascadeAssistant, RCNNAssistant, activated
from methods.pairs import batch, make, only_assistant, only_teacher, watch


def test_activation_is_out_of_place():
    hidden = [torch.tensor([[-1.0, 2.0]]), torch.tensor([[3.0, -4.0]])]
    layers = activated(hidden, "stage1_")
    found = {name: [x.tolist() for x in values] for name, values in layers.items()}
    assert found == {"stage1_fc0": [[[0, 2]]], "stage1_fc1": [[[3, 0]]]}
    assert hidden[0].tolist() == [[-1, 2]] and list(activated(hidden)) == ["fc0", "fc1"]


def test_what_they_are_called():
    rcnn = only_assistant(make("fasterrcnn", "retinanet"))
    assert isinstance(rcnn, RCNNAssistant) and (rcnn.kind, rcnn.layers, rcnn.width) == ("rcnn", ("fc0", "fc1"), 24)
    assert rcnn.levels == "P3..P6" and rcnn.target_layer == "fc1"
    cascade = only_assistant(make("cascadercnn", "fasterrcnn"))
    assert isinstance(cascade, CascadeAssistant) and cascade.kind == "cascade" and cascade.levels == "P2..P5"
    assert cascade.layers == tuple(f"stage{s}_fc{i}" for s in range(3) for i in range(2)) and cascade.width == 24
    assert cascade.target_layer == "stage0_fc1"
    for assistant in (rcnn, cascade):
        assert assistant.predicts_at == "regions" and assistant.factors == ()
        adapter = assistant.adapter()
        assert isinstance(adapter, LinearAdapter) and adapter.linear.weight.shape == (24, 24)


def test_levels_correspond_by_their_place():
    """The same level rule from the first level on: the student's stride is twice the teacher's."""
    method = make("fasterrcnn", "fcos")
    assert only_assistant(method).head.strides == [8, 16, 32, 64]
    assert only_teacher(method).model.head.roi.strides == [4, 8, 16, 32]


def by_hand(head: BoxHead, pyramid, boxes):
    x, found = head.pool(pyramid, boxes).permute(0, 2, 3, 1).flatten(1), []
    for fc in head.fcs:
        x = fc(x).clamp(min=0)
        found.append(x)
    return found


@torch.no_grad()
@pytest.mark.parametrize("student", ["retinanet", "fasterrcnn", "cascadercnn"])
def test_both_read_the_shared_regions(student):
    method = make("fasterrcnn", student)
    assistant, teacher, images = only_assistant(method), only_teacher(method), batch()[0]
    _, step, outputs = watch(method)
    boxes = [r.boxes for r in step.regions]
    assert len(outputs.regions) == 1 and outputs.regions[0] is step.regions
    layers = assistant.teacher_layers(teacher, images, outputs)
    own = by_hand(assistant.head, step.features.pyramid, boxes)
    theirs = by_hand(teacher.model.head.roi, teacher.features(images).pyramid, boxes)
    for index in (0, 1):
        torch.testing.assert_close(outputs.layers[f"fc{index}"], [own[index]])
        torch.testing.assert_close(layers[f"fc{index}"], [theirs[index]])
    read = assistant.head(step.features.pyramid, boxes)
    for name, value in assistant.head.loss(read, step.regions).items():
        torch.testing.assert_close(outputs.losses[name], value)


@torch.no_grad()
def test_a_cascades_teacher_is_asked_about_the_assistants_boxes():
    method = make("cascadercnn", "retinanet", transfer=False)
    assistant, teacher, images = only_assistant(method), only_teacher(method), batch()[0]
    _, step, outputs = watch(method)
    assert [regions is step.regions for regions in outputs.regions] == [True, False, False]
    layers = assistant.teacher_layers(teacher, images, outputs)
    assert list(layers) == list(assistant.layers) == list(outputs.layers)
    mine, theirs = step.features.pyramid, teacher.features(images).pyramid
    stages = zip(assistant.head.heads, teacher.model.head.roi.heads, outputs.regions)
    for index, (own, other, regions) in enumerate(stages):
        boxes = [r.boxes for r in regions]
        for layer, (a, b) in enumerate(zip(by_hand(own, mine, boxes), by_hand(other, theirs, boxes))):
            torch.testing.assert_close(outputs.layers[f"stage{index}_fc{layer}"], [a])
            torch.testing.assert_close(layers[f"stage{index}_fc{layer}"], [b])
    for index, stage in enumerate(assistant.head.stages):
        plain = assistant.head.heads[index]
        read = plain(mine, [r.boxes for r in outputs.regions[index]])
        for name, value in plain.loss(read, outputs.regions[index]).items():
            torch.testing.assert_close(outputs.losses[f"stage{index}_{name}"], value * stage.weight)


@torch.no_grad()
def test_later_stages_read_what_the_assistant_refined():
    """Every box of a later stage but the ground truth is what the assistant made of one that it read before."""
    method = make("cascadercnn", "fasterrcnn", transfer=False)
    assistant = only_assistant(method)
    _, step, outputs = watch(method)
    for index in (0, 1):
        head, regions, following = assistant.head.heads[index], outputs.regions[index], outputs.regions[index + 1]
        boxes = [r.boxes for r in regions]
        refined = head.refine(head(step.features.pyramid, boxes), boxes, step.batch.sizes)
        for image, (moved, read, later) in enumerate(zip(refined, regions, following)):
            known = {tuple(box) for box in moved[read.cells.level >= 0].tolist()}
            own = later.cells.level < 0
            assert len(known) > 0 and bool((~own).any())
            assert all(tuple(box) in known for box in later.boxes[~own].tolist())
            assert torch.equal(later.boxes[own], step.targets[image].boxes)


@pytest.mark.parametrize("family", ["fasterrcnn", "cascadercnn"])
def test_what_the_teacher_gives_has_no_gradient(family):
    method = make(family, "retinanet")
    _, step, outputs = watch(method)
    layers = only_assistant(method).teacher_layers(only_teacher(method), step.batch, outputs)
    assert all(not x.requires_grad for values in layers.values() for x in values)
    assert all(x.requires_grad for values in outputs.layers.values() for x in values)
