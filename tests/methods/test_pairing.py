"""How the places where a student predicts correspond to those where its teacher does."""

from types import SimpleNamespace

import pytest
import torch

from headstart.errors import UserError
from headstart.heads.retina import RetinaHead, RetinaOptions
from headstart.heads.rtmdet import RTMDetHead, RTMDetOptions
from headstart.methods.pairing import (
    CellToCell,
    CellToRegion,
    Pair,
    RegionToCell,
    RegionToRegion,
    SamePlaces,
    coarsen,
    correspond,
    read_cells,
    stride_factors,
)
from headstart.structures import CellIndex, Regions
from methods.pairs import CASES, cells_of, imitations, make, make_case, only_name, only_teacher, watch

DENSE_STUDENT = SimpleNamespace(head=RetinaHead(1, 1, [8], RetinaOptions(width=1, depth=1)))
HIGH = [8, 16, 32, 64, 128]
LOW = [4, 8, 16, 32, 64]


def regions(*images):
    """Regions at cells [(level, y, x, anchor), ...] per image."""
    found = []
    for cells in images:
        rows = torch.tensor(cells, dtype=torch.int64).reshape(-1, 4)
        boxes = torch.zeros(len(rows), 4)
        found.append(Regions(boxes, torch.zeros(len(rows), dtype=torch.int64), boxes, CellIndex(*rows.unbind(1))))
    return found


def named_maps():
    """maps[l][b, :, y, x] = (l, b, y, x)."""
    maps = []
    for level, (height, width) in enumerate([(4, 6), (2, 3)]):
        b, y, x = torch.meshgrid(torch.arange(2), torch.arange(height), torch.arange(width), indexing="ij")
        maps.append(torch.stack([torch.full_like(b, level), b, y, x], dim=1).float().requires_grad_())
    return maps


# -- cells behind regions ----------------------------------------------------------------------------------------------


def test_the_cells_behind_the_regions_are_read():
    maps = named_maps()
    vectors, traced, anchor = read_cells(
        maps, regions([(-1, -1, -1, -1), (1, 1, 2, 5), (0, 3, 0, 1)], [(0, 0, 5, 8), (-1, -1, -1, -1), (1, 0, 1, 0)])
    )
    assert vectors.tolist() == [[1, 0, 1, 2], [0, 0, 3, 0], [0, 1, 0, 5], [1, 1, 0, 1]]
    assert traced.tolist() == [1, 2, 3, 5] and anchor.tolist() == [5, 1, 8, 0]


def test_gradients_reach_exactly_these_cells():
    maps = named_maps()
    vectors, _, _ = read_cells(maps, regions([(0, 3, 0, 1), (0, 3, 0, 2)], [(1, 0, 1, 0)]))
    vectors.sum().backward()
    assert maps[0].grad[0, :, 3, 0].tolist() == [2.0] * 4 and maps[0].grad.sum() == 8
    assert maps[1].grad[1, :, 0, 1].tolist() == [1.0] * 4 and maps[1].grad.sum() == 4


@pytest.mark.parametrize("cells", [[(-1, -1, -1, -1)], []], ids=["ground truth only", "no region"])
def test_without_a_cell_nothing_is_read(cells):
    maps = named_maps()
    vectors, traced, anchor = read_cells(maps, regions(cells, cells))
    assert vectors.shape == (0, 4) and len(traced) == len(anchor) == 0
    vectors.sum().backward()
    assert all(m.grad is not None and not m.grad.any() for m in maps)


def test_coarser_maps_are_read_at_the_cell_that_covers_it():
    """Factors 3 and 2: how many cells of a traced level make one of the maps'."""
    cells = [(0, 11, 17, 0), (0, 0, 2, 0), (0, 3, 3, 0), (1, 3, 5, 0), (1, 0, 1, 0)]
    vectors, traced, _ = read_cells(named_maps(), regions(cells, []), [3, 2])
    assert vectors.tolist() == [[0, 0, 3, 5], [0, 0, 0, 0], [0, 0, 1, 1], [1, 0, 1, 2], [1, 0, 0, 0]]
    assert traced.tolist() == [0, 1, 2, 3, 4]


def test_cells_of_levels_that_the_maps_lack_are_left_out():
    vectors, traced, anchor = read_cells(named_maps(), regions([(4, 0, 0, 1), (0, 2, 1, 3)], [(2, 0, 0, 0)]), [1, 1])
    assert vectors.tolist() == [[0, 0, 2, 1]] and traced.tolist() == [1] and anchor.tolist() == [3]


# -- strides -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "goal", "found"),
    [
        (HIGH, HIGH, [1] * 5),
        (LOW, HIGH, [2] * 5),
        ([2, 4, 8, 16, 32], HIGH, [4] * 5),
        ([4, 8, 32], [12, 16, 32], [3, 2, 1]),
        (LOW, [8, 16, 32], [2, 2, 2]),
        (HIGH[:4], HIGH, [1] * 4),
        ([8, 16, 32], HIGH, [1] * 3),
    ],
)
def test_levels_correspond_by_their_place_from_the_finest_on(own, goal, found):
    """Where one pyramid has more levels, its coarsest ones have no counterpart."""
    assert stride_factors(own, goal) == found


@pytest.mark.parametrize(("own", "goal"), [(HIGH, LOW), ([8, 16], [12, 16]), ([8, 16, 64], [8, 16, 32])])
def test_finer_strides_and_broken_multiples_are_refused(own, goal):
    with pytest.raises(UserError) as refused:
        stride_factors(own, goal)
    sentence = str(refused.value)
    assert "\n" not in sentence and ". " not in sentence
    for strides in (own, goal):
        assert f"of strides {', '.join(map(str, strides))}" in sentence


def test_coarse_cells_are_the_averages_of_the_cells_that_there_are():
    """Sizes are rounded up, and at the border the cells that exist are averaged; further levels are left out."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, *size, generator=generator) for size in ((7, 8), (5, 3), (1, 1), (2, 2))]
    parts = [2, 3, 2]
    found = coarsen(maps, parts)
    assert [tuple(m.shape[-2:]) for m in found] == [(4, 4), (2, 1), (1, 1)]
    for coarse, fine, k in zip(found, maps, parts):
        for y in range(coarse.shape[2]):
            for x in range(coarse.shape[3]):
                block = fine[:, :, y * k : y * k + k, x * k : x * k + k]
                torch.testing.assert_close(coarse[:, :, y, x], block.flatten(2).mean(dim=2))


def test_equal_strides_leave_the_maps_alone():
    maps = [torch.randn(1, 2, 4, 4), torch.randn(1, 2, 2, 2)]
    assert all(a is b for a, b in zip(coarsen(maps, [1, 1]), maps))


# -- the table, and each correspondence on tensors made by hand --------------------------------------------------------


@pytest.mark.parametrize(
    ("student_at", "guide_at", "expected"),
    [
        ("cells", "cells", CellToCell((2, 1))),
        ("cells", "regions", CellToRegion()),
        ("regions", "cells", RegionToCell((2, 1))),
        ("regions", "regions", RegionToRegion()),
    ],
)
def test_the_table(student_at, guide_at, expected):
    found = correspond(student_at, guide_at, [2, 1])
    assert type(found) is type(expected) and vars(found) == vars(expected)
    assert found.by_anchor == (student_at != guide_at)
    assert found.of_maps == (student_at == guide_at == "cells")


def step(sampled, rows=None):
    return SimpleNamespace(regions=sampled, region_rows=rows, student=DENSE_STUDENT)


def test_the_same_places_are_taken_as_they_are():
    source, target = [torch.tensor([[-1.0]])], [torch.tensor([[-2.0]])]
    found = SamePlaces()(source, target, step([]))
    assert found.source is source and found.target is target and found.anchor is None


def test_cell_to_region():
    """The student's activated vectors at the cells, against the teacher's rows of those regions."""
    maps = [-m for m in named_maps()]  # an activation makes 0 of them
    maps[1] = -maps[1]
    sampled = regions([(-1, -1, -1, -1), (1, 1, 2, 5)], [(0, 3, 4, 7)])
    target = torch.tensor([[10.0], [20.0], [30.0]])
    found = CellToRegion()(maps, [target], step(sampled))
    assert found.source[0].tolist() == [[1, 0, 1, 2], [0, 0, 0, 0]]
    assert found.target[0].tolist() == [[20], [30]] and found.anchor.tolist() == [5, 7]


@pytest.mark.parametrize(("rows", "own"), [(None, [[0], [2], [3]]), (torch.tensor([3, 0, 1]), [[4], [0], [2]])])
def test_region_to_region(rows, own):
    """All regions, ground truth among them; of a two-stage student those of its rows that are shared."""
    vectors = torch.tensor([[-1.0], [2], [3]] if rows is None else [[-1.0], [2], [3], [4]])
    target = [torch.rand(3, 1)]
    found = RegionToRegion()([vectors], target, step(regions([(0, 0, 0, 0)] * 3), rows))
    assert found.source[0].tolist() == own and found.target is target and found.anchor is None


def test_region_to_cell():
    """The student's regions that came from a cell, against the map at the cell of twice the stride that covers it."""
    vectors = torch.tensor([[1.0], [-2], [3]])
    sampled = regions([(0, 7, 10, 2), (-1, -1, -1, -1)], [(1, 2, 4, 1)])
    found = RegionToCell((2, 2))([vectors], named_maps(), step(sampled, torch.tensor([1, 0, 2])))
    assert found.target[0].tolist() == [[0, 0, 3, 5], [1, 1, 1, 2]]
    assert found.source[0].tolist() == [[0], [3]] and found.anchor.tolist() == [2, 1]


def test_cell_to_cell():
    """Activated, then averaged; the coarsest levels of the longer pyramid are left out on either side."""
    own = [torch.tensor([[[[-4.0, 4], [8, 0]]]]), torch.tensor([[[[-1.0]]]])]
    target = [torch.rand(1, 1, 1, 1) for _ in range(3)]
    found = CellToCell((2, 1))(own, target, step([]))
    assert [x.tolist() for x in found.source] == [[[[[3.0]]]], [[[[0.0]]]]]
    assert [a is b for a, b in zip(found.target, target, strict=False)] == [True, True] and len(found.target) == 2
    assert len(CellToCell((2,))(own, target, step([])).target) == 1


def test_cells_are_activated_as_the_students_head_does():
    silu = SimpleNamespace(head=RTMDetHead(1, 1, [8], RTMDetOptions(width=1, depth=1)))
    given = SimpleNamespace(regions=[], region_rows=None, student=silu)
    (found,) = CellToCell((1,))([torch.tensor([[[[-1.0, 2]]]])], [torch.zeros(1)], given).source
    torch.testing.assert_close(found.flatten(), torch.nn.functional.silu(torch.tensor([-1.0, 2])))


def test_a_pairs_tensors_are_its_sources():
    pair = Pair([torch.zeros(1)], [torch.ones(1)])
    assert pair.tensors is pair.source


# -- the pairs of families ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_every_pair_has_its_correspondence(case):
    kind, (teacher, _, assistant) = CASES[case]
    method = make_case(case)
    assert only_name(method) == assistant and len(method.teachers) == (teacher is not None)
    found = imitations(method, "ckd")
    assert found and all(type(imitation.match) is kind for imitation in found.values())


@torch.no_grad()
def test_a_region_corresponds_to_the_cell_that_covers_its_own():
    """Every region one by one: cell (y, x) of the RPN lies in cell (y // 2, x // 2) of the teacher."""
    method = make("retinanet", "fasterrcnn")
    (ckd,) = imitations(method, "ckd").values()
    _, seen, _ = watch(method)
    marked = [torch.zeros_like(m) for m in ckd.target(seen)]
    for level, maps in enumerate(marked):
        maps[:, 0] = level
        maps[:, 1] = torch.arange(maps.shape[2])[:, None]
        maps[:, 2] = torch.arange(maps.shape[3])
        maps[:, 3] = torch.arange(len(maps))[:, None, None]
    (vectors,) = ckd.match(ckd.source(seen), marked, seen).target
    rows = cells_of(seen.regions)
    expected = [[level, y // 2, x // 2, image] for _, image, level, y, x, _ in rows]
    assert vectors[:, :4].tolist() == expected and len(rows) > 100
    assert len({level for level, *_ in expected}) > 2
    assert only_teacher(method).model.head.strides == [2 * stride for stride in method.student.head.strides]


@pytest.mark.parametrize(
    ("case", "kept"), [("cell-region", False), ("region-cell", False), ("region-region", True)], ids=str
)
def test_ground_truth_has_no_cell_but_is_a_shared_region(case, kept):
    method = make_case(case)
    _, seen, _ = watch(method)
    (ckd,) = imitations(method, "ckd").values()
    found = ckd.match(ckd.source(seen), ckd.target(seen), seen)
    every, truths = sum(map(len, seen.regions)), sum(map(len, seen.targets))
    assert truths > 0 and len(found.source[0]) == len(found.target[0]) == every - (0 if kept else truths)


@pytest.mark.parametrize("case", ["region-region", "region-region-rcnn", "region-cell"])
def test_fewer_of_a_two_stage_students_regions(case):
    """Assistant and teacher read some of them; the student learns from all, as without; CKD compares equal rows."""
    method = make_case(case, regions=12)
    _, seen, _ = watch(method)
    own = seen.outputs.first.regions
    assert [len(r) for r in seen.regions] == [12, 12] and min(map(len, own)) > 12
    boxes = torch.cat([r.boxes for r in own])
    assert torch.equal(boxes[seen.region_rows], torch.cat([r.boxes for r in seen.regions]))
    classes = method.student.head.num_classes
    for some, all_of_them in zip(seen.regions, own):
        objects = min(int((all_of_them.labels < classes).sum()), 3)
        assert (some.labels < classes).tolist() == [True] * objects + [False] * (12 - objects)
    (ckd,) = imitations(method, "ckd").values()
    found = ckd.match(ckd.source(seen), ckd.target(seen), seen)
    traced = sum(int((r.cells.level >= 0).sum()) for r in seen.regions)
    assert len(found.source[0]) == len(found.target[0]) == (traced if case == "region-cell" else 24)
