"""Resize, flip and jitter change boxes and pixels together."""

import pytest
import torch

from headstart.data.dataset import Sample
from headstart.data.transforms import Transform
from headstart.errors import UserError


def sample(height=60, width=80):
    """A dark picture with one bright rectangle, which is also the box."""
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[:, 12:36, 8:40] = 200
    box = torch.tensor([[8.0, 12.0, 40.0, 36.0]])
    return Sample(image, box, torch.tensor([1]), torch.tensor([False]), 5, (height, width))


def bright_box(image):
    rows, columns = (image[0] > 100).any(1).nonzero(), (image[0] > 100).any(0).nonzero()
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("short", [30, 60, 90, (40, 70)])
def test_the_box_follows_the_pixels(short, flip):
    torch.manual_seed(0)
    result = Transform(short=short, long=200, flip=flip)(sample())
    assert result.image.dtype == torch.uint8 and result.original == (60, 80) and result.id == 5
    assert torch.allclose(result.boxes[0], torch.tensor(bright_box(result.image)).float(), atol=1.01)


@pytest.mark.parametrize(
    ("short", "long", "size", "wanted"),
    [
        (30, 100, (60, 80), (30, 40)),
        (30, 30, (60, 80), (22, 30)),
        (100, 120, (60, 80), (90, 120)),
        (60, 80, (60, 80), (60, 80)),
        (50, 1333, (1, 1000), (1, 1333)),
    ],
)
def test_sizes_keep_the_ratio(short, long, size, wanted):
    assert Transform(short=short, long=long).target_size(*size) == wanted


def test_the_range_is_drawn_and_the_input_untouched():
    torch.manual_seed(0)
    transform = Transform(short=(40, 50), long=200, flip=0.5, jitter=True)
    given = sample()
    before = given.image.clone()
    results = [transform(given) for _ in range(40)]
    assert {min(r.image.shape[1:]) for r in results} == set(range(40, 51))
    assert len({float(r.image.float().mean()) for r in results}) > 30
    assert given.image.equal(before) and given.boxes.tolist() == [[8, 12, 40, 36]]


def test_images_without_objects():
    empty = Sample(
        sample().image,
        torch.zeros(0, 4),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, dtype=torch.bool),
        1,
        (60, 80),
    )
    assert Transform(short=30, long=60, flip=1.0)(empty).boxes.shape == (0, 4)


@pytest.mark.parametrize("options", [{"short": 0}, {"short": (50, 40)}, {"short": 90, "long": 80}, {"flip": 1.5}])
def test_impossible_settings(options):
    with pytest.raises(UserError, match="found"):
        Transform(**options)
