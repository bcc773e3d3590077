"""Which levels of two pyramids correspond."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from headstart.errors import UserError
from headstart.methods import Frozen, build_method
from headstart.methods.levels import LevelPairs, pair_levels
from laws.tiny import detector

LOW, HIGH, SHORT = [4, 8, 16, 32, 64], [8, 16, 32, 64, 128], [8, 16, 32]


def someone(strides, predicts_at="cells"):
    neck, head = SimpleNamespace(strides=strides), SimpleNamespace(predicts_at=predicts_at)
    return SimpleNamespace(neck=neck, head=head)


def pairs(own, other, levels="auto", student="cells", teacher="cells", **options):
    found = pair_levels("toy", someone(own, student), SimpleNamespace(model=someone(other, teacher)), levels, **options)
    return list(zip(found.own_strides, found.other_strides, strict=True)), found


@pytest.mark.parametrize(
    ("own", "other", "given", "expected"),
    [
        (HIGH, LOW, {"teacher": "regions"}, [(8, 4), (16, 8), (32, 16), (64, 32), (128, 64)]),
        (SHORT, LOW, {"teacher": "regions"}, [(8, 4), (16, 8), (32, 16)]),
        (LOW, HIGH, {"student": "regions"}, [(8, 8), (16, 16), (32, 32), (64, 64)]),
        (HIGH, SHORT, {}, [(8, 8), (16, 16), (32, 32)]),
        ([16, 32, 64], LOW, {"teacher": "regions"}, [(16, 16), (32, 32), (64, 64)]),
        (LOW, LOW, {"student": "regions", "teacher": "regions"}, [(s, s) for s in LOW]),
    ],
)
def test_auto_pairs_by_scale_from_two_stages_to_cells_and_else_by_stride(own, other, given, expected):
    assert pairs(own, other, **given)[0] == expected


def test_each_way_can_be_chosen():
    assert pairs(HIGH, LOW, "stride", teacher="regions")[0] == [(8, 8), (16, 16), (32, 32), (64, 64)]
    assert pairs(LOW, HIGH, "scale", student="regions")[0] == [(4, 8), (8, 16), (16, 32), (32, 64), (64, 128)]


def test_what_does_not_correspond_is_refused():
    with pytest.raises(UserError, match=r"^method toy needs levels whose strides are at most twice.*\[16, 32\].*use"):
        pairs([16, 32], LOW, "scale")
    with pytest.raises(UserError, match=r"^method toy needs a stride that both.*\[8\].*\[16\]; use method head"):
        pairs([8], [16])


def test_the_finer_map_is_averaged_to_the_coarser():
    _, found = pairs([8, 16], [4, 8], "scale")
    own = [torch.randn(1, 3, 6, 7), torch.randn(1, 3, 3, 4)]
    other = [torch.randn(1, 3, 12, 14), torch.randn(1, 3, 6, 7)]
    pair = found(own, other, None)
    assert found.strides == (8, 16) and all(torch.equal(a, b) for a, b in zip(pair.source, own, strict=True))
    torch.testing.assert_close(pair.target[0], other[0].unflatten(2, (6, 2)).unflatten(4, (7, 2)).mean(dim=(3, 5)))
    assert pair.target[1].shape == (1, 3, 3, 4)
    back = pairs([4, 8], [8, 16], "scale")[1](other, own, None)
    assert torch.equal(back.source[0], pair.target[0]) and torch.equal(back.target[0], own[0])


def test_or_the_students_map_is_interpolated_to_the_teachers():
    _, found = pairs([8, 16], [4, 8], "scale", resize="teacher")
    own = [torch.randn(1, 3, 6, 7), torch.randn(1, 3, 3, 4)]
    other = [torch.randn(1, 3, 12, 14), torch.randn(1, 3, 6, 7)]
    pair = found(own, other, None)
    assert found.strides == (4, 8) and all(torch.equal(a, b) for a, b in zip(pair.target, other, strict=True))
    goal = functional.interpolate(own[0], size=(12, 14), mode="bilinear", align_corners=False)
    assert torch.equal(pair.source[0], goal)


def test_other_maps_of_a_side_are_brought_to_the_compared_strides():
    _, found = pairs(HIGH, LOW, teacher="regions")
    scores = [torch.rand(1, 1, 256 // s, 256 // s) for s in LOW]
    assert [m.shape[-1] for m in found.pick(scores, found.other_strides)] == [256 // s for s in HIGH]


def test_the_pairing_table_says_which_levels():
    method = build_method("pkd", detector("gfl"), Frozen(detector("fasterrcnn", 1)))
    (row,) = method.describe()
    assert (row["from"], row["to"]) == ("teacher neck P2 to P6", "student neck P3 to P7")
    (row,) = build_method("pkd", detector("gfl"), Frozen(detector("fasterrcnn", 1)), levels="stride").describe()
    assert (row["from"], row["to"]) == ("teacher neck", "student neck")
    assert isinstance(next(iter(method)).match, LevelPairs)
