"""An assistant's own losses, and its layers and its teacher's as places to read, by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from headstart.methods.adapters import Identity
from headstart.methods.assistants import Assistant, AssistantLosses, AssistantOutputs, AssistantTap, TeacherLayer
from headstart.methods.assistants.guidance import run_once
from headstart.methods.guidance import Row
from headstart.methods.imitation import Imitation
from headstart.methods.step import Needs, Step
from headstart.methods.weight import Schedule, Weight
from headstart.structures import Progress
from methods.pairs import batch, tiny


class Told(Assistant):
    """Gives two losses and one layer of two levels, and for its teacher two other levels."""

    kind, layers, width, levels, predicts_at = "told", ("tower",), 1, "P3..P4", "cells"

    def __init__(self):
        super().__init__()
        self.head = nn.Parameter(torch.tensor(1.0))
        self.ran, self.asked = [], []

    def adapter(self):
        return Identity()

    def forward(self, step):
        self.ran.append(step)
        maps = [torch.tensor([[[[0.0, 1], [2, 3]]]]) * self.head, torch.tensor([[[[5.0]]]]) * self.head]
        return AssistantOutputs({"cls": self.head * 2, "box": self.head * 3}, {"tower": maps}, [])

    def teacher_layers(self, teacher, batch, outputs):
        self.asked.append((teacher, batch, outputs))
        return {"tower": [torch.tensor([[[[0.0, 1], [2, 7]]]]), torch.tensor([[[[4.0]]]])]}


TEACHER = SimpleNamespace(title="teacher", own=None)


def make_step():
    images, targets = batch()
    return Step(tiny("retinanet"), images, targets, Progress(500, 1000), Needs())


def losses(assistant, weight=None, **options):
    return AssistantLosses("assistant/told", assistant, weight or Weight(0.5), Needs(regions=4), **options)


def test_its_losses_times_their_weight():
    terms = losses(Told())(make_step())
    assert terms == {"assistant/told/cls": 1.0, "assistant/told/box": 1.5}
    warming = losses(Told(), Weight(0.5, Schedule(1000)))(make_step())
    assert warming == {"assistant/told/cls": 0.5, "assistant/told/box": 0.75}


def test_it_needs_what_it_was_told():
    assert losses(Told()).needs == Needs(regions=4)
    assert AssistantTap("x", Told(), "tower").needs == TeacherLayer(TEACHER, Told(), "tower").needs == Needs()


def test_an_assistant_runs_once_in_a_step_and_its_teacher_is_asked_once():
    """About this batch, and what the assistant gave."""
    assistant, step = Told(), make_step()
    outputs = run_once(assistant, step)
    for _ in range(2):
        losses(assistant)(step)
        assert AssistantTap("x", assistant, "tower")(step) is outputs.layers["tower"]
        assert TeacherLayer(TEACHER, assistant, "tower")(step)[1].item() == 4
    assert assistant.ran == [step]
    ((teacher, images, given),) = assistant.asked
    assert teacher is TEACHER and images is step.batch and given is outputs
    run_once(assistant, make_step())
    assert len(assistant.ran) == 2


def test_two_teachers_of_one_assistant_are_kept_apart():
    assistant, step, other = Told(), make_step(), SimpleNamespace(title="teacher other")
    for teacher in (TEACHER, other, TEACHER):
        TeacherLayer(teacher, assistant, "tower")(step)
    assert [teacher for teacher, *_ in assistant.asked] == [TEACHER, other] and len(assistant.ran) == 1


def test_two_assistants_are_kept_apart():
    step, first, second = make_step(), Told(), Told()
    assert run_once(first, step) is not run_once(second, step)


def test_as_a_target_its_layer_is_detached():
    assistant, step = Told(), make_step()
    assert all(x.requires_grad for x in AssistantTap("x", assistant, "tower")(step))
    detached = AssistantTap("x", assistant, "tower", detached=True)(step)
    assert not any(x.requires_grad for x in detached) and detached[1].item() == 5
    assert not assistant.asked


def test_it_imitates_its_teachers_layer():
    """(16 / 4 of the first level) + (1 of the second); only the assistant gets a gradient."""
    assistant = Told()
    source, target = AssistantTap("assistant/told", assistant, "tower"), TeacherLayer(TEACHER, assistant, "tower")
    imitation = Imitation("akd/told/tower", source, target, adapter=assistant.adapter(), weight=Weight(2.0))
    (term,) = imitation(make_step()).values()
    assert term.item() == 2 * (4 + 1)
    term.backward()
    assert assistant.head.grad is not None
    assert imitation.describe() == [Row("teacher tower", "assistant/told tower", "-", "2")]


@pytest.mark.parametrize(
    ("fresh", "ending"), [((), ""), (["cls.weight", "x"], "; not from the teacher: cls.weight, x")]
)
def test_the_pairing_table_says_where_it_reads_and_what_is_fresh(fresh, ending):
    row = Row("ground truth", f"assistant/told on P3..P4 of the student{ending}", "", "0.5")
    assert losses(Told(), fresh=fresh).describe() == [row]


def test_its_parameters_belong_to_its_losses_alone():
    """Places hold no module, so nothing is trained or saved twice."""
    assistant = Told()
    source, target = AssistantTap("x", assistant, "tower"), TeacherLayer(TEACHER, assistant, "tower")
    imitation = Imitation("akd/told/tower", source, target, weight=Weight(2.0))
    assert list(losses(assistant).parameters()) == [assistant.head] and not list(imitation.parameters())
