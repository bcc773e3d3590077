"""Pictures of four and of two: boxes follow pixels, flags follow boxes, and nothing is read that is not seen."""

import numpy as np
import pytest
import torch
from PIL import Image

from headstart.data.dataset import DetectionDataset, Entry
from headstart.data.loader import TransformedSamples
from headstart.data.mosaic import FILL, Mixing
from headstart.data.transforms import Transform
from headstart.errors import UserError

SIDE = 64
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255)]
SHAPES = [(48, 64), (64, 48), (40, 40), (30, 90), (100, 120), (64, 64)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Six black pictures, each with a rectangle of a colour of its own; that of the fourth is ignored."""
    folder = tmp_path_factory.mktemp("rectangles")
    entries = []
    for number, (height, width) in enumerate(SHAPES):
        pixels = np.zeros((height, width, 3), np.uint8)
        x1, y1, x2, y2 = width // 4, height // 4, width // 4 * 3, height // 4 * 3
        pixels[y1:y2, x1:x2] = COLOURS[number]
        Image.fromarray(pixels).save(folder / f"{number}.png")
        box = np.array([[x1, y1, x2, y2]], np.float32)
        entries.append(
            Entry(f"{number}.png", 100 + number, (height, width), box, np.array([number]), np.array([number == 3]))
        )
    return DetectionDataset(entries, [str(n) for n in range(6)], path=folder, split="train")


def mixing(mosaic=1.0, mixup=0.0, **options) -> Mixing:
    return Mixing(Transform(short=SIDE, long=SIDE, **options), SIDE, mosaic=mosaic, mixup=mixup, epochs=3)


def samples(mixing, dataset, count=60):
    prepared = TransformedSamples(dataset, mixing.transform, 3, mixing)
    for number in range(count):
        yield number % 6, prepared[number % 3, number % 6]


@pytest.mark.parametrize("scale", [None, (0.5, 1.5), (0.2, 0.4), (2.0, 2.0)])
def test_boxes_follow_the_pixels(dataset, scale):
    seen = 0
    for index, sample in samples(mixing(scale=scale), dataset):
        assert sample.image.shape == (3, SIDE, SIDE) and sample.image.dtype == torch.uint8
        assert sample.id == 100 + index and sample.original == (SIDE, SIDE)
        assert sample.ignored.equal(sample.labels == 3)
        for box, label in zip(sample.boxes, sample.labels.tolist()):
            coloured = ((sample.image > 127) == (torch.tensor(COLOURS[label]) > 0)[:, None, None]).all(0)
            rows, columns = coloured.any(1).nonzero(), coloured.any(0).nonzero()
            found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            if coloured.sum() < (found[2] - found[0]) * (found[3] - found[1]) - 12:
                continue  # the same image twice; corners are rounded off by the resize
            torch.testing.assert_close(box, found.float(), rtol=0, atol=1.01)
            seen += 1
    assert seen > 30


def test_four_images_meet_and_the_rest_is_grey(dataset):
    """Half as large, the canvas of two sides is the picture, so that all four are in it."""
    torch.manual_seed(0)
    for index in range(6):
        sample = mixing(scale=(0.5, 0.5))(dataset, index)
        assert len(sample.labels) >= 3 and index in sample.labels.tolist()
        assert (sample.image == FILL).all(0).any()


def test_a_mosaic_that_is_smaller_than_the_picture_is_padded_right_and_below(dataset):
    for _, sample in samples(mixing(scale=(0.25, 0.25), flip=0.0), dataset, 12):
        assert (sample.image[:, 32:] == FILL).all() and (sample.image[:, :, 32:] == FILL).all()
        assert (sample.image[:, :32, :32] != FILL).any()


def test_what_is_not_seen_is_not_read(dataset, monkeypatch):
    read = []
    inner = DetectionDataset.__getitem__
    monkeypatch.setattr(DetectionDataset, "__getitem__", lambda self, index: read.append(index) or inner(self, index))
    pictures = list(samples(mixing(scale=(2.0, 2.0)), dataset))
    assert len(pictures) <= len(read) < 2.5 * len(pictures)
    torch.manual_seed(0)
    mixing(scale=(0.5, 0.5))(dataset, 2)
    assert len(read[-4:]) == 4 and read[-4] == 2


def test_a_window_shows_an_object_where_it_can(dataset):
    """The rectangles cover a quarter of each image; at random places one window in ten or so would show none."""
    pictures = [sample for _, sample in samples(mixing(scale=(2.0, 2.0)), dataset, 100)]
    assert sum(not (~sample.ignored).any() for sample in pictures) <= 2


def test_a_mixture_is_the_mean_and_has_the_objects_of_both(dataset):
    """Both images lie in the upper left corner; what one does not cover is 114."""
    made = mixing(mosaic=0.0, mixup=1.0, flip=0.0)

    def on_canvas(index):
        canvas = torch.full((3, SIDE, SIDE), FILL, dtype=torch.int32)
        image = made.transform(dataset[index]).image
        canvas[:, : image.shape[1], : image.shape[2]] = image
        return canvas

    for index, sample in samples(made, dataset, 30):
        assert len(sample.labels) == 2 and sample.labels[0] == index and sample.id == 100 + index
        other = int(sample.labels[1])
        assert sample.image.equal(((on_canvas(index) + on_canvas(other)) // 2).to(torch.uint8))
        assert sample.boxes.equal(torch.cat([made.transform(dataset[n]).boxes for n in (index, other)]))
        assert sample.ignored.equal(sample.labels == 3)


@pytest.mark.parametrize("angles", [{"rotate": 10.0, "shear": 2.0}, {"rotate": 90.0}])
@pytest.mark.parametrize("scale", [None, (0.5, 1.5)])
def test_turned_boxes_hold_the_pixels(dataset, angles, scale):
    """Rectangles stand upright no longer, so their boxes are around what is seen of them, or a little larger."""
    seen = 0
    for index, sample in samples(mixing(scale=scale, **angles), dataset):
        assert sample.image.shape == (3, SIDE, SIDE) and sample.id == 100 + index
        assert sample.ignored.equal(sample.labels == 3)
        for box, label in zip(sample.boxes, sample.labels.tolist()):
            coloured = ((sample.image > 127) == (torch.tensor(COLOURS[label]) > 0)[:, None, None]).all(0)
            rows, columns = coloured.any(1).nonzero(), coloured.any(0).nonzero()
            if not len(rows):
                continue  # an ignored sliver
            found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
            if bool((box[:2] > found[:2] + 1.5).any() or (box[2:] < found[2:] - 1.5).any()):
                continue  # the same image twice
            assert bool(((box[2:] - box[:2]) <= (found[2:] - found[:2]) * 2 + 16).all())
            seen += 1
    assert seen > 60


def test_a_turned_mosaic_is_covered_to_its_corners(tmp_path, monkeypatch):
    """Four squares that meet in the middle cover all; turning the finished picture would bare its corners."""
    monkeypatch.setattr("headstart.data.mosaic.CENTRE", (1.0, 1.0))
    Image.fromarray(np.zeros((SIDE, SIDE, 3), np.uint8)).save(tmp_path / "0.png")
    box = np.array([[10, 10, 50, 50]], np.float32)
    entry = Entry("0.png", 0, (SIDE, SIDE), box, np.zeros(1, np.int64), np.zeros(1, bool))
    square = DetectionDataset([entry], ["a"], path=tmp_path, split="train")
    made = mixing(scale=(1.0, 1.0), rotate=45.0, shear=5.0)
    for seed in range(20):
        assert not TransformedSamples(square, made.transform, seed, made)[0, 0].image.any()


def test_without_angles_nothing_more_is_drawn(dataset):
    """Pictures of runs from before there were angles are the same."""
    for (_, one), (_, other) in zip(samples(mixing(), dataset, 12), samples(mixing(rotate=0.0), dataset, 12)):
        assert one.image.equal(other.image)


def test_the_other_image_of_a_mixture_may_be_a_mosaic(dataset):
    counts = {}
    for both in (False, True):
        transform = Transform(short=SIDE, long=SIDE, scale=(0.5, 0.5))
        made = Mixing(transform, SIDE, mosaic=1.0, mixup=1.0, mixup_mosaic=both, epochs=3)
        counts[both] = sum(len(sample.labels) for _, sample in samples(made, dataset, 30)) / 30
    assert 4 < counts[False] <= 5 < 6.5 < counts[True] <= 8


def test_probabilities(dataset):
    pictures = [sample for _, sample in samples(mixing(mosaic=0.5), dataset, 120)]
    made = sum(sample.image.shape == (3, SIDE, SIDE) and sample.original == (SIDE, SIDE) for sample in pictures)
    # A plain image of 64 x 64 px looks like one: a sixth of the half.
    assert 0.4 < (made - 10) / 120 < 0.6


def test_images_without_objects_and_images_that_are_hardly_seen(tmp_path):
    """Stripes of 4 x 200 px leave most of the canvas empty: a window that sees none of them is grey, and no error."""
    Image.fromarray(np.zeros((200, 4, 3), np.uint8)).save(tmp_path / "0.png")
    empty = Entry("0.png", 0, (200, 4), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
    stripes = DetectionDataset([empty], ["a"], path=tmp_path, split="train")
    grey = 0
    made = mixing(scale=(2.0, 2.0))
    for seed in range(20):
        sample = TransformedSamples(stripes, made.transform, seed, made)[0, 0]
        assert sample.boxes.shape == (0, 4) and sample.labels.dtype == torch.int64
        grey += bool((sample.image == FILL).all())
    assert grey > 0


def test_the_last_epochs_are_of_plain_images(dataset):
    made = mixing(mixup=1.0)
    with_mixing, plain = (TransformedSamples(dataset, made.transform, 3, m) for m in (made, None))
    assert all(with_mixing[3, n].image.equal(plain[3, n].image) for n in range(6))
    assert not with_mixing[2, 0].image.equal(plain[2, 0].image)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mosaic": 1.5}, "probability"),
        ({"mixup": -0.1}, "probability"),
        ({"resize": "torchvision"}, "whole pixel values"),
    ],
)
def test_impossible_settings(options, said):
    with pytest.raises(UserError, match=said):
        mixing(**options)
    with pytest.raises(UserError, match="cannot hold images of 64"):
        Mixing(Transform(short=SIDE, long=SIDE), 32, mosaic=1.0, epochs=1)
