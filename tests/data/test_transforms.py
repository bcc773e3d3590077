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


@pytest.mark.parametrize("options", [{"scale": (0.5, 2.0)}, {"crop": 1.0}, {"crop": 0.5, "scale": (0.8, 1.2)}])
def test_the_box_follows_the_pixels_of_a_part(options):
    torch.manual_seed(0)
    sizes = set()
    for _ in range(50):
        result = Transform(short=60, long=100, **options)(sample())
        height, width = result.image.shape[1:]
        sizes.add((height, width))
        assert result.image.dtype == torch.uint8 and len(result.boxes) == 1 and height <= 100 and width <= 100
        assert torch.allclose(result.boxes[0], torch.tensor(bright_box(result.image)).float(), atol=1.01)
    assert len(sizes) > 10


def test_a_scaled_image_is_cut_to_its_plain_size_or_to_the_square():
    torch.manual_seed(0)
    plain = [Transform(short=60, long=80, scale=(2.0, 2.0))(sample()).image.shape for _ in range(3)]
    square = [Transform(short=60, long=80, scale=(2.0, 2.0), square=96)(sample()).image.shape for _ in range(3)]
    small = Transform(short=60, long=80, scale=(0.5, 0.5), square=96)(sample()).image.shape
    assert set(plain) == {(3, 60, 80)} and set(square) == {(3, 96, 96)} and small == (3, 30, 40)


def test_a_part_shows_an_object_if_ten_places_have_one():
    """Two small objects in the corners and an ignored one; a random quarter would often show none."""
    torch.manual_seed(0)
    boxes = torch.tensor([[0.0, 0, 20, 16], [60, 44, 80, 60], [30, 20, 50, 40]])
    given = replace(sample(), boxes=boxes, labels=torch.tensor([0, 1, 2]), ignored=torch.tensor([False, False, True]))
    results = [Transform(short=60, long=80, scale=(2.0, 2.0))(given) for _ in range(100)]
    assert sum(bool((~r.ignored).any()) for r in results) > 97
    assert all(r.ignored.equal(r.labels == 2) and len(r.labels) == len(r.boxes) for r in results)
    assert {len(r.boxes) for r in results} >= {1, 2}


def test_without_the_new_options_nothing_more_is_drawn():
    torch.manual_seed(0)
    Transform(short=30, long=80, flip=0.5)(sample())
    after = torch.rand(())
    torch.manual_seed(0)
    torch.rand(())  # the flip
    assert torch.rand(()) == after


@pytest.mark.parametrize(
    "options",
    [
        {"short": 0},
        {"short": (50, 40)},
        {"short": 90, "long": 80},
        {"flip": 1.5},
        {"resize": "pil"},
        {"crop": 2},
        {"scale": (2, 1)},
    ],
)
def test_impossible_settings(options):
    with pytest.raises(UserError, match=r"found|resized"):
        Transform(**options)


def test_a_square_must_hold_the_image():
    with pytest.raises(UserError, match="cannot hold"):
        Transform(short=60, long=80, square=64)
