"""Assistants that read regions: which boxes, from which levels, and what the teacher is asked."""

import pytest
import torch

from headstart.heads.roi import BoxHead
from headstart.methods.assistants.regions import CascadeAssistant, RCNNAssistant, activated
from methods.pairs import batch, make, only, watch


def test_activation_is_out_of_place():
    hidden = [torch.tensor([[-1.0, 2.0]]), torch.tensor([[3.0, -4.0]])]
    layers = activated(hidden, "stage1_")
    assert {k: [x.tolist() for x in v] for k, v in layers.items()} == {"stage1_fc0": [[[0, 2]]],
                                                                       "stage1_fc1": [[[3, 0]]]}  # fmt: skip
    assert hidden[0].tolist() == [[-1, 2]] and list(activated(hidden)) == ["fc0", "fc1"]


def test_what_they_are_called():
    rcnn = only(make("fasterrcnn", "retinanet")).assistant
    assert isinstance(rcnn, RCNNAssistant) and (rcnn.kind, rcnn.layers, rcnn.width) == ("rcnn", ("fc0", "fc1"), 24)
    assert rcnn.where == "P3..P6"
    cascade = only(make("cascadercnn", "fasterrcnn")).assistant
    assert isinstance(cascade, CascadeAssistant) and cascade.kind == "cascade" and cascade.where == "P2..P5"
    assert cascade.layers == tuple(f"stage{s}_fc{i}" for s in range(3) for i in range(2)) and cascade.width == 24


def test_levels_answer_each_other_by_their_place():
    """The same level rule from the first level on: the student's stride is twice the teacher's."""
    method = make("fasterrcnn", "fcos")
    assert only(method).assistant.head.strides == [8, 16, 32, 64]
    assert method.teacher.model.head.roi.strides == [4, 8, 16, 32]


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
    assistant, images = only(method).assistant, batch()[0]
    _, sight, reading = watch(method)
    boxes = [place.boxes for place in sight.places]
    assert len(reading.places) == 1 and reading.places[0] is sight.places
    goal = assistant.consult(method.teacher, images, reading)
    pyramid = method.teacher.model.extract(images).pyramid
    own = by_hand(assistant.head, sight.features.pyramid, boxes)
    theirs = by_hand(method.teacher.model.head.roi, pyramid, boxes)
    for index in (0, 1):
        torch.testing.assert_close(reading.layers[f"fc{index}"], [own[index]])
        torch.testing.assert_close(goal[f"fc{index}"], [theirs[index]])
    read = assistant.head(sight.features.pyramid, boxes)
    for name, value in assistant.head.loss(read, sight.places).items():
        torch.testing.assert_close(reading.losses[name], value)


@torch.no_grad()
def test_a_cascades_teacher_is_asked_about_the_assistants_boxes():
    method = make("cascadercnn", "retinanet", transfer=False)
    assistant, images = only(method).assistant, batch()[0]
    _, sight, reading = watch(method)
    assert [places is sight.places for places in reading.places] == [True, False, False]
    goal = assistant.consult(method.teacher, images, reading)
    assert list(goal) == list(assistant.layers) == list(reading.layers)
    mine, theirs = sight.features.pyramid, method.teacher.model.extract(images).pyramid
    stages = zip(assistant.head.heads, method.teacher.model.head.roi.heads, reading.places)
    for index, (own, guide, places) in enumerate(stages):
        boxes = [place.boxes for place in places]
        for layer, (a, b) in enumerate(zip(by_hand(own, mine, boxes), by_hand(guide, theirs, boxes))):
            torch.testing.assert_close(reading.layers[f"stage{index}_fc{layer}"], [a])
            torch.testing.assert_close(goal[f"stage{index}_fc{layer}"], [b])
    for index, stage in enumerate(assistant.head.stages):
        plain = assistant.head.heads[index]
        read = plain(mine, [place.boxes for place in reading.places[index]])
        for name, value in plain.loss(read, reading.places[index]).items():
            torch.testing.assert_close(reading.losses[f"stage{index}_{name}"], value * stage.weight)


@torch.no_grad()
def test_later_stages_read_what_the_assistant_refined():
    """Every box of a later stage but the ground truth is what the assistant made of one that it read before."""
    method = make("cascadercnn", "fasterrcnn", transfer=False)
    assistant = only(method).assistant
    _, sight, reading = watch(method)
    for index in (0, 1):
        head, places, following = assistant.head.heads[index], reading.places[index], reading.places[index + 1]
        boxes = [place.boxes for place in places]
        refined = head.refine(head(sight.features.pyramid, boxes), boxes, sight.sizes)
        for image, (moved, place, later) in enumerate(zip(refined, places, following)):
            known = {tuple(box) for box in moved[place.cells.level >= 0].tolist()}
            own = later.cells.level < 0
            assert len(known) > 0 and bool((~own).any())
            assert all(tuple(box) in known for box in later.boxes[~own].tolist())
            assert torch.equal(later.boxes[own], sight.targets[image].boxes)
