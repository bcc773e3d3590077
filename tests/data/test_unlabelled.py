"""A folder of images alone: what is in it, and how they get into batches."""

import numpy as np
import pytest
import torch

from data.data_folders import coco, picture
from headstart.data.discover import open_dataset
from headstart.data.loader import train_loader
from headstart.data.mosaic import Mixing
from headstart.data.sampler import GroupedBatchSampler, PartlyLabelledBatchSampler
from headstart.data.shapes import make_shapes
from headstart.data.summary import summarise_run
from headstart.data.transforms import Transform
from headstart.data.unlabelled import count_unlabelled, find_unlabelled, open_unlabelled
from headstart.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp("data") / "shapes", train=10, val=3, size=48)


@pytest.fixture(scope="module")
def splits(folder):
    return [open_dataset(folder, split, report=str) for split in ("train", "val")]


@pytest.fixture
def photos(tmp_path):
    """Five images at several depths, two of them upright, beside other files."""
    picture(tmp_path / "photos" / "b.JPG", 60, 40)
    picture(tmp_path / "photos" / "a.png", 50, 40)
    picture(tmp_path / "photos" / "one" / "two" / "c.webp", 40, 60)
    picture(tmp_path / "photos" / "one" / "d.jpg", 40, 70)
    picture(tmp_path / "photos" / "one" / "e.bmp", 70, 40)
    (tmp_path / "photos" / "one" / "notes.txt").write_text("no picture")
    return tmp_path / "photos"


def test_every_image_at_any_depth_without_a_label(photos, splits):
    found = open_unlabelled(photos, splits, report=str)
    names = [found.file(index).relative_to(photos).as_posix() for index in range(len(found))]
    assert names == ["a.png", "b.JPG", "one/d.jpg", "one/e.bmp", "one/two/c.webp"]
    assert found.classes == splits[0].classes and not found.labelled and found.boxes_per_class() == [0] * 10
    sample = found[2]
    assert sample.image.shape == (3, 70, 40) and not sample.labelled and len(sample.boxes) == 0
    assert set(found.ids).isdisjoint(splits[0].ids + splits[1].ids) and len(set(found.ids)) == 5
    assert splits[0][0].labelled and found.digests.all()


def test_folders_that_are_none(photos, tmp_path, splits):
    with pytest.raises(UserError, match=r"nowhere does not exist; give a folder"):
        find_unlabelled(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"a\.png is a file; give a folder"):
        find_unlabelled(photos / "a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no image"):
        open_unlabelled(tmp_path / "empty", splits)


def test_damaged_images_are_named_or_left_out(photos, splits):
    (photos / "one" / "broken.jpg").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"(?s)images without labels.*one/broken\.jpg.*--bad-data skip"):
        open_unlabelled(photos, splits, report=str)
    lines = []
    assert len(open_unlabelled(photos, splits, bad_data="skip", report=lines.append)) == 5
    assert any("broken.jpg" in line for line in lines)


def test_copies_are_told(tmp_path):
    """Of a validation image, which makes scores too high, and of a training image."""
    boxes = [{"image_id": 1, "category_id": 3, "bbox": [1, 2, 10, 10]}]
    root = coco(coco(tmp_path / "set", boxes), boxes, split="val")
    picture(root / "val" / "2.jpg", 44, 33)
    train, val = (open_dataset(root, split, bad_data="skip", report=str) for split in ("train", "val"))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.jpg").write_bytes((root / "val" / "1.jpg").read_bytes())
    picture(tmp_path / "more" / "y.jpg", 90, 60)
    found = open_unlabelled(tmp_path / "more", [train, val], report=str)
    first, *lines = summarise_run(train, val, (640, 640), found)
    assert "2 images without labels" in first
    assert any(line.startswith("Warning: 1 of the 1 val images are copies of unlabelled images") for line in lines)
    assert any(
        line.startswith("Warning: 1 of the 2 images without labels are copies of training images") for line in lines
    )


@pytest.mark.parametrize(("batch", "share", "count"), [(16, 0.5, 8), (16, 0.2, 3), (2, 0.5, 1), (5, 0.8, 4)])
def test_a_share_of_the_batch(batch, share, count):
    assert count_unlabelled(batch, share) == count


@pytest.mark.parametrize(("batch", "share"), [(1, 0.5), (4, 0.1), (4, 0.9)])
def test_a_share_that_leaves_one_kind_out_is_refused(batch, share):
    with pytest.raises(UserError, match="both kinds of images"):
        count_unlabelled(batch, share)


def sizes(landscape, portrait):
    return np.array([[30, 40]] * landscape + [[40, 30]] * portrait).reshape(-1, 2)


def mixed_sampler(batch=4, extra=2, world=1, own=(9, 4), more=(10, 7), **options):
    return PartlyLabelledBatchSampler(sizes(*own), sizes(*more), batch // world, extra, world=world, **options)


@pytest.mark.parametrize(("batch", "extra"), [(4, 2), (6, 1), (6, 4)])
@pytest.mark.parametrize("world", [1, 2])
def test_an_epoch_is_a_pass_over_the_labelled_images(batch, extra, world):
    made = mixed_sampler(batch, extra, world, seed=3)
    plain = GroupedBatchSampler(sizes(9, 4), batch - extra, seed=3)
    for epoch in range(3):
        rounds = made.rounds(epoch)
        assert rounds.shape == (len(plain), world, batch // world)
        joined = rounds.reshape(len(plain), -1)
        assert ((joined >= 13).sum(1) == extra).all()
        assert np.array_equal(joined[joined < 13].reshape(len(plain), -1), plain.rounds(epoch)[:, 0])
        per_process = (rounds >= 13).sum(2)
        assert per_process.max() - per_process.min() <= 1, "spread evenly"


def test_unlabelled_images_come_equally_often_however_many_there_are():
    for more in ((2, 1), (30, 21)):
        made = mixed_sampler(4, 2, more=more)
        counts = np.zeros(sum(more), int)
        for epoch in range(7):
            rounds = made.rounds(epoch)
            np.add.at(counts, rounds[rounds >= 13] - 13, 1)
            assert counts.max() - counts.min() <= 1


def test_orientations_stay_apart_as_far_as_they_can():
    made = mixed_sampler(4, 2, own=(20, 20), more=(30, 30))
    upright = np.r_[np.zeros(20), np.ones(20), np.zeros(30), np.ones(30)]
    shapes = upright[made.rounds(0)[:, 0]]
    assert sum(len(set(row)) == 1 for row in shapes) >= 14  # of 20, each with two images of thirty drawn of each kind
    together = mixed_sampler(4, 2, own=(20, 20), more=(30, 30), mixed=1)
    assert sum(len(set(row)) == 1 for row in upright[together.rounds(0)[:, 0]]) < 10


def test_begun_in_the_middle_of_an_epoch():
    whole = [batch for epoch in range(2) for batch in (lambda s: (s.set_epoch(epoch), list(s))[1])(mixed_sampler())]
    resumed = mixed_sampler()
    resumed.start(1, 3)
    assert list(resumed) == whole[len(resumed) + 3 :]


def test_two_processes_see_what_one_sees():
    one = mixed_sampler(8, 4, seed=1).rounds(2).reshape(-1, 8)
    two = [list(mixed_sampler(8, 4, 2, seed=1, rank=rank)) for rank in range(2)]
    both = mixed_sampler(8, 4, 2, seed=1).rounds(2).reshape(-1, 8)
    assert np.array_equal(one, both) and len(two[0]) == len(two[1]) == len(one)
    assert [[key[1] for key in batch] for batch in two[1]] == mixed_sampler(8, 4, seed=1).rounds(0)[:, 0, 4:].tolist()


def test_batches_say_which_images_have_labels(photos, splits):
    train, _ = splits
    found = open_unlabelled(photos, splits, report=str)
    transform = Transform(short=48, long=48, square=64, crop=0.5, scale=(0.5, 1.5))
    for mixing in (None, Mixing(transform, 64, mosaic=0.5, mixup=0.5, epochs=1)):
        loader = train_loader(
            train, transform, batch_size=4, mixing=mixing, square=64, unlabelled=found, extra=2, workers=0
        )
        seen = set()
        for batch, targets in loader:
            flags = [target.labelled for target in targets]
            assert sum(flags) == 2
            for number, target in zip(batch.ids, targets):
                assert target.labelled == (number in train.ids) != (number in found.ids)
                assert target.labelled or len(target) == 0  # nor of labelled images that were mixed in
                seen.add(number)
        assert len(loader) == 5 and set(train.ids) <= seen
    torch.testing.assert_close(batch.pixels.shape, torch.Size([4, 3, 64, 64]))
