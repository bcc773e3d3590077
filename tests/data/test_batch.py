"""The padded batch."""

import torch

from headstart.data.batch import collate
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
