"""Weights of places, channels and rows."""

import pytest
import torch

from headstart.methods import Method
from headstart.methods.allstage.distances import MapDistance
from headstart.methods.allstage.micro import PlaceWeights, Scores, channel_weights, normalise, row_weights
from headstart.methods.scores import student_scores, teacher_scores
from laws.tiny import MIDWAY, detector, scene
from methods.pairs import frozen, tiny

STRIDES = (8, 16, 32)


def step_of(student, targets=None):
    batch, found = scene(size=64)
    return Method(student).step(batch, found if targets is None else targets, MIDWAY)


def places(kind, student, teacher, **options):
    chosen = {"scores": Scores(), "foreground": 0.2} | options
    return PlaceWeights(kind, chosen["scores"], chosen["foreground"], student, teacher, STRIDES, STRIDES, STRIDES)


def masks(step):
    return [
        torch.stack(
            [
                ((torch.arange(64 // s) * s < h)[:, None] & (torch.arange(64 // s) * s < w)[None])[None]
                for h, w in step.batch.sizes
            ]
        )
        for s in STRIDES
    ]


def mean_over(weights, mask):
    return (weights * mask).sum() / mask.sum()


@pytest.mark.parametrize("kind", ["score", "objects", "split"])
def test_the_weights_of_places_average_one_over_the_whole_batch(kind):
    student, teacher = tiny("retinanet"), frozen("gfl")
    step = step_of(student)
    found = places(kind, student, teacher)(step, masks(step))
    means = [mean_over(weights, mask).item() for weights, mask in zip(found, masks(step))]
    # On a level without an object, or without background, that part is left out, as DeFeat leaves it.
    whole = {"score": [1], "objects": [0.5, 1], "split": [0.2, 0.8, 1]}[kind]
    assert all(any(mean == pytest.approx(one, abs=1e-4) for one in whole) for mean in means)
    assert means[0] == pytest.approx(1, abs=1e-4) and not found[0].requires_grad
    assert any(weights.std() > 0.05 for weights in found)


def test_weights_by_scores_are_the_formula():
    student, teacher = tiny("retinanet"), frozen("gfl")
    step = step_of(student)
    found = places("score", student, teacher, scores=Scores(0.3, 2.0, 0.5))(step, masks(step))
    for level, (weights, mask) in enumerate(zip(found, masks(step))):
        q_t, q_s = teacher_scores(teacher, step)[level], student_scores(step)[level]
        goal = 0.3 + q_t**2 * (1 + 0.5 * (q_t - q_s).abs())
        torch.testing.assert_close(weights, goal / mean_over(goal, mask))


def test_an_image_in_which_the_teacher_sees_nothing_stays_quiet():
    """Normalised image by image it would count as much as a crowded one."""
    scores = torch.tensor([0.5, 0.001]).reshape(2, 1, 1, 1).expand(2, 1, 4, 4)
    found = normalise(scores, torch.ones(2, 1, 4, 4, dtype=torch.bool))
    assert found[0].mean() > 100 * found[1].mean()


def test_split_is_defeat():
    """3 and 12 of DeFeat: sums over objects and background, each divided by twice its cells, is 7.5 x the mean."""
    student, teacher = tiny("retinanet"), frozen("gfl")
    step = step_of(student)
    mask = masks(step)
    made = places("split", student, teacher)
    from headstart.methods.masks import level_masks

    objects, others = level_masks(step.targets, mask, STRIDES)
    for level, weights in enumerate(made(step, mask)):
        error = torch.rand(2, 1, *mask[level].shape[-2:])
        found = 7.5 * mean_over(weights * error, mask[level])
        goal = sum(
            constant * (error * inside).sum() / (2 * inside.sum()).clamp(min=1)
            for constant, inside in ((3, objects[level]), (12, others[level]))
        )
        torch.testing.assert_close(found, goal)


def test_channel_weights_do_not_depend_on_the_size_of_the_map():
    maps = torch.ones(2, 8, 5, 5) * torch.arange(-8.0, 0)[:, None, None]
    mask = torch.ones(2, 1, 5, 5)
    found = channel_weights(maps, mask)
    assert found.mean().item() == pytest.approx(1, abs=1e-6) and found.flatten().argmax() == 0
    torch.testing.assert_close(channel_weights(10 * maps, mask), found)
    sharp = channel_weights(maps, mask, 0.01)
    assert sharp.mean().item() == pytest.approx(1, abs=1e-6) and sharp.max() < 26 * sharp.min()


def test_row_weights():
    matched = torch.tensor([[0.0, 0, 10, 10]] * 3)
    good, bad = matched.clone(), torch.tensor([[5.0, 5, 15, 15]] * 3)
    scores, objects = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([True, True, False])
    plain = row_weights(scores, None, matched, objects, 0.25)
    assert plain.tolist() == pytest.approx([1.5, 0.75, 0.75])
    own = torch.stack([good[0], bad[1], good[2]])
    theirs = torch.stack([bad[0], good[1], bad[2]])  # worse for the first; the last is no object
    found = row_weights(scores, (own, theirs), matched, objects, 0.25)
    assert found.tolist() == pytest.approx([0.6, 1.2, 1.2]) and found.mean().item() == pytest.approx(1)
    assert row_weights(scores[:0], None, matched[:0], objects[:0], 0.25).shape == (0,)


@pytest.mark.parametrize("kind", ["score", "objects", "split", "uniform"])
def test_images_without_objects_give_finite_losses(kind):
    student, teacher = tiny("retinanet"), frozen("gfl")
    batch, targets = scene(size=64, objects=0)
    step = Method(student).step(batch, targets, MIDWAY)
    own = [torch.randn(2, 4, 64 // s, 64 // s, requires_grad=True) for s in STRIDES]
    goal = [torch.randn(2, 4, 64 // s, 64 // s) for s in STRIDES]
    value = MapDistance("pearson", places(kind, student, teacher), channel=True)(own, goal, step)[""]
    value.backward()
    assert value.isfinite() and all(x.grad.isfinite().all() for x in own)


def test_a_teacher_of_another_kind_scores_at_the_levels_of_its_strides():
    """An RPN of strides 4 to 64 for a student of strides 8 to 128: levels for objects of one size."""
    student, teacher = detector("retinanet"), frozen("fasterrcnn")
    step = step_of(student)
    made = PlaceWeights("score", Scores(0, 1, 0), 0.2, student, teacher, (8, 16), (4, 8), (8, 16))
    mask = masks(step)[:2]
    fine = teacher_scores(teacher, step)[0]
    goal = torch.nn.functional.avg_pool2d(fine, 2)
    torch.testing.assert_close(made(step, mask)[0], goal / mean_over(goal, mask[0]))
