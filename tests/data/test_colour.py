"""Hue, saturation and value: against Python's own colorsys."""

import colorsys

import pytest
import torch

from headstart.data.colour import jitter_hsv, shift_hsv


def colours():
    """(3, 20, 20): random colours, all greys, and the corners of the cube."""
    torch.manual_seed(0)
    drawn = torch.randint(0, 256, (3, 272))
    grey = torch.linspace(0, 255, 120).round().long().expand(3, -1)
    corners = torch.cartesian_prod(*[torch.tensor([0, 255])] * 3).T
    return torch.cat([drawn, grey, corners], 1).to(torch.uint8).reshape(3, 20, 20)


@pytest.mark.parametrize("shift", [(0, 0, 0), (10, 0, 0), (-10, 30, -30), (7.5, -21, 30), (0, -255, 0), (120, 0, 0)])
def test_as_colorsys(shift):
    given = colours()
    found = shift_hsv(given, *shift)
    wanted = []
    for pixel in (given.flatten(1).T.double() / 255).tolist():
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        moved = ((hue + shift[0] / 360) % 1, saturation + shift[1] / 255, value + shift[2] / 255)
        wanted.append(colorsys.hsv_to_rgb(moved[0], *(min(1, max(0, x)) for x in moved[1:])))
    exact = torch.tensor(wanted).T.reshape(3, 20, 20) * 255
    assert found.dtype == torch.uint8 and (found - exact).abs().max() < 0.51
    if shift == (0, 0, 0):
        assert found.equal(given)


def test_each_is_drawn_or_not():
    """With probability 1/8 nothing is drawn at all, and the picture is the same object."""
    torch.manual_seed(0)
    given = colours()
    before = given.clone()
    results = [jitter_hsv(given) for _ in range(200)]
    same = sum(result is given for result in results)
    assert 10 <= same <= 45 and given.equal(before)
    assert len({tuple(result.flatten().tolist()) for result in results}) > 150
    assert max(float((result.float().amax(0) - given.float().amax(0)).abs().max()) for result in results) <= 30.5
