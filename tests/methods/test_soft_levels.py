"""The mixture of a student's levels."""

import copy

import pytest
import torch

from headstart.methods.pairing import Pair
from headstart.methods.soft_levels import COLDEST, SoftLevels, StudentCrops, TeacherCrops
from headstart.methods.step import Needs, Step
from headstart.structures import Progress
from laws.tiny import detector, scene
from methods.pairs import frozen


def mixer(seed=0):
    torch.manual_seed(seed)
    return SoftLevels(8)


def crops(levels=3, regions=5):
    torch.manual_seed(1)
    return torch.randn(levels, regions, 8, 7, 7), torch.randn(regions, 8, 7, 7)


@torch.no_grad()
def test_shares_are_a_softmax_over_levels_of_the_embeddings_products():
    made, (own, goal) = mixer(), crops()
    made.tau.fill_(0.5)
    shares = made.shares(own, goal)
    for region in range(5):
        theirs = made.embed(goal[region][None]).flatten()
        likeness = torch.stack([(made.embed(own[level, region][None]).flatten() * theirs).sum() for level in range(3)])
        torch.testing.assert_close(shares[:, region], (likeness / 0.5).softmax(0))
    torch.testing.assert_close(shares.sum(dim=0), torch.ones(5))


@torch.no_grad()
def test_the_crop_is_the_sum_of_the_levels_by_their_shares():
    made, (own, goal) = mixer(), crops()
    (mixed,) = made(Pair(list(own), [goal.flatten(1)]))
    shares = made.shares(own, goal)
    by_hand = sum(shares[level][:, None, None, None] * own[level] for level in range(3))
    torch.testing.assert_close(mixed, by_hand.flatten(1))


@torch.no_grad()
def test_levels_that_are_equal_share_equally_and_give_themselves():
    made, (own, goal) = mixer(), crops(levels=1)
    (mixed,) = made(Pair([own[0]] * 4, [goal.flatten(1)]))
    torch.testing.assert_close(mixed, own[0].flatten(1))


def test_the_temperature_begins_at_one_is_learned_and_has_a_floor():
    made, (own, goal) = mixer(), crops()
    assert made.tau.item() == 1
    made.shares(own, goal)[0].sum().backward()
    assert made.tau.grad.abs() > 0 and all(p.grad is not None for p in made.embed.parameters())
    made.tau.data.fill_(-3.0)
    cold = copy.deepcopy(made)
    cold.tau.data.fill_(COLDEST)
    torch.testing.assert_close(made.shares(own, goal), cold.shares(own, goal))


def test_no_regions():
    made = mixer()
    (mixed,) = made(Pair([torch.zeros(0, 8, 7, 7)] * 2, [torch.zeros(0, 8 * 49)]))
    mixed.sum().backward()
    assert mixed.shape == (0, 8 * 49) and made.tau.grad is not None


@pytest.mark.parametrize(("student", "teacher"), [("retinanet", "fasterrcnn"), ("fasterrcnn", "yolox")])
def test_both_read_the_shared_regions(student, teacher):
    needs = Needs(regions=6)
    step = Step(detector(student), *scene(size=64), Progress(1, 10), needs)
    taught = frozen(teacher)
    own, goal = StudentCrops(step.student, 16, needs), TeacherCrops(taught, needs)
    mine, (theirs,) = own(step), goal(step)
    count = sum(len(r) for r in step.regions)
    assert len(mine) == len(step.student.neck.strides) and all(x.shape == (count, 16, 7, 7) for x in mine)
    assert theirs.shape == (count, 16 * 49) and not theirs.requires_grad
    torch.testing.assert_close(own.conv.weight[:, :, 0, 0], torch.eye(16))  # equal widths: it begins as the identity
    mine[-1].sum().backward()
    assert bool(own.conv.weight.grad.any())
