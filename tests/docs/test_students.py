"""The README's table of students says what is counted, and what their authors published."""

import pytest

from docs.test_results import rows
from headstart.detectors.flops import build_on_meta, count_flops

PUBLISHED = {
    "yolox_nano": (416, "25.8"),
    "yolox_tiny": (416, "32.8"),
    "rtmdet_tiny": (640, "41.1"),
    "rtmdet_s": (640, "44.6"),
    "rtmdet_m": (640, "49.4"),
    "rtmdet_l": (640, "51.5"),
}
"""Side in pixels and COCO AP, from the tables of Megvii's YOLOX and of mmdetection's RTMDet."""

TABLE = rows("README.md", "students")[2:]


def test_all_are_there_from_small_to_large():
    assert [row[0].strip("`") for row in TABLE] == list(PUBLISHED)
    flops = [float(row[3]) for row in TABLE]
    assert flops == sorted(flops)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0].strip("`"))
def test_a_row(row):
    name, side, parameters, flops, published, purpose = row
    size, score = PUBLISHED[name.strip("`")]
    found = count_flops(build_on_meta(name.strip("`")), (size, size))
    assert (int(side), published) == (size, score) and purpose
    assert parameters == f"{found.parameters / 1e6:.1f}"
    assert float(flops) == pytest.approx(found.flops / 1e9, rel=0.01, abs=0.06)
