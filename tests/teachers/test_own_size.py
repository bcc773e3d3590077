"""A teacher that sees the students' views at a size of its own."""

import pytest
import torch

from headstart.data.batch import collate
from headstart.data.dataset import Sample
from headstart.errors import UserError
from headstart.methods import build_method
from headstart.structures import ImageBatch, Progress
from headstart.teachers import Frozen, OwnSize
from headstart.teachers.own_size import AtOwnSize, ratios, resample, scale_boxes
from laws.tiny import detector, run, scene

HALF, SAME, TWICE = OwnSize(64, 128), OwnSize(128, 128), OwnSize(256, 128)


def views(sizes=((96, 128), (90, 77))):
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in sizes]
    height, width = (-(-max(side) // 32) * 32 for side in zip(*sizes))
    pixels = torch.zeros(len(sizes), 3, height, width, dtype=torch.uint8)
    for canvas, image in zip(pixels, images):
        canvas[:, : image.shape[1], : image.shape[2]] = image
    return ImageBatch(pixels, list(sizes), [0, 1], list(sizes))


def test_each_image_is_resized_by_itself_and_padded():
    batch = views()
    view = HALF.view(batch)
    assert view.sizes == [(48, 64), (45, 38)] and view.pixels.shape == (2, 3, 64, 64)
    assert view.pixels.dtype == torch.uint8 and view.ids == batch.ids and view.originals == batch.originals
    assert int(view.pixels[0, :, 48:].max()) == int(view.pixels[1, :, :, 38:].max()) == 0
    assert ratios(batch, view) == [(0.5, 0.5), (38 / 77, 0.5)]
    alone = HALF.view(ImageBatch(batch.pixels[1:, :, :90, :77], [(90, 77)], [1], [(90, 77)]))
    assert torch.equal(alone.pixels[0, :, :45, :38], view.pixels[1, :, :45, :38])
    assert TWICE.view(batch).sizes == [(192, 256), (180, 154)]


def test_maps_are_read_at_the_students_cells():
    """Of a map whose values are places in the student's image, those places come back, wherever cells lie inside."""
    for own in (HALF, TWICE, OwnSize(100, 128)):
        batch = views()
        view = own.view(batch)
        side = torch.tensor(ratios(batch, view))
        height, width = view.pixels.shape[-2:]
        rows, columns = torch.arange(height // 4) * 4 + 2.0, torch.arange(width // 4) * 4 + 2.0
        x = (columns[None] / side[:, :1])[:, None, None].expand(-1, 1, len(rows), -1)
        y = (rows[None] / side[:, 1:])[:, None, :, None].expand(-1, 1, -1, len(columns))
        (found,) = resample([torch.cat([x, y], 1)], [4], batch, view)
        assert found.shape == (2, 2, 24, 32)
        wanted = torch.arange(32) * 4 + 2.0
        inside = slice(2, 16)
        torch.testing.assert_close(found[0, 0, 0, inside], wanted[inside])
        torch.testing.assert_close(found[1, 1, inside, 0], wanted[inside])


def test_at_the_students_own_size_everything_is_as_without():
    images, _ = scene(0, size=64)
    plain, own = Frozen(detector("retinanet")), Frozen(detector("retinanet"), own=OwnSize(64, 64))
    names = ["neck", "backbone/C3", "cls_tower/0"]
    one, other = plain.taps(images, names), own.taps(images, names)
    for name in names:
        for a, b in zip(one[name], other[name], strict=True):
            torch.testing.assert_close(a, b)
    for a, b in zip(plain.detections(images), own.detections(images), strict=True):
        torch.testing.assert_close(a.boxes, b.boxes)
        assert torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("own", [HALF, TWICE])
def test_what_it_says_is_brought_back(own):
    batch = views()
    teacher = Frozen(detector("fasterrcnn"), own=own)
    view = own.view(batch)
    taps = teacher.taps(batch, ["neck", "neck/P3", "backbone/C4"])
    assert [x.shape[-2:] for x in taps["neck"]][:2] == [(24, 32), (12, 16)]
    assert torch.equal(taps["neck/P3"][0], taps["neck"][1]) and taps["backbone/C4"][0].shape[-2:] == (6, 8)
    boxes = [torch.tensor([[8.0, 8, 60, 50]]), torch.tensor([[3.0, 5, 70, 80], [0, 0, 20, 20]])]
    seen = [scale_boxes(one, side) for one, side in zip(boxes, ratios(batch, view))]
    expected = teacher.model.head.box_heads[0].read(teacher.model.extract(view).pyramid, seen)
    for a, b in zip(teacher.at(batch, boxes), expected, strict=True):
        torch.testing.assert_close(a, b)
    plain = AtOwnSize(teacher.model, own).detect(batch)
    for found, one, raw, side in zip(teacher.detections(batch), plain, teacher.model.detect(view), ratios(batch, view)):
        assert len(found) and torch.equal(found.boxes, one.boxes)
        torch.testing.assert_close(scale_boxes(found.boxes, side), raw.boxes)


def test_its_predictions_are_not_at_the_students_cells():
    teacher = Frozen(detector("gfl"), own=HALF)
    for ask in (lambda: teacher.outputs(views()), lambda: teacher.taps(views(), ["output/cls"])):
        with pytest.raises(UserError, match=r"the teacher at 64 px predicts at other cells.*leave out teacher.imgsz"):
            ask()


@pytest.mark.parametrize(
    ("name", "teacher", "says"),
    [
        ("head", "fasterrcnn", "teacher at 32 px fc0, at scaled boxes"),
        ("head", "gfl", "teacher at 32 px cls_tower, resampled"),
        ("pkd", "gfl", "teacher at 32 px neck, resampled"),
        ("cwd", "fasterrcnn", "teacher at 32 px neck, resampled"),
        ("crosskd", "fasterrcnn", "teacher at 32 px predictions at the same regions, scaled, cls"),
        ("mimic", "retinanet", None),
        ("crosskd", "retinanet", None),
    ],
)
def test_methods_work_or_refuse(name, teacher, says):
    method = build_method(name, detector("retinanet"), Frozen(detector(teacher), own=OwnSize(32, 64))).train()
    images, targets = scene(0, size=64)
    if says is None:
        with pytest.raises(UserError, match="predicts at other cells"):
            run(method, images, targets)
        return
    assert says in [row["from"] for row in method.describe()]
    objective = run(method, images, targets, Progress(50, 100))
    objective.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


def test_collated_batches_are_what_it_is_for():
    blank = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
    images, _ = collate([Sample(torch.full((3, 50, 40), 200, dtype=torch.uint8), *blank, 7, (50, 40))])
    assert HALF.view(images).sizes == [(25, 20)] and int(HALF.view(images).pixels[0, 0, 24, 19]) == 200
