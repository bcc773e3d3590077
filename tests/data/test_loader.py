"""Batches are the same whoever makes them and wherever one begins."""

import pytest
import torch

from data.data_folders import picture
from headstart.data.discover import open_dataset
from headstart.data.loader import train_loader, val_loader
from headstart.data.mosaic import Mixing
from headstart.data.shapes import make_shapes
from headstart.data.transforms import Transform
from headstart.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=14, val=5, size=48)


@pytest.fixture(scope="module")
def dataset(folder):
    return open_dataset(folder, "train", report=str)


def loader(dataset, **options):
    return train_loader(dataset, Transform(short=(32, 64), long=80, jitter=True), batch_size=3, seed=5, **options)


def mixed(dataset, **options):
    """Everything that is drawn: mosaics and mixtures in the first of two epochs, scaled, cropped and recoloured."""
    transform = Transform(short=64, long=64, jitter=True, hsv=True, crop=0.5, scale=(0.5, 1.5), square=64)
    mixing = Mixing(transform, 64, mosaic=0.7, mixup=0.5, epochs=1)
    return train_loader(dataset, transform, **{"batch_size": 3, "seed": 5, "mixing": mixing, "square": 64, **options})


def same(a, b):
    return (
        a[0].pixels.equal(b[0].pixels)
        and (a[0].sizes, a[0].ids, a[0].originals) == (b[0].sizes, b[0].ids, b[0].originals)
        and all(
            x.boxes.equal(y.boxes) and x.labels.equal(y.labels) and x.ignored.equal(y.ignored)
            for x, y in zip(a[1], b[1], strict=True)
        )
    )


def epochs(loader, count, start=0):
    for epoch in range(start, count):
        loader.batch_sampler.set_epoch(epoch)
        yield from loader


@pytest.mark.parametrize("make", [loader, mixed])
@pytest.mark.parametrize("workers", [0, 2])
def test_begun_in_the_middle_of_an_epoch(dataset, workers, make):
    whole = list(epochs(make(dataset), 2))
    resumed = make(dataset, workers=workers)
    torch.manual_seed(workers)
    resumed.batch_sampler.start(0, 2)
    rest = list(epochs(resumed, 2))
    assert len(whole) == 10 and len(rest) == 8
    assert all(same(a, b) for a, b in zip(whole[2:], rest))
    assert not whole[0][0].pixels.equal(whole[5][0].pixels)


def test_augmentation_depends_on_the_epoch_and_not_on_the_batch(dataset):
    first, second = (dict(_by_image(loader(dataset), epoch)) for epoch in (0, 1))
    small = dict(_by_image(train_loader(dataset, loader(dataset).dataset.transform, batch_size=2, seed=5), 0))
    assert all(torch.equal(first[i], small[i]) for i in first)
    assert any(first[i].shape != second[i].shape or not torch.equal(first[i], second[i]) for i in first)


def _by_image(some, epoch):
    some.batch_sampler.set_epoch(epoch)
    for batch, _ in some:
        for pixels, (height, width), number in zip(batch.pixels, batch.sizes, batch.ids):
            yield number, pixels[:, :height, :width]


def test_the_callers_random_numbers_are_left_alone(dataset):
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    batches = loader(dataset)
    state = torch.get_rng_state()
    batches.dataset[(0, 1)]
    assert torch.get_rng_state().equal(state) and torch.rand(3).equal(wanted)


def test_two_processes_make_the_mosaics_of_one(dataset):
    shares = [list(epochs(mixed(dataset, rank=rank, world=2), 2)) for rank in (0, 1)]
    joined = list(epochs(mixed(dataset, batch_size=6), 2))
    assert len(joined) == len(shares[0]) == 6
    for whole, *parts in zip(joined, *shares):
        assert whole[0].pixels.equal(torch.cat([images.pixels for images, _ in parts]))
        targets = [t for _, part in parts for t in part]
        assert all(x.boxes.equal(y.boxes) for x, y in zip(whole[1], targets, strict=True))


def test_a_mosaic_does_not_depend_on_its_batch(dataset):
    first, small = (
        {
            number: pixels
            for images, _ in mixed(dataset, batch_size=size)
            for number, pixels in zip(images.ids, images.pixels)
        }
        for size in (3, 2)
    )
    assert all(torch.equal(first[number], small[number]) for number in dataset.ids)


@pytest.mark.parametrize("workers", [0, 1])
def test_squares(folder, workers):
    """Every batch has the same shape, and the images lie in the upper left corner."""
    val = open_dataset(folder, "val", report=str)
    small = Transform(short=30, long=40, flip=0)
    batches = list(val_loader(val, small, batch_size=2, workers=workers, square=64))
    plain = list(val_loader(val, small, batch_size=2))
    for (square, targets), (images, boxes) in zip(batches, plain, strict=True):
        assert square.pixels.shape[1:] == (3, 64, 64) and images.pixels.shape[1:] == (3, 32, 32)
        assert square.sizes == images.sizes == [(30, 30)] * len(images) and square.originals == images.originals
        assert square.pixels[:, :, :32, :32].equal(images.pixels) and not square.pixels[:, :, 32:].any()
        assert all(a.boxes.equal(b.boxes) for a, b in zip(targets, boxes))


def test_two_processes_share_the_epoch(dataset):
    shares = [loader(dataset, rank=rank, world=2) for rank in (0, 1)]
    ids = [[number for batch, _ in share for number in batch.ids] for share in shares]
    assert len(ids[0]) == len(ids[1]) == 9 and set(ids[0]) | set(ids[1]) == set(dataset.ids)
    alone = train_loader(dataset, loader(dataset).dataset.transform, batch_size=6, seed=5)
    joined = [batch.ids for batch, _ in alone]
    pairs = [a + b for a, b in zip(*map(_threes, ids))]
    assert pairs == joined, "two processes see the batches of one with the double size"


def _threes(values):
    return [values[i : i + 3] for i in range(0, len(values), 3)]


@pytest.mark.parametrize("workers", [0, 1])
def test_validation_in_file_order(folder, workers):
    val = open_dataset(folder, "val", report=str)
    batches = list(val_loader(val, Transform(short=48, long=64, flip=0), batch_size=2, workers=workers))
    assert [number for batch, _ in batches for number in batch.ids] == val.ids and len(batches) == 3
    assert batches[0][0].pixels.shape == (2, 3, 64, 64) and batches[0][0].originals == [(48, 48)] * 2


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_without_a_traceback(tmp_path, workers):
    root = make_shapes(tmp_path / "shapes", train=4, val=1, size=32)
    dataset = open_dataset(root, "train", report=str)
    picture(root / "train" / "000002.jpg").write_bytes(b"broken")
    for some in (
        train_loader(dataset, Transform(short=32, long=64), batch_size=2, workers=workers),
        mixed(dataset, workers=workers),
    ):
        with pytest.raises(UserError) as caught:
            list(some)
        assert "000002.jpg cannot be decoded" in str(caught.value) and "Traceback" not in str(caught.value)


def test_a_negative_seed(dataset):
    with pytest.raises(UserError, match="seed must be at least 0"):
        train_loader(dataset, Transform(), batch_size=2, seed=-1)
