import numpy as np
import pytest
import torch

from headstart.config import GIVEN, Data, Run, Train
from headstart.data.batch import MultiScale
from headstart.data.dataset import Sample
from headstart.data.discover import open_dataset
from headstart.detectors.zoo import build_detector
from headstart.engine.batches import ResumableBatches
from headstart.engine.build import (
    count_steps,
    first_part,
    learning_rate,
    make_lanes,
    multi_scale,
    resolve_auto,
    training_batches,
    validation_batches,
)
from headstart.engine.precision import choose_precision
from headstart.errors import UserError
from headstart.recipe import check_run

CPU = torch.device("cpu")


def run_of(batch: int = 8, **train) -> Run:
    return check_run({"data": {"path": "x", "batch": batch}, "student": "retinanet_r18", "train": train})


@pytest.mark.parametrize(
    "train, batch, lr, warmup",
    [
        ({}, 16, 0.01, 500),
        ({}, 8, 0.005, 500),
        ({"optimizer": "adamw"}, 32, 2e-4, 500),
        ({"lr": 0.3, "warmup": 7}, 8, 0.3, 7),
        ({"steps": 200}, 16, 0.01, 20),
    ],
)
def test_auto_is_settled_in_proportion_and_stays(train, batch, lr, warmup):
    run = run_of(batch, **train)
    settled, precision = resolve_auto(run, count_steps(run.train, 1000), CPU)
    assert settled.train.lr == pytest.approx(lr)
    assert settled.train.warmup == warmup
    assert settled.train.precision == precision.name
    assert resolve_auto(settled, 10, CPU)[0] == settled


@pytest.mark.parametrize(
    "train, drops",
    [
        ({"schedule": "1x"}, (80, 110)),
        ({"epochs": 24}, (160, 220)),
        ({"epochs": 10, "milestones": [5, 8]}, (50, 80)),
        ({"steps": 55, "milestones": [30]}, (30,)),
    ],
)
def test_milestones_count_in_the_unit_of_the_length(train, drops):
    settings = Train(lr=1.0, warmup=0, **train)
    assert learning_rate(settings, count_steps(settings, 10)).milestones == drops


@pytest.mark.parametrize("flags, wanted, name", [(set(), "auto", "fp32"), ({"amx_bf16"}, "auto", "bf16")])
def test_bf16_only_where_the_processor_has_it(monkeypatch, flags, wanted, name):
    monkeypatch.setattr("headstart.engine.precision._cpu_flags", lambda: flags)
    precision = choose_precision(wanted, "auto", CPU)
    assert precision.name == name
    assert precision.channels_last == (name == "bf16")
    assert choose_precision("bf16", False, CPU).dtype is torch.bfloat16


class Epochs:
    """A loader of three batches per epoch, named (epoch, place)."""

    def __init__(self) -> None:
        self.batch_sampler = self
        self.at = (0, 0)

    def __len__(self) -> int:
        return 3

    def start(self, epoch: int, batch: int) -> None:
        self.at = (epoch, batch)

    def __iter__(self):
        epoch, first = self.at
        return iter([(epoch, place) for place in range(first, 3)])


def test_a_feed_begins_anywhere_and_ends_anywhere():
    whole = list(ResumableBatches(Epochs(), total=8))
    assert whole == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    for start in range(9):
        feed = ResumableBatches(Epochs(), total=8, start=start)
        assert list(feed) == whole[start:]
        assert len(feed) == 8 - start


def test_batch_must_be_shared_equally():
    with pytest.raises(UserError, match="multiple of 3"):
        training_batches(run_of(8).data, None, run_of(8).train, 0, 3)  # ty: ignore[invalid-argument-type]


@pytest.mark.parametrize(
    ("share", "total", "per_epoch", "epochs"),
    [
        (0.1, 300, 1, 270),
        (0.1, 1000, 100, 9),
        (0.1, 500, 100, 4),  # half an epoch: one at least
        (0.1, 1550, 100, 14),  # ends inside an epoch: one whole epoch at least, and what is left
        (0.3, 1000, 100, 7),
        (0.25, 1000, 100, 8),  # begins with an epoch
        (0.0, 1550, 100, 16),  # to the end
        (0.1, 100, 100, 0),
    ],
)
def test_the_last_part_begins_with_an_epoch(share, total, per_epoch, epochs):
    assert first_part(Data(path="x", mosaic_off=share), total, per_epoch) == epochs


@pytest.mark.parametrize("key", ["mosaic", "mixup"])
def test_a_run_too_short_for_a_mosaic_is_refused(key):
    with pytest.raises(UserError, match=rf"too short for data\.{key}: it has 50 steps.*data\.mosaic_off=0"):
        first_part(Data(path="x", **{key: 0.5}), 50, 40)
    assert first_part(Data(path="x", mosaic_off=0, **{key: 0.5}), 50, 40) == 2


def test_settings_of_the_augmentation_reach_the_loader(shapes):
    mixing = {"mosaic": 0.5, "mixup": 0.2, "mixup_mosaic": True}
    data = Data(path=str(shapes), imgsz=64, batch=2, scale=(0.5, 2), crop=0.3, hsv=True, rotate=10, shear=2, **mixing)
    loader = training_batches(data, open_dataset(shapes, "train"), Train(steps=20, seed=3))
    samples = loader.dataset
    assert samples.seed == 3 and (samples.mixing.mosaic, samples.mixing.mixup, samples.mixing.epochs) == (0.5, 0.2, 3)
    assert samples.mixing.side == 64 and samples.mixing.transform is samples.transform
    assert (samples.transform.scale, samples.transform.crop, samples.transform.hsv) == ((0.5, 2), 0.3, True)
    assert (samples.transform.rotate, samples.transform.shear, samples.mixing.mixup_mosaic) == (10, 2, True)
    assert loader.batch_sampler.mixed == 3 and samples.transform.square is None
    plain = training_batches(Data(path="x", imgsz=64, batch=2), samples.dataset, Train(steps=20))
    assert plain.dataset.mixing is None and plain.batch_sampler.mixed == 0


def test_sides_of_batches():
    assert multi_scale(Data(path="x"), 3) is None
    assert multi_scale(Data(path="x", imgsz=416, multi_scale=(320, 640)), 3) == MultiScale(416, 320, 640, 3)


def test_squares_in_training_and_evaluation(shapes):
    data = Data(path=str(shapes), imgsz=96, batch=2, square=True)
    wide = Portraits(open_dataset(shapes, "val"))
    for loader in (training_batches(data, wide, Train(steps=20)), validation_batches(data, wide)):
        images, _ = next(iter(loader))
        assert images.pixels.shape == (2, 3, 96, 96) and images.sizes == [(96, 72)] * 2


class Portraits:
    """As many black images of 48 x 64 px, with the same boxes."""

    def __init__(self, dataset):
        self.dataset, self.sizes = dataset, np.array([[64, 48]] * len(dataset))

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        notes = (torch.from_numpy(values.copy()) for values in self.dataset.annotations(index))
        return Sample(torch.zeros(3, 64, 48, dtype=torch.uint8), *notes, id=index, original=(64, 48))


def test_a_student_made_by_hand_must_have_the_classes_of_the_data():
    run = check_run({"data": "x", "student": {"name": GIVEN}})
    classes = ["cat", "dog"]
    student = build_detector("retinanet_mnv2_050", classes[::-1], width=16, pretrained=False)
    resolved, _ = resolve_auto(run, 10, CPU)
    with pytest.raises(UserError, match=r"^the student knows the classes dog, cat; the data has cat, dog\."):
        make_lanes(resolved, classes, [], 10, student=student)
    (lane,) = make_lanes(resolved, classes[::-1], [], 10, student=student)
    assert lane.method.student is not student
