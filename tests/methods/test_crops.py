"""Crops at shared boxes: the level of a box, and what is read."""

import torch

from headstart.methods.crops import crop, crop_every_level, object_level


def boxes(*sides):
    return torch.tensor([[0.0, 0, width, height] for width, height in sides])


def test_the_level_of_a_size():
    """For stride 4 the second level begins at 112 pixels, as feature pyramid networks have it; for 8 at 224."""
    sizes = boxes((10, 10), (111, 111), (112, 112), (56, 224), (224, 224), (2000, 2000), (0, 9))
    assert object_level(sizes, 4, 4).tolist() == [0, 0, 1, 1, 2, 3, 0]
    assert object_level(sizes, 8, 5).tolist() == [0, 0, 0, 0, 1, 4, 0]
    assert object_level(sizes, 4, 1).tolist() == [0] * 7


def test_a_flat_map_gives_its_value_and_each_level_its_own():
    pyramid = [torch.full((2, 3, 8, 8), 1.0), torch.full((2, 3, 4, 4), 2.0)]
    pyramid[1][1] = 5.0
    regions = [torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([[16.0, 8, 48, 56], [9, 9, 30, 30]])]
    read = crop(pyramid, [8, 16], regions, torch.tensor([0, 1, 0]), 2)
    assert read.shape == (3, 3, 2, 2)
    torch.testing.assert_close(read.mean(dim=(1, 2, 3)), torch.tensor([1.0, 5, 1]))
    fine, coarse = crop_every_level(pyramid, [8, 16], regions, 2)
    torch.testing.assert_close(fine.mean(dim=(1, 2, 3)), torch.ones(3))
    torch.testing.assert_close(coarse.mean(dim=(1, 2, 3)), torch.tensor([2.0, 5, 5]))


def test_a_ramp_is_read_at_the_centres_of_the_cells():
    """A map whose value is the x of the cell's centre: a crop's cell is the x of its own centre."""
    centres = (torch.arange(16) + 0.5) * 4
    pyramid = [centres.expand(1, 1, 16, 16).clone().requires_grad_()]
    read = crop(pyramid, [4], [torch.tensor([[10.0, 10, 30, 50]])], torch.tensor([0]), 2)
    torch.testing.assert_close(read[0, 0, 0], torch.tensor([15.0, 25.0]))
    read.sum().backward()
    assert bool(pyramid[0].grad.any())


def test_no_boxes():
    (read,) = crop_every_level([torch.rand(2, 3, 4, 4)], [8], [torch.zeros(0, 4)] * 2, 7)
    assert read.shape == (0, 3, 7, 7)
