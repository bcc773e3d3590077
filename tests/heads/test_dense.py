"""How boxes are chosen from dense predictions, on maps made by hand."""

from dataclasses import fields

import pytest
import torch

from headstart.heads.atss import ATSSHead
from headstart.heads.cells import CellHead, CellOptions, flatten
from headstart.heads.convention import Convention
from headstart.heads.dense import DenseHead
from headstart.heads.fcos import FCOSHead, FCOSOptions
from headstart.heads.gfl import GFLHead
from headstart.heads.reppoints import RepPointsHead
from headstart.heads.retina import RetinaHead
from headstart.heads.selection import PROPOSALS, Selection
from headstart.structures import DenseOutputs

STRIDES = [8, 16]
SIZE = (64, 96)
NOTHING = -20.0


def make(**options):
    chosen = Selection(
        **({"nms_pre": 100, "score_threshold": 0.3, "iou_threshold": 0.5, "max_detections": 50} | options)
    )
    return FCOSHead(3, 4, STRIDES, FCOSOptions(width=4, depth=2, selection=chosen))


def logit(p):
    return torch.logit(torch.tensor(p, dtype=torch.float64)).item()


def said(*objects, quality=1 - 1e-9, size=SIZE):
    """Outputs that see `objects` (level, y, x, class, probability, (l, t, r, b)) and nothing else."""
    shapes = [(64 // s, 96 // s) for s in STRIDES]
    cls = [torch.full((1, 3, *shape), NOTHING) for shape in shapes]
    reg = [torch.ones(1, 4, *shape) for shape in shapes]
    for level, y, x, label, p, distances in objects:
        cls[level][0, label, y, x] = logit(p)
        reg[level][0, :, y, x] = torch.tensor(distances)
    return DenseOutputs(cls, reg, [torch.full((1, 1, *shape), logit(quality)) for shape in shapes], [size])


BOX = (10.0, 12.0, 14.0, 16.0)


def only(found):
    (image,) = found
    return image


def test_a_detection_in_full():
    found = only(make().decode(said((1, 2, 3, 2, 0.8, BOX), quality=0.5), [SIZE]))
    assert len(found) == 1 and found.labels.item() == 2 and found.scores.item() == pytest.approx(0.4)
    assert found.boxes.tolist() == [[56 - 10, 40 - 12, 56 + 14, 40 + 16]]
    assert [int(getattr(found.cells, key)) for key in ("level", "y", "x", "anchor")] == [1, 2, 3, 0]


def test_the_threshold_asks_the_class_alone():
    """Quality lowers the score afterwards, as in the official code."""
    outputs = said((0, 1, 1, 0, 0.31, BOX), (0, 4, 8, 0, 0.29, BOX), quality=0.1)
    assert only(make().decode(outputs, [SIZE])).scores.tolist() == [pytest.approx(0.031)]
    assert len(only(make(score_threshold=None).decode(outputs, [SIZE]))) == 50


def test_one_cell_may_say_several_classes():
    outputs = said((0, 3, 3, 0, 0.9, BOX), (0, 3, 3, 1, 0.6, BOX))
    assert only(make().decode(outputs, [SIZE])).labels.tolist() == [0, 1]


def test_weaker_boxes_of_the_same_class_are_removed_on_every_level():
    """Four boxes in one place: two of a class (on two levels), one of another, and one that overlaps too little."""
    same = (0, 3, 3, 0, 0.9, (12.0, 12, 12, 12)), (1, 1, 1, 0, 0.8, (8.0, 8, 16, 16))
    other = (1, 1, 2, 1, 0.7, (24.0, 8, 0.5, 16)), (0, 3, 5, 0, 0.6, (12.0, 12, 12, 12))
    found = only(make().decode(said(*same, *other), [SIZE]))
    assert [round(s, 2) for s in found.scores.tolist()] == [0.9, 0.7, 0.6]
    assert found.labels.tolist() == [0, 1, 0] and found.cells.level.tolist() == [0, 1, 0]


def test_the_best_are_kept_per_level_and_per_image():
    spread = [(level, y, x, 0, 0.5 + 0.01 * (4 * y + x) + 0.2 * level, (1.0, 1, 1, 1)) for level in (0, 1)
              for y in range(3) for x in range(4)]  # fmt: skip
    found = only(make(nms_pre=5).decode(said(*spread), [SIZE]))
    assert found.cells.level.bincount().tolist() == [5, 5]
    assert found.scores.tolist() == pytest.approx([0.81, 0.8, 0.79, 0.78, 0.77, 0.61, 0.6, 0.59, 0.58, 0.57], abs=1e-5)
    assert only(make(max_detections=3).decode(said(*spread), [SIZE])).scores.tolist() == pytest.approx(
        [0.81, 0.8, 0.79], abs=1e-5
    )


def test_boxes_are_clipped_to_the_valid_area_and_those_without_area_dropped():
    outputs = said((0, 0, 0, 0, 0.9, (50.0, 50, 5, 5)), (0, 7, 11, 0, 0.8, (1.0, 1, 2, 2)))
    found = only(make().decode(outputs, [(40, 50)]))
    assert found.boxes.tolist() == [[0, 0, 9, 9]]
    assert only(make().decode(outputs, [SIZE])).boxes.tolist() == [[0, 0, 9, 9], [91, 59, 94, 62]]


def test_nothing_found():
    found = only(make().decode(said(), [SIZE]))
    assert len(found) == 0 and found.boxes.shape == (0, 4) and len(found.cells) == 0


def test_images_of_a_batch_do_not_mix():
    one, two = said((0, 1, 1, 0, 0.9, BOX)), said((1, 2, 2, 1, 0.7, BOX))
    both = DenseOutputs(*([torch.cat(pair) for pair in zip(getattr(one, key), getattr(two, key))]
                          for key in ("cls", "reg", "quality")), [SIZE, SIZE])  # fmt: skip
    found = make().decode(both, [SIZE, SIZE])
    assert [image.labels.tolist() for image in found] == [[0], [1]]
    assert [image.cells.level.tolist() for image in found] == [[0], [1]]


def test_proposals_are_class_agnostic_and_quality_does_not_count():
    head = make()
    outputs = said((0, 3, 3, 0, 0.6, BOX), (0, 3, 3, 2, 0.9, BOX), quality=0.1)
    best = only(head.proposals(outputs, [SIZE]))[0:1]
    assert best.scores.item() == pytest.approx(0.9, abs=1e-5) and best.labels.item() == 0
    assert [int(best.cells.y), int(best.cells.x)] == [3, 3]
    assert head.proposing is PROPOSALS and len(only(head.proposals(outputs, [SIZE]))) > 50  # without a threshold


def test_proposals_compete_within_their_level_only():
    head = make()
    twins = (0, 3, 3, 0, 0.9, (12.0, 12, 12, 12)), (1, 1, 1, 1, 0.8, (8.0, 8, 16, 16))
    rival = (0, 3, 4, 2, 0.7, (20.0, 12, 4, 12))
    found = only(head.propose(said(*twins, rival), [SIZE], Selection(100, None, 0.7, 2)))
    assert found.cells.level.tolist() == [0, 1] and found.scores.tolist() == pytest.approx([0.9, 0.8], abs=1e-5)


def test_proposals_are_the_best_over_all_levels():
    spread = [(level, 0, 2 * x, 0, 0.5 + 0.1 * x + 0.05 * level, (1.0, 1, 1, 1)) for level in (0, 1) for x in range(3)]
    found = only(make().propose(said(*spread), [SIZE], Selection(100, None, 0.7, 4)))
    assert found.scores.tolist() == pytest.approx([0.75, 0.7, 0.65, 0.6], abs=1e-5)
    assert found.cells.level.tolist() == [1, 0, 1, 0]


def test_the_selection_of_proposals_limits_each_level():
    spread = [(0, 0, x, 0, 0.5 + 0.01 * x, (1.0, 1, 1, 1)) for x in range(9)]
    found = only(make().propose(said(*spread), [SIZE], Selection(3, None, 0.7, 100)))
    assert found.cells.level.bincount().tolist() == [3, 3]
    assert sorted(found.cells.x[found.cells.level == 0].tolist()) == [6, 7, 8]


def test_proposals_may_have_a_threshold():
    outputs = said((0, 3, 3, 0, 0.6, BOX), (1, 3, 3, 2, 0.9, BOX))
    found = only(make().propose(outputs, [SIZE], Selection(100, 0.5, 0.7, 100)))
    assert found.scores.tolist() == pytest.approx([0.9, 0.6], abs=1e-5)


@pytest.mark.parametrize(("min_size", "kept"), [(None, [0, 1, 2, 3]), (0.0, [1, 2, 3]), (1.0, [2, 3])])
def test_boxes_too_small_are_dropped(min_size, kept):
    boxes = torch.tensor([[5.0, 5, 5, 9], [5, 5, 5.5, 9], [5, 5, 6, 9], [5, 5, 9, 9]])
    assert Selection(1, None, 0.5, 1, min_size).large_enough(boxes).nonzero().flatten().tolist() == kept


def test_a_joint_score_chooses_the_candidates():
    """torchvision's FCOS: the root of class times quality is what must pass the threshold and what the boxes get."""
    outputs = said((0, 3, 3, 0, 0.9, BOX), quality=0.4)
    plain, joint = make(), make()
    joint.convention = Convention(joint_score=True)
    assert only(plain.decode(outputs, [SIZE])).scores.tolist() == pytest.approx([0.36], abs=1e-5)
    assert only(joint.decode(outputs, [SIZE])).scores.tolist() == pytest.approx([0.6], abs=1e-5)
    joint.selection = Selection(100, 0.61, 0.5, 50)
    assert not len(only(joint.decode(outputs, [SIZE])))


def test_cells_may_share_the_image_evenly():
    head = CellHead(3, [8, 16], CellOptions(), Convention(even_steps=True))
    maps = [torch.zeros(1, 3, 12, 4), torch.zeros(1, 3, 6, 3)]
    assert head.steps(DenseOutputs(maps, maps, None, [(96, 32)])) == [(8, 8), (16, 10)]
    assert make().steps(said()) == [(STRIDES[0], STRIDES[0]), (STRIDES[1], STRIDES[1])]


def test_layers_are_the_activated_ends_of_both_towers():
    head, maps = make(), [torch.randn(1, 4, 8, 12), torch.randn(1, 4, 4, 6)]
    outputs = head.resume(maps, maps, start=0, sizes=[SIZE], trace=True)
    layers = head.layers(outputs)
    assert list(layers) == ["cls_tower", "reg_tower"]
    for name, tower in (("cls_tower", head.cls_tower), ("reg_tower", head.reg_tower)):
        assert all(torch.equal(found, tower(x)[0]) for found, x in zip(layers[name], maps))


def test_the_two_towers_may_be_entered_with_different_maps():
    head, maps = make(), [torch.randn(1, 4, 8, 12), torch.randn(1, 4, 4, 6)]
    whole = head.resume(maps, maps, start=0, sizes=[SIZE], trace=True)
    swapped = head.resume([torch.zeros_like(m) for m in maps], whole.reg_trace[0], start=1, sizes=[SIZE])
    assert all(torch.equal(a, b) for a, b in zip(swapped.reg, whole.reg))
    assert not any(torch.equal(a, b) for a, b in zip(swapped.cls, whole.cls))


def test_cells_follow_the_order_of_flattened_outputs():
    head, outputs = make(), said()
    head.num_anchors = 1
    cells = head.cells(outputs)
    place = [torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))[None]
             for h, w in ((8, 12), (4, 6))]  # fmt: skip
    rows = flatten(place, 2)[0]
    assert torch.equal(rows, torch.stack([cells.y, cells.x], dim=1))


MADE = {
    RetinaHead: {"depth": 3, "anchor_scale": 2.0, "ratios": (1.0, 2.0), "norm": True},
    FCOSHead: {"depth": 3, "normalised": True, "box_loss": "giou", "centre_sampling": True, "range_scale": 4.0},
    ATSSHead: {"depth": 3, "anchor_scale": 4.0},
    GFLHead: {"depth": 3, "anchor_scale": 4.0, "reg_max": 8},
    RepPointsHead: {"depth": 2, "point_scale": 2.0, "norm": False},
}


@pytest.mark.parametrize("kind", MADE)
def test_a_twin_is_of_the_same_make(kind):
    """For another pyramid and number of classes; every option of the constructor is handed on."""
    selection = Selection(7, 0.1, 0.4, 5)
    options = kind.Options(width=8, selection=selection, **MADE[kind])
    head = kind(3, 4, STRIDES, options)
    rebuilt = head.rebuild(6, [16, 32, 64], num_classes=5)
    assert type(rebuilt) is kind and rebuilt.hparams is head.hparams is options
    assert kind(3, 4, STRIDES).hparams == kind.Options()
    assert rebuilt.strides == [16, 32, 64] and rebuilt.num_classes == 5 and rebuilt.selection == selection
    assert rebuilt.cls_tower.convs[0].in_channels == 6 and len(rebuilt.reg_tower) == MADE[kind]["depth"]
    assert rebuilt.cls.out_channels == 5 * head.num_anchors and rebuilt.num_anchors == head.num_anchors
    same = head.rebuild(4, STRIDES)
    assert {n: p.shape for n, p in same.state_dict().items()} == {n: p.shape for n, p in head.state_dict().items()}
    same.load_state_dict(head.state_dict())
    maps = [torch.randn(1, 4, 8, 12), torch.randn(1, 4, 4, 6)]
    mine, theirs = (h.resume(maps, maps, start=0, sizes=[SIZE], trace=True) for h in (head, same))
    assert all(torch.equal(a, b) for a, b in zip(mine.cls + mine.reg, theirs.cls + theirs.reg))
    layers = head.layers(mine)
    assert tuple(layers) == head.layer_names
    assert all(m.shape[1] == head.width and bool((m >= 0).all()) for levels in layers.values() for m in levels)


@pytest.mark.parametrize("kind", MADE)
def test_options_cannot_be_changed_and_know_their_names(kind):
    options = kind.Options()
    assert {"width", "depth", "selection"} <= {field.name for field in fields(options)} and hash(options) is not None
    with pytest.raises(AttributeError):
        options.width = 3


@pytest.mark.parametrize("name", ["predict", "decode_level", "assign", "loss"])
def test_a_head_must_say_what_is_its_own(name):
    head = DenseHead(3, 4, STRIDES, CellOptions(width=4, depth=1))
    with pytest.raises(NotImplementedError):
        getattr(head, name)(*[None] * {"predict": 2, "decode_level": 3, "assign": 2, "loss": 2}[name])
    with pytest.raises(NotImplementedError):
        CellHead(3, STRIDES, CellOptions())(None, [])
