"""MGD's term against the sum of its paper."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from headstart.methods.criteria.masked_generation import Generator, MaskedGeneration
from headstart.methods.published import HEIGHT, LENGTH, WIDTH


def step_of(size, images=1):
    return SimpleNamespace(batch=SimpleNamespace(sizes=[size] * images))


class Nothing(nn.Module):
    def forward(self, maps, valid):
        return maps


@torch.no_grad()
def test_with_nothing_between_and_nothing_dropped_it_is_the_papers_sum_at_the_published_size():
    strides = (8, 128)
    shapes = [(100, 168), (7, 11)]
    source, goals = ([torch.randn(2, WIDTH, *shape) for shape in shapes] for _ in range(2))
    made = MaskedGeneration(1, strides, 0.0)
    made.generators = nn.ModuleList([Nothing(), Nothing()])
    found = made(source, goals, step_of((HEIGHT, LENGTH), 2))[""]
    goal = sum((s - t).square().sum() for s, t in zip(source, goals, strict=True)) / 2
    assert found.item() == pytest.approx(goal.item(), rel=1e-4)


@torch.no_grad()
def test_it_is_as_large_for_other_images_and_widths():
    values = []
    for side, width in ((8, 4), (16, 4), (8, 12)):
        made = MaskedGeneration(1, (8,), 0.0)
        made.generators = nn.ModuleList([Nothing()])
        maps = torch.ones(1, width, side, side)
        values.append(made([maps * 3], [maps], step_of((side * 8, side * 8)))[""].item())
    assert values == pytest.approx([4 * WIDTH * 16800] * 3)


def test_the_share_of_cells_is_dropped_in_all_channels():
    seen = []

    class Watched(Nothing):
        def forward(self, maps, valid):
            seen.append(maps)
            return maps

    made = MaskedGeneration(1, (8,), 0.65)
    made.generators = nn.ModuleList([Watched()])
    torch.manual_seed(0)
    maps = torch.ones(2, 3, 50, 50)
    made([maps], [maps], step_of((400, 400), 2))
    made([maps], [maps], step_of((400, 400), 2))
    kept = seen[0][:, 0]
    assert kept.mean().item() == pytest.approx(0.35, abs=0.03) and torch.equal(seen[0][:, 1], kept)
    assert not torch.equal(seen[1], seen[0])


@torch.no_grad()
def test_a_padded_batch_gives_the_term_of_the_image_alone():
    torch.manual_seed(0)
    made = MaskedGeneration(4, (8,), 0.0)
    source, goal = torch.randn(1, 4, 6, 8), torch.randn(1, 4, 6, 8)
    wide = [functional.pad(m, (0, 3, 0, 2), value=9.0) for m in (source, goal)]
    alone = made([source], [goal], step_of((48, 64)))[""].item()
    assert made([wide[0]], [wide[1]], step_of((48, 64)))[""].item() == pytest.approx(alone, rel=1e-5)


def test_a_generator_is_two_convolutions_with_a_relu_between():
    made, maps = Generator(3), torch.randn(1, 3, 5, 5)
    goal = made.second(functional.relu(made.first(maps)))
    torch.testing.assert_close(made(maps, torch.ones(1, 1, 5, 5, dtype=torch.bool)), goal)
