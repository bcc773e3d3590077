"""Resize, flip and jitter change boxes and pixels together."""

from dataclasses import replace

import pytest
import torch
from torchvision.models.detection.transform import GeneralizedRCNNTransform

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


@pytest.mark.parametrize(("resize", "size"), [("antialias", (24, 38)), ("torchvision", (23, 38)), ("opencv", (24, 38))])
def test_other_libraries_round_sides_their_way(resize, size):
    assert Transform(short=30, long=38, resize=resize).target_size(50, 80) == size
    halves = Transform(short=5, long=100, resize=resize).target_size(10, 25)
    assert halves == {"antialias": (5, 12), "torchvision": (5, 12), "opencv": (5, 13)}[resize]


def test_torchvisions_way_to_resize():
    """Its own detectors' transform gives the same pixels; they are not rounded."""
    image = torch.randint(0, 256, (3, 50, 71), dtype=torch.uint8)
    given = replace(sample(50, 71), image=image)
    found = Transform(short=80, long=133, flip=0.0, resize="torchvision")(given)
    goal, _ = GeneralizedRCNNTransform(80, 133, [0.0] * 3, [1.0] * 3).eval()([image / 255.0])
    (height, width), *_ = goal.image_sizes
    assert found.image.dtype == torch.float32 and tuple(found.image.shape) == (3, height, width)
    torch.testing.assert_close(found.image / 255, goal.tensors[0, :, :height, :width], rtol=0, atol=1e-6)
    same = Transform(short=50, long=71, flip=0.0, resize="torchvision")(given)
    assert torch.equal(same.image, image.float())


def test_opencvs_way_to_resize():
    """Twice as large, every value lies between its four neighbours; nothing is smoothed when an image shrinks."""
    image = torch.tensor([[0, 100], [200, 40]], dtype=torch.uint8).expand(3, 2, 2)
    large = Transform(short=4, long=4, flip=0.0, resize="opencv")(replace(sample(2, 2), image=image))
    assert large.image[0, 0].tolist() == [0, 25, 75, 100]
    comb = (torch.arange(40) % 4 == 1).to(torch.uint8).mul(200).expand(3, 40, 40)
    small = Transform(short=10, long=10, flip=0.0, resize="opencv")(replace(sample(40, 40), image=comb))
    smooth = Transform(short=10, long=10, flip=0.0)(replace(sample(40, 40), image=comb))
    assert small.image[0, 0, 3] == 100 and smooth.image[0, 0, 3] < 80


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


@pytest.mark.parametrize(
    "options", [{"short": 0}, {"short": (50, 40)}, {"short": 90, "long": 80}, {"flip": 1.5}, {"resize": "pil"}]
)
def test_impossible_settings(options):
    with pytest.raises(UserError, match=r"found|resized"):
        Transform(**options)
