"""The R-CNN box head and the two-stage head around it."""

import math

import pytest
import torch
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead

from headstart.boxes import encode_deltas
from headstart.heads.roi import BOX_HEADS, STDS, BoxHead, BoxHeadOptions, cell_by_cell
from headstart.heads.selection import Selection
from headstart.structures import CellIndex, Detections, RegionOutputs, Regions
from laws.tiny import detector, scene

STRIDES = [4, 8, 16, 32, 64]


def head(**options):
    return BoxHead(2, 3, STRIDES, BoxHeadOptions(hidden=6, grid=2, **options))


@pytest.mark.parametrize(("side", "level"), [(1, 0), (111, 0), (112, 1), (223, 1), (224, 2), (448, 3), (800, 3)])
def test_a_regions_level(side, level):
    """floor(log2(side / 56)), counted from the first level, at most the fourth; the fifth is never read."""
    pyramid = [torch.full((1, 3, 1024 // s, 1024 // s), float(i)) for i, s in enumerate(STRIDES)]
    box = torch.tensor([[0.0, 0, side / 1.25, side * 1.25]])
    crops = head().pool(pyramid, [box])
    assert crops.max().item() == pytest.approx(level)


def test_images_in_order():
    pyramid = [torch.arange(2.0).reshape(2, 1, 1, 1).expand(2, 3, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    boxes = [torch.tensor([[4.0, 4, 30, 30]]), torch.tensor([[4.0, 4, 30, 30], [8.0, 8, 20, 20]])]
    assert head().pool(pyramid, boxes)[:, 0, 0, 0].tolist() == [0, 1, 1]


def test_hidden_layers_are_those_before_their_activation():
    torch.manual_seed(0)
    roi, pyramid = head(), [torch.randn(1, 3, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    boxes = [torch.tensor([[4.0, 4, 30, 30], [0, 0, 60, 60]])]
    outputs = roi(pyramid, boxes)
    crops = roi.pool(pyramid, boxes)
    every_cell = crops.permute(0, 2, 3, 1).flatten(1)
    first = roi.fcs[0](every_cell)
    second = roi.fcs[1](first.relu())
    torch.testing.assert_close(outputs.hidden, [first, second])
    torch.testing.assert_close(outputs.cls, roi.cls(second.relu()))
    assert outputs.reg.shape == (2, 8) and bool((first < 0).any())


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_entering_at_a_layer_equals_the_whole(layers):
    """With what the layer before gave; the layers that were run come out, and gradients reach what went in."""
    torch.manual_seed(0)
    roi, pyramid = head(fcs=layers), [torch.randn(1, 3, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    whole = roi(pyramid, [torch.tensor([[4.0, 4, 30, 30], [0, 0, 60, 60]])])
    assert bool((whole.hidden[0] < 0).any())  # what goes in is not activated yet
    for start in range(1, layers + 1):
        vectors = whole.hidden[start - 1].detach().requires_grad_()
        found = roi.resume(vectors, start=start)
        assert torch.equal(found.cls, whole.cls) and torch.equal(found.reg, whole.reg)
        assert len(found.hidden) == layers - start
        assert all(torch.equal(a, b) for a, b in zip(found.hidden, whole.hidden[start:], strict=True))
        found.cls.sum().backward()
        assert bool(vectors.grad.any())
    for start in (-1, 0, layers + 1):
        with pytest.raises(ValueError, match=f"start must be from 1 to {layers}, not {start}"):
            roi.resume(whole.hidden[0], start=start)


def regions(*rows):
    """(box, label, truth) -> Regions."""
    boxes, labels, matched = zip(*rows)
    index = torch.arange(len(rows))
    return Regions(
        torch.tensor(boxes).float(), torch.tensor(labels), torch.tensor(matched).float(), CellIndex(*[index] * 4)
    )


def test_weights_in_the_usual_order():
    """Those of a layer that reads channel by channel, reordered, give the same."""
    torch.manual_seed(0)
    crops, usual = torch.randn(4, 3, 7, 7), torch.randn(5, 3 * 49)
    ours = crops.permute(0, 2, 3, 1).flatten(1) @ cell_by_cell(usual, 7).T
    torch.testing.assert_close(ours, crops.flatten(1) @ usual.T)


ROW = (0, 0, 10, 10), 1, (1, 0, 11, 10)
BACKGROUND = (50, 50, 60, 60), 2, (50, 50, 60, 60)


def test_losses_by_hand():
    """Both divided by all regions; the box of the region's own class counts, and only if it is an object."""
    chosen = [regions(ROW, BACKGROUND, BACKGROUND), regions(ROW)]
    reg = torch.zeros(4, 8)
    reg[[0, 3], :4] = 99.0  # of the other class
    reg[1:3] = 99.0  # of background
    found = head().loss(RegionOutputs([], torch.zeros(4, 3), reg), chosen)
    assert found["cls"].item() == pytest.approx(math.log(3))
    assert found["box"].item() == pytest.approx(2 * (0.1 / 0.1) / 4)


def test_losses_of_no_region_have_a_gradient():
    roi = head()
    outputs = roi([torch.randn(1, 3, 64 // s, 64 // s) for s in (4, 8, 16, 32)], [torch.zeros(0, 4)])
    none = Regions(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0, 4), CellIndex.none(0))
    losses = roi.loss(outputs, [none])
    sum(losses.values()).backward()
    assert [v.item() for v in losses.values()] == [0, 0]
    assert all(p.grad is not None for p in roi.parameters())


def found_by(roi, boxes, logits, goals, size=(100, 100)):
    """Detections when the head wants to move `boxes` (R, 4) to `goals` (R, K, 4)."""
    boxes = torch.tensor(boxes).float()
    index = torch.arange(len(boxes))
    proposals = Detections(boxes, torch.ones(len(boxes)), torch.zeros_like(index), CellIndex(*[index] * 4))
    goals = torch.tensor(goals).float()
    reg = encode_deltas(boxes[:, None].expand_as(goals), goals, STDS).flatten(1)
    return roi.decode(RegionOutputs([], torch.tensor(logits).float(), reg), [proposals], [size])[0]


def test_every_class_moves_the_box_its_own_way():
    roi = head(selection=Selection(1000, 0.2, 0.5, 100))
    a, b = (10, 10, 30, 30), (40, 40, 80, 90)
    found = found_by(roi, [(12, 12, 33, 33), (0, 0, 20, 20)], [[0, 0, -9], [-9, -9, 9]], [[a, b], [a, b]])
    assert found.labels.tolist() == [0, 1] and found.scores.tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    torch.testing.assert_close(found.boxes, torch.tensor([a, b]).float(), rtol=0, atol=1e-3)
    assert found.cells.level.tolist() == [0, 0]


def test_void_outputs_take_their_share_of_the_softmax_and_nothing_else():
    roi = head(extra_logits=1, selection=Selection(1000, 0.2, 0.5, 100))
    a = (10, 10, 30, 30)
    found = found_by(roi, [a], [[2, 1, 0, 2]], [[a, a]])
    assert found.labels.tolist() == [0] and found.scores.item() == pytest.approx(1 / (2 + math.exp(-1) + math.exp(-2)))
    assert roi.cls.out_features == 4 and roi.reg.out_features == 8 and roi.rebuild(3, [4]).cls.out_features == 3


def test_nms_is_within_a_class():
    roi = head(selection=Selection(1000, 0.2, 0.5, 100))
    a, near = (10, 10, 30, 30), (10, 10, 30, 31)
    found = found_by(roi, [a, a, a], [[5, -9, 0], [4, -9, 0], [-9, 6, 0]], [[a, a], [near, a], [a, a]])
    assert found.labels.tolist() == [1, 0] and found.cells.level.tolist() == [2, 0]
    assert (
        len(found_by(head(selection=Selection(1000, 0.2, 0.5, 1)), [a, a], [[5, -9, 0], [-9, 6, 0]], [[a, a]] * 2)) == 1
    )


def test_boxes_are_clipped_and_those_without_area_dropped():
    roi = head(selection=Selection(1000, 0.2, 0.5, 100))
    a, outside = (-20, -20, 30, 30), (110, 10, 150, 60)
    found = found_by(roi, [a, outside], [[5, -9, 0], [5, -9, 0]], [[a, a], [outside, a]])
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 0, 30, 30]]), rtol=0, atol=1e-3)


def test_nothing_found():
    found = found_by(head(), [(0, 0, 9, 9)], [[-9, -9, 9]], [[(0, 0, 9, 9)] * 2])
    assert len(found) == 0 and found.boxes.shape == (0, 4)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), CellIndex.none(0))
    empty = head().decode(RegionOutputs([], torch.zeros(0, 3), torch.zeros(0, 8)), [nothing], [(9, 9)])
    assert len(empty[0]) == 0


def test_training_reads_sampled_regions_and_detecting_the_proposals():
    built = detector("fasterrcnn")
    batch, targets = scene()
    trained, detected = built(batch, targets), built(batch)
    assert detected.regions == [] and len(detected.roi.cls) == sum(len(p) for p in detected.proposals)
    assert len(trained.roi.cls) == sum(len(r) for r in trained.regions) <= 2 * 512
    for region, target in zip(trained.regions, targets):
        assert torch.equal(region.boxes[: len(target)], target.boxes)
        assert torch.equal(region.labels[: len(target)], target.labels)
    losses = built.loss(trained, targets)
    assert set(losses) == {"rpn_cls", "rpn_box", "cls", "box"}
    assert torch.equal(losses["cls"], built.head.roi.loss(trained.roi, trained.regions)["cls"])


def test_its_proposals_are_the_rpns():
    built = detector("fasterrcnn")
    batch, _ = scene()
    outputs = built(batch)
    for ours, theirs in zip(
        built.head.proposals(outputs, batch.sizes), built.head.rpn.proposals(outputs.rpn, batch.sizes)
    ):
        assert torch.equal(ours.boxes, theirs.boxes) and torch.equal(ours.cells.y, theirs.cells.y)


def test_the_convolutional_box_head_is_torchvisions():
    """Same weights, same crops, same vector."""
    torch.manual_seed(0)
    theirs = FastRCNNConvFCHead((8, 7, 7), [8] * 4, [10], norm_layer=nn.BatchNorm2d).eval()
    roi = BoxHead(
        2, 8, STRIDES, BoxHeadOptions(hidden=10, convs=BOX_HEADS["4conv1fc"][0], fcs=BOX_HEADS["4conv1fc"][1])
    ).eval()
    for block in range(4):
        conv, norm = theirs[block][0], theirs[block][1]
        for buffer in (norm.running_mean, norm.running_var):
            nn.init.uniform_(buffer, 0.5, 2.0)
        roi.convs[block].load_state_dict(conv.state_dict())
        roi.norms[block].load_state_dict(norm.state_dict())
    roi.fcs[0].weight.data = cell_by_cell(theirs[5].weight.data, 7)
    roi.fcs[0].bias.data = theirs[5].bias.data
    pyramid, boxes = [torch.randn(1, 8, 64 // s, 64 // s) for s in STRIDES[:4]], [torch.tensor([[4.0, 4, 30, 30]])]
    hidden = roi.read(pyramid, boxes)
    assert len(hidden) == 1 and roi.layers == ("fc0",)
    torch.testing.assert_close(hidden[0].relu(), theirs(roi.pool(pyramid, boxes)))


@pytest.mark.parametrize("training", [True, False])
def test_the_convolutional_box_head_reads_no_region(training):
    roi = BoxHead(2, 3, STRIDES, BoxHeadOptions(hidden=6, grid=2, convs=2, fcs=1)).train(training)
    outputs = roi([torch.randn(1, 3, 64 // s, 64 // s) for s in (4, 8, 16, 32)], [torch.zeros(0, 4)])
    assert outputs.cls.shape == (0, 3)
    outputs.cls.sum().backward()
    assert all(bool(b.isfinite().all()) for b in roi.buffers())


def test_one_box_for_all_classes():
    """In the stds of the head; smooth L1 with beta 1 takes half the square of small differences."""
    stds = (0.05, 0.05, 0.1, 0.1)
    roi = head(class_agnostic=True, stds=stds, beta=1.0)
    assert roi.reg.out_features == 4
    reg = torch.tensor([[2.5, 0, 0, 0], [99, 99, 99, 99]])
    found = roi.loss(RegionOutputs([], torch.zeros(2, 3), reg), [regions(ROW, BACKGROUND)])
    assert found["box"].item() == pytest.approx(0.5 * (2.5 - 0.1 / 0.05) ** 2 / 2)
    moved = torch.tensor([[10.0, 10, 30, 30]])
    codes = encode_deltas(moved, torch.tensor([[14.0, 8, 28, 40]]), stds)
    index = torch.zeros(1, dtype=torch.int64)
    proposals = Detections(moved, torch.ones(1), index, CellIndex(*[index] * 4))
    decoded = roi.decode(RegionOutputs([], torch.zeros(1, 3), codes), [proposals], [(100, 100)])[0]
    torch.testing.assert_close(decoded.boxes, torch.tensor([[14.0, 8, 28, 40]] * 2))
    assert decoded.labels.sort().values.tolist() == [0, 1]


def test_refining_follows_the_likeliest_class_and_never_background():
    roi = head()
    boxes = [torch.tensor([[10.0, 10, 30, 30], [10, 10, 30, 30]]), torch.tensor([[50.0, 50, 70, 70]])]
    goals = torch.tensor([[[0, 0, 20, 20], [5, 5, 50, 50]]] * 2 + [[[40, 40, 80, 95], [1, 1, 2, 2]]]).float()
    reg = encode_deltas(torch.cat(boxes)[:, None].expand_as(goals), goals, STDS).flatten(1)
    outputs = RegionOutputs([], torch.tensor([[2.0, 1, 9], [1, 2, 9], [0, -1, -9]]), reg.requires_grad_())
    first, second = roi.refine(outputs, boxes, [(40, 40), (90, 90)])
    torch.testing.assert_close(first, torch.tensor([[0.0, 0, 20, 20], [5, 5, 40, 40]]))
    torch.testing.assert_close(second, torch.tensor([[40.0, 40, 80, 90]]))
    assert not first.requires_grad


def test_a_twin_is_of_the_same_make():
    roi = BoxHead(
        2,
        3,
        STRIDES,
        BoxHeadOptions(hidden=6, grid=2, convs=1, fcs=3, class_agnostic=True, stds=(1, 1, 1, 1), beta=0.5),
    )
    rebuilt = roi.rebuild(5, [8, 16, 32, 64, 128])
    assert rebuilt.hparams == roi.hparams and rebuilt.num_classes == 2 and rebuilt.strides == [8, 16, 32, 64]
    assert rebuilt.layers == ("fc0", "fc1", "fc2") and rebuilt.convs[0].in_channels == 5 and len(rebuilt.norms) == 1
    assert (rebuilt.class_agnostic, rebuilt.stds, rebuilt.beta) == (True, (1, 1, 1, 1), 0.5)
    other = head().rebuild(3, STRIDES, num_classes=5)
    assert (other.cls.out_features, other.reg.out_features) == (6, 20)
