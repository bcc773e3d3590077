"""Parameters and multiplications, against sums by hand."""

import pytest

from headstart.detectors.flops import build_on_meta, count_flops
from headstart.detectors.zoo import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_measured_without_being_made(family):
    detector = build_on_meta(f"{family}_mnv2_050")
    assert all(p.is_meta for p in detector.parameters())
    small, large = (count_flops(detector, (128, side)) for side in (128, 256))
    assert small.parameters == large.parameters == sum(p.numel() for p in detector.parameters())
    assert 0 < small.macs < large.macs and small.flops == 2 * small.macs


def test_a_block_of_the_towers_counts_as_its_convolutions():
    """Two convolutions, 256 to 256 channels, on every cell of five levels."""
    more, less = (count_flops(build_on_meta("retinanet_mnv2_050", depth=depth), (256, 256)).macs for depth in (4, 3))
    assert more - less == 2 * 256 * 256 * 9 * sum((256 // stride) ** 2 for stride in (8, 16, 32, 64, 128))


def test_a_deformable_convolution_counts_as_the_plain_one():
    """RepPoints has two, 256 to 256 channels, on each of five levels."""
    counted = count_flops(build_on_meta("reppoints_mnv2_050"), (256, 256)).macs
    head = build_on_meta("reppoints_mnv2_050").head
    cells = sum((256 // stride) ** 2 for stride in head.strides)
    assert counted > 2 * cells * 256 * 256 * 9
    narrow = count_flops(build_on_meta("reppoints_mnv2_050", width=128), (256, 256)).macs
    assert narrow < counted / 2


def test_box_heads_count_a_thousand_regions():
    wide, slim = (count_flops(build_on_meta("fasterrcnn_mnv2_050", hidden=h), (64, 64)).macs for h in (512, 256))
    by_hand = 1000 * (256 * 49 * 256 + 512 * 512 - 256 * 256 + 256 * (81 + 320))
    assert wide - slim == by_hand
