"""Every kind of link between the student's head and what guides it."""

import pytest
import torch
from headstart.methods.ckd import Aligned, LookedUp, Traced
from headstart.methods.ckd import Shared as SharedRegions

from headstart.structures import CellIndex, Progress, Regions
from methods.pairs import LINKS, batch, cells_of, make, only, pair, still, tiny, watch


@pytest.mark.parametrize("case", LINKS)
def test_every_pair_has_its_link(case):
    kind, (guide, _, assistant) = LINKS[case]
    lesson = only(pair(case))
    assert type(lesson.link) is kind and lesson.name == lesson.assistant.kind == assistant
    assert (lesson.teacher is None) == (guide is None)
    assert [name for name in lesson.adapters if name != "ckd"] == list(lesson.assistant.layers if guide else [])


def goal_of(method, reading):
    """The guide's layers as the link is given them: of the teacher, or of the assistant that learns alone."""
    if method.teacher is None:
        return reading.layers
    return only(method).assistant.consult(method.teacher, batch()[0], reading)


def own_vectors(sight):
    outputs = getattr(sight.outputs, "stages", [sight.outputs])[0]
    return outputs.roi.hidden[-1].clamp(min=0)


def by_hand(method, sight, goal):
    """[(what the student's side says after the adapter, what it should say)] for every term, level by level."""
    lesson = only(method)
    link = lesson.link
    if isinstance(link, SharedRegions):
        (vectors,) = goal[link.layer]
        return {"": [(own_vectors(sight) @ link.adapter.weight.T, vectors)]}
    if isinstance(link, Aligned):
        found = {}
        for name in ("cls",) if lesson.teacher is None else ("cls", "reg"):
            trace = getattr(sight.outputs, f"{name}_trace")
            block = len(trace) - 1 if lesson.teacher is None else (len(trace) - 1) // 2
            conv = link.adapters[name]
            maps = [torch.einsum("bchw,dc->bdhw", x.clamp(min=0), conv.weight[:, :, 0, 0]) for x in trace[block]]
            ending = "" if lesson.teacher is None else f"/{name}"
            found[ending] = [
                (x + conv.bias[:, None, None], g) for x, g in zip(maps, goal[f"{name}_tower"], strict=True)
            ]
        return found
    rows = cells_of(sight.places)
    if isinstance(link, Traced):
        tower = sight.outputs.cls_trace[-1]
        mine = [tower[level][image, :, y, x].clamp(min=0) for _, image, level, y, x, _ in rows]
        theirs = [goal[link.layer][0][row] for row, *_ in rows]
    else:
        vectors, parts = own_vectors(sight), lesson.assistant.factors
        mine = [vectors[row] for row, *_ in rows]
        theirs = [
            goal["cls_tower"][level][image, :, y // parts[level], x // parts[level]]
            for _, image, level, y, x, _ in rows
        ]
    linear = link.adapter.linear
    if linear.out_features == len(theirs[0]):
        said = [linear(row) for row in mine]
    else:
        layers = zip(linear.weight.split(len(theirs[0])), linear.bias.split(len(theirs[0])))
        layers = list(layers)
        said = [layers[anchor][0] @ row + layers[anchor][1] for row, (*_, anchor) in zip(mine, rows)]
    return {"": [(torch.stack(said), torch.stack(theirs))]}


PUBLISHED = {"traced": 2.0, "traced-cascade": 2.0, "shared": 2.0, "shared-rcnn": 2.0, "traced-free": 1.3,
             "traced-free-cascade": 1.3, "shared-free": 1.3, "shared-free-rcnn": 1.3}  # fmt: skip
BY_ANCHOR = [case for case, (kind, _) in LINKS.items() if kind in (Traced, LookedUp)]


@torch.no_grad()
@pytest.mark.parametrize("case", [*LINKS, *(f"{case} per_anchor" for case in BY_ANCHOR)])
def test_terms_by_hand_at_the_published_constants(case):
    """Squared errors: the mean of each level, summed over the levels; 1.0 where no other number was published."""
    name, _, per_anchor = case.partition(" ")
    options = {"adapter": per_anchor} if per_anchor else {}
    method = pair(name, weights="paper", **options).eval()
    terms, sight, reading = watch(method)
    lesson, goal = only(method), goal_of(method, reading)
    expected = {}
    if method.teacher is not None:
        akd = 2.0 if lesson.assistant.kind == "rcnn" else 1.0
        for layer in lesson.assistant.layers:
            weight, bias = lesson.adapters[layer].weight.flatten(1), lesson.adapters[layer].bias
            gaps = [
                ((x.movedim(1, -1) @ weight.T + bias).movedim(-1, 1) - g).square().mean()
                for x, g in zip(reading.layers[layer], goal[layer], strict=True)
            ]
            expected[f"akd/{lesson.name}/{layer}"] = akd * sum(gaps)
    for ending, levels in by_hand(method, sight, goal).items():
        gaps = [(mine - theirs).square().mean() for mine, theirs in levels]
        expected[f"ckd/{lesson.name}{ending}"] = PUBLISHED.get(name, 1.0) * sum(gaps)
    found = {key: value for key, value in terms.items() if key.startswith(("akd/", "ckd/"))}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert value > 0
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("case", ["shared", "looked-up", "aligned", "traced", "aligned-free", "traced-free"])
def test_auto_averages_levels_in_units_of_variance(case):
    """1 for all AKD layers together, 0.5 for CKD; the first step measures the variance.

    Without a teacher, the larger one of both sides.
    """
    method = pair(case, warmup=0).eval()
    terms, sight, reading = watch(method, Progress(0, 90_000))
    lesson, goal = only(method), goal_of(method, reading)
    for ending, levels in by_hand(method, sight, goal).items():
        gap = sum((mine - theirs).square().mean() for mine, theirs in levels) / len(levels)
        unit = sum(theirs.var(correction=0) for _, theirs in levels) / len(levels)
        if method.teacher is None:
            unit = max(unit, sum(mine.var(correction=0) for mine, _ in levels) / len(levels))
        terms_of_ckd = 2 if case == "aligned" else 1
        expected = 0.5 / terms_of_ckd * gap / unit
        torch.testing.assert_close(terms[f"ckd/{lesson.name}{ending}"], expected, rtol=1e-4, atol=0)
    if method.teacher is None:
        return
    for layer in lesson.assistant.layers:
        adapted = [lesson.adapters[layer](x) for x in reading.layers[layer]]
        gap = sum((a - g).square().mean() for a, g in zip(adapted, goal[layer])) / len(adapted)
        unit = sum(g.var(correction=0) for g in goal[layer]) / len(adapted)
        expected = gap / unit / len(lesson.assistant.layers)
        torch.testing.assert_close(terms[f"akd/{lesson.name}/{layer}"], expected, rtol=1e-4, atol=0)


@torch.no_grad()
def test_a_region_is_looked_up_in_the_cell_that_holds_its_own():
    """Every region one by one: cell (y, x) of the RPN lies in cell (y // 2, x // 2) of the teacher."""
    method = make("retinanet", "fasterrcnn")
    lesson = only(method)
    still(lesson.link.adapter)
    _, sight, reading = watch(method)
    goal = goal_of(method, reading)
    marked = [torch.zeros_like(m) for m in goal["cls_tower"]]
    for level, maps in enumerate(marked):
        maps[:, 0] = level
        maps[:, 1] = torch.arange(maps.shape[2])[:, None]
        maps[:, 2] = torch.arange(maps.shape[3])
        maps[:, 3] = torch.arange(len(maps))[:, None, None]
    ((_, (vectors,)),) = lesson.link(sight, {"cls_tower": marked}).values()
    rows = cells_of(sight.places)
    expected = [[level, y // 2, x // 2, image] for _, image, level, y, x, _ in rows]
    assert vectors[:, :4].tolist() == expected and len(rows) > 100
    assert len({level for level, *_ in expected}) > 2
    assert method.teacher.model.head.strides == [2 * stride for stride in method.student.head.strides]


def test_ground_truth_has_no_cell_but_is_shared():
    for case, kept in (("traced", False), ("looked-up", False), ("shared", True)):
        method = pair(case)
        _, sight, reading = watch(method)
        link = only(method).link
        ((mine, _),) = link(sight, goal_of(method, reading)).values()
        regions, truths = sum(map(len, sight.places)), sum(map(len, sight.targets))
        assert truths > 0 and len(mine[0]) == regions - (0 if kept else truths)


@pytest.mark.parametrize("case", ["shared", "shared-rcnn", "looked-up"])
def test_fewer_of_a_two_stage_students_regions(case):
    """Assistant and teacher read some of them; the student learns from all, as without; CKD compares equal rows."""
    method = pair(case, regions=12)
    _, sight, reading = watch(method)
    own = sight.outputs.first.regions
    assert [len(place) for place in sight.places] == [12, 12] and min(map(len, own)) > 12
    boxes = torch.cat([regions.boxes for regions in own])
    assert torch.equal(boxes[sight.rows], torch.cat([place.boxes for place in sight.places]))
    classes = method.student.head.num_classes
    for place, all_of_them in zip(sight.places, own):
        objects = min(int((all_of_them.labels < classes).sum()), 3)
        assert (place.labels < classes).tolist() == [True] * objects + [False] * (12 - objects)
    ((mine, _),) = only(method).link(sight, goal_of(method, reading)).values()
    traced = sum(int((place.cells.level >= 0).sum()) for place in sight.places)
    assert len(mine[0]) == (traced if case == "looked-up" else 24)


@pytest.mark.parametrize("case", ["traced", "looked-up", "traced-free", "looked-up-free"])
def test_regions_that_are_all_ground_truth_leave_zero_and_a_gradient(case):
    method = pair(case)
    lesson = only(method)
    sampled = method.sample

    def without(outputs, sizes, targets):
        return [Regions(p.boxes, p.labels, p.matched, CellIndex.none(len(p))) for p in sampled(outputs, sizes, targets)]

    method.sample = without
    terms, *_ = watch(method)
    name = f"ckd/{lesson.name}"
    assert terms[name].item() == 0
    terms[name].backward()
    assert all(p.grad is not None and not p.grad.any() for p in lesson.link.parameters())


@pytest.mark.parametrize(("depth", "block"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)])
def test_the_middle_block_imitates_a_dense_teacher(depth, block):
    """The second of four; without a teacher the last."""
    head = tiny("retinanet", depth=depth).head
    assert Aligned(head, tiny("fcos").head, free=False).blocks == {"cls": block, "reg": block}
    assert Aligned(head, tiny("fcos").head, free=True).blocks == {"cls": depth - 1}


def test_adapters_are_as_published():
    """Without a bias where both read the same regions; one convolution for all levels; one layer per anchor shape."""
    assert only(pair("shared")).link.adapter.bias is None
    assert only(pair("traced", adapter="per_anchor")).link.adapter.anchors == 9
    assert only(pair("traced-fcos", adapter="per_anchor")).link.adapter.anchors == 1
    assert only(pair("looked-up", adapter="per_anchor")).link.adapter.anchors == 3
    assert only(pair("traced")).link.adapter.linear.bias is not None
    convs = only(pair("aligned")).link.adapters
    assert {name: tuple(conv.weight.shape) for name, conv in convs.items()} == dict.fromkeys(
        ("cls", "reg"), (16, 16, 1, 1)
    )


def test_the_first_stage_of_a_cascade_guides():
    """And of a cascade student it is the first that learns, from its last layer."""
    assert only(pair("traced-cascade")).link.layer == "stage0_fc1"
    assert only(pair("shared")).link.layer == "stage0_fc1"
    method = pair("shared-rcnn")
    assert only(method).link.layer == "fc1"
    _, sight, _ = watch(method)
    assert own_vectors(sight).shape == (sum(map(len, sight.places)), 24)
    assert sight.places is sight.outputs.stages[0].regions
