"""PAFPN on stages that are not those of YOLOX and RTMDet."""

import pytest
import torch

from headstart.errors import UserError
from headstart.necks import PAFPN


@pytest.mark.parametrize("options", [{"kind": "cspnext", "blocks": 2}, {"kind": "darknet", "depthwise": True}])
def test_any_stages_become_three_levels_of_one_width(options):
    neck = PAFPN([4, 6, 10, 14], [4, 8, 16, 32], width=8, **options)
    stages = [torch.rand(2, c, 64 // s, 96 // s) for c, s in zip([4, 6, 10, 14], [4, 8, 16, 32])]
    assert [tuple(m.shape) for m in neck(stages)] == [(2, 8, 8, 12), (2, 8, 4, 6), (2, 8, 2, 3)]
    assert (neck.width, neck.strides) == (8, [8, 16, 32])


def test_sides_that_do_not_double_are_met():
    stages = [torch.rand(1, 4, *shape) for shape in ((7, 9), (4, 5), (2, 3))]
    assert [tuple(m.shape[2:]) for m in PAFPN([4, 4, 4], [8, 16, 32], width=4)(stages)] == [(7, 9), (4, 5), (2, 3)]


def test_stages_without_the_strides_are_refused():
    with pytest.raises(UserError, match="strides 8, 16 and 32; there is none of 32"):
        PAFPN([4, 4], [8, 16])
