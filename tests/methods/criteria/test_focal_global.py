"""FGD's terms against the sums of its paper, at the published size and elsewhere."""

from types import SimpleNamespace

import pytest
import torch

from headstart.methods.criteria.focal_global import FocalGlobal, GlobalContext, attention
from headstart.methods.masks import density_masks, valid_cells
from headstart.methods.published import HEIGHT, LENGTH, WIDTH
from headstart.structures import Targets

STRIDES = (8, 16, 32, 64, 128)
TERMS = ("foreground", "background", "attention", "context")
ALPHA = dict(zip(TERMS, (1e-3, 5e-4, 5e-4, 5e-6), strict=True))


def target(*boxes):
    rows = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Targets(rows, torch.zeros(len(rows), dtype=torch.int64), torch.zeros(len(rows), dtype=torch.bool))


def step_of(size, *targets):
    return SimpleNamespace(batch=SimpleNamespace(sizes=[size] * len(targets)), targets=list(targets))


def pyramid(seed, width, size, images, strides=STRIDES):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(-(-size[0] // s), -(-size[1] // s)) for s in strides]
    return [torch.randn(images, width, *shape, generator=generator) for shape in shapes]


def stirred(width, strides=STRIDES, **options):
    """With contexts that add something."""
    torch.manual_seed(1)
    made = FocalGlobal(width, strides, ALPHA, **options)
    for context in (*made.own_context, *made.their_context):
        torch.nn.init.normal_(context.add[-1].weight)
    return made


def summed(made, source, goals, step, temperature):
    """The paper's own sums, divided by the number of images alone."""
    valid = valid_cells(step.batch.sizes, source, made.strides)
    masks = density_masks(step.targets, valid, made.strides)
    found = dict.fromkeys(TERMS, 0.0)
    for level, (own, goal) in enumerate(zip(source, goals, strict=True)):
        images, width, height, length = own.shape

        def attend(maps, width=width, cells=height * length):
            strength = maps.abs()
            places = cells * (strength.mean(1).flatten(1) / temperature).softmax(1)
            return places, width * (strength.flatten(2).mean(2) / temperature).softmax(1)

        (places, channels), (own_places, own_channels) = attend(goal), attend(own)
        error = (own - goal).square() * places.reshape(images, 1, height, length) * channels[:, :, None, None]
        found["foreground"] += (error * masks[0][level]).sum() / images
        found["background"] += (error * masks[1][level]).sum() / images
        found["attention"] += ((places - own_places).abs().sum() + (channels - own_channels).abs().sum()) / images
        far = made.own_context[level](own, valid[level]) - made.their_context[level](goal, valid[level])
        found["context"] += far.square().sum() / images
    return found


@torch.no_grad()
def test_at_the_published_size_the_terms_are_the_papers_sums():
    size, boxes = (HEIGHT, LENGTH), [(30, 40, 400, 300), (350, 200, 700, 790), (1200, 10, 1240, 60)]
    step = step_of(size, target(*boxes))
    made = stirred(WIDTH)
    source, goals = pyramid(1, WIDTH, size, 1), pyramid(2, WIDTH, size, 1)
    found, goal = made(source, goals, step), summed(made, source, goals, step, 0.5)
    for term in TERMS:
        assert found[term].item() == pytest.approx(goal[term].item(), rel=1e-4), term
    assert made.terms == ALPHA


@torch.no_grad()
def test_elsewhere_they_are_as_large_whatever_the_size_of_image_and_width():
    """An error of the same size everywhere, an attention that is even, an object whose cells all lie in the image."""
    values, strides = [], (8, 16)
    for size, width in (((128, 256), 8), ((256, 512), 8), ((128, 256), 24)):
        goals = [torch.ones_like(m) for m in pyramid(0, width, size, 1, strides)]
        source = [m * 1.5 for m in goals]
        scale = size[0] / 128
        step = step_of(size, target([20 * scale, 20 * scale, 100 * scale, 90 * scale]))
        values.append(FocalGlobal(width, strides, ALPHA)(source, goals, step))
    for other in values[1:]:
        for term in ("foreground", "background", "context"):
            assert other[term].item() == pytest.approx(values[0][term].item(), rel=1e-3), term


def test_attention_has_a_mean_of_one_over_what_counts():
    maps = torch.randn(2, 5, 4, 6)
    valid = valid_cells([(32, 30), (20, 48)], [maps], [8])[0]
    places, channels = attention(maps, valid, 0.5)
    assert (places.sum(dim=(1, 2, 3)) / valid.sum(dim=(1, 2, 3))).tolist() == pytest.approx([1, 1])
    assert channels.mean(dim=1).flatten().tolist() == pytest.approx([1, 1]) and not places[~valid].any()


def test_without_contexts_and_attention_an_even_teacher_gives_plain_errors():
    """A teacher of one value everywhere attends to everything alike: foreground is then the mean over the object."""
    size = (64, 64)
    goals = [torch.ones(1, 4, 8, 8)]
    source = [torch.ones(1, 4, 8, 8)]
    source[0][0, :, 2:5, 2:5] = 3.0
    step = step_of(size, target((16, 16, 32, 32)))  # cells 2 to 4, both ways
    found = FocalGlobal(4, (8,), ALPHA)(source, goals, step)
    assert found["foreground"].item() == pytest.approx(4 * WIDTH) and found["background"].item() == 0
    found = FocalGlobal(4, (8,), ALPHA)(source, goals, step_of(size, target()))
    assert found["foreground"].item() == 0
    assert found["background"].item() == pytest.approx(4 * WIDTH * 9 / 64)


@torch.no_grad()
def test_a_padded_batch_gives_the_terms_of_the_image_alone():
    size, step = (60, 90), step_of((60, 90), target((10, 10, 50, 40)))
    strides = (8, 16)
    made = stirred(4, strides)
    source, goals = pyramid(1, 4, size, 1, strides), pyramid(2, 4, size, 1, strides)
    wide = [[torch.nn.functional.pad(m, (0, 3, 0, 2), value=7.0) for m in maps] for maps in (source, goals)]
    alone, padded = made(source, goals, step), made(*wide, step)
    for term in TERMS:
        assert padded[term].item() == pytest.approx(alone[term].item(), rel=1e-5), term


def test_equal_maps_are_zero_apart_until_the_contexts_learn():
    maps = pyramid(1, 4, (64, 64), 1)
    found = FocalGlobal(4, STRIDES, ALPHA)(maps, maps, step_of((64, 64), target((0, 0, 30, 30))))
    assert all(value.item() == 0 for value in found.values())


def test_gradients_reach_the_student_and_both_contexts_and_not_the_teacher():
    made = stirred(4, (8,))
    own, goal = torch.randn(1, 4, 8, 8, requires_grad=True), torch.randn(1, 4, 8, 8, requires_grad=True)
    found = made([own], [goal], step_of((64, 64), target((0, 0, 30, 30))))
    torch.stack(list(found.values())).sum().backward()
    assert own.grad.any() and goal.grad is None and all(p.grad is not None for p in made.parameters())


def test_a_context_begins_by_adding_nothing():
    maps, valid = torch.randn(2, 6, 3, 4), torch.ones(2, 1, 3, 4, dtype=torch.bool)
    assert torch.equal(GlobalContext(6)(maps, valid), maps)
