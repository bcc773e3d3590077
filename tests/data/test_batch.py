"""The padded batch."""

import pytest
import torch

from headstart.data.batch import MultiScale, collate, scale_batch
from headstart.data.dataset import Sample


def sample(height, width, boxes, number):
    image = torch.full((3, height, width), 100 + number, dtype=torch.uint8)
    count = len(boxes)
    box = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Sample(
        image, box, torch.arange(count), torch.zeros(count, dtype=torch.bool), number, (2 * height, 2 * width)
    )


def test_padding_sizes_and_targets():
    batch, targets = collate([sample(33, 64, [], 1), sample(20, 65, [[1, 2, 3, 4]], 2)])
    assert batch.pixels.shape == (2, 3, 64, 96) and batch.pixels.dtype == torch.uint8
    assert batch.sizes == [(33, 64), (20, 65)] and batch.originals == [(66, 128), (40, 130)] and batch.ids == [1, 2]
    assert batch.pixels[0, :, :33, :64].min() == 101 and batch.pixels[0].float().sum() == 3 * 33 * 64 * 101
    assert [len(t) for t in targets] == [0, 1] and targets[1].boxes.tolist() == [[1, 2, 3, 4]]


def test_no_padding_where_none_is_needed():
    assert collate([sample(64, 32, [], 1)])[0].pixels.shape == (1, 3, 64, 32)


@pytest.mark.parametrize("side", [32, 64, 96, 128])
def test_a_batch_of_another_side(side):
    """Images and boxes are scaled alike; the padding is empty, and no wider than up to the next multiple of 32."""
    images, targets = collate([sample(64, 48, [[4, 8, 36, 40]], 1), sample(33, 64, [], 2)])
    found, scaled = scale_batch(images, targets, side, 64)
    factor = side / 64
    assert found.pixels.shape == (2, 3, side, side) and found.pixels.dtype == torch.uint8
    assert found.sizes == [(side, round(48 * factor)), (round(33 * factor), side)]
    assert (found.ids, found.originals) == (images.ids, images.originals)
    torch.testing.assert_close(scaled[0].boxes, torch.tensor([[4.0, 8.0, 36.0, 40.0]]) * factor)
    assert len(scaled[1]) == 0 and targets[0].boxes.tolist() == [[4, 8, 36, 40]]
    for canvas, (height, width), value in zip(found.pixels, found.sizes, (101, 102)):
        assert bool((canvas[:, :height, :width] == value).all())
        assert int(canvas.sum()) == 3 * height * width * value


def test_the_same_side_leaves_a_batch_as_it_is():
    images, targets = collate([sample(64, 48, [[4, 8, 36, 40]], 1)])
    assert scale_batch(images, targets, 64, 64) == (images, targets)


def test_sides_are_drawn_by_seed_and_step_alone():
    scale = MultiScale(640, 320, 448, seed=3)
    sides = [scale.side(step) for step in range(200)]
    assert set(sides) == {320, 352, 384, 416, 448}
    assert sides[50:] == [MultiScale(640, 320, 448, seed=3).side(step) for step in range(50, 200)]
    assert sides != [MultiScale(640, 320, 448, seed=4).side(step) for step in range(200)]
    images, targets = collate([sample(64, 64, [[4, 8, 36, 40]], 1)])
    assert MultiScale(64, 96, 96)(images, targets, 5)[0].pixels.shape == (1, 3, 96, 96)
