import pytest

from headstart.detectors.names import FAMILY_NAMES, is_detector
from headstart.detectors.zoo import DETECTORS, FAMILIES


def test_the_names_are_those_of_the_builders():
    assert tuple(FAMILIES) == FAMILY_NAMES
    assert all(is_detector(name, None) for name in DETECTORS)


@pytest.mark.parametrize(
    "name, backbone, known",
    [
        ("retinanet", None, False),
        ("retinanet", "resnet26d", True),
        ("retinanet_r8", "resnet26d", False),
        ("", "r18", False),
    ],
)
def test_a_family_needs_a_backbone(name, backbone, known):
    assert is_detector(name, backbone) is known
