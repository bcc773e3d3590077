"""The places inside a detector that methods read."""

import pytest
import torch
from torch.nn import functional

from headstart.detectors.taps import level_names, read_tap, tap_names, tap_width
from headstart.detectors.zoo import FAMILIES
from headstart.errors import UserError
from laws.tiny import DENSE, TWO_STAGE, detector, scene

TOWERS = ["cls_tower", "reg_tower"]
BLOCKS = ["cls_tower/0", "cls_tower/1", "reg_tower/0", "reg_tower/1"]


def run(family):
    images, _ = scene(size=64)
    built = detector(family)
    features = built.extract(images)
    return built, features, built.head(features, images.sizes, trace=True)


def test_levels_are_named_by_their_strides():
    assert level_names("P", [4, 8, 128]) == ["P2", "P3", "P7"] and level_names("C", [32]) == ["C5"]


@pytest.mark.parametrize(
    ("family", "inside"),
    [
        ("retinanet", [*TOWERS, *BLOCKS, "output/cls", "output/reg"]),
        ("fcos", [*TOWERS, *BLOCKS, "output/cls", "output/reg", "output/quality"]),
        ("reppoints", [*TOWERS, "initial_conv", "cls_conv", "reg_conv", *BLOCKS, "output/cls", "output/reg"]),
        ("fasterrcnn", ["region/fc0", "region/fc1"]),
        ("cascadercnn", ["region/fc0", "region/fc1"]),
    ],
)
def test_the_places_of_a_detector(family, inside):
    stages = ["backbone", "backbone/C2", "backbone/C3", "backbone/C4", "backbone/C5"]
    first = 2 if family in TWO_STAGE else 3
    levels = ["neck", *(f"neck/P{first + level}" for level in range(5))]
    assert tap_names(detector(family)) == [*stages, *levels, *inside]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_place_can_be_read_and_is_as_wide_as_it_says(family):
    built, features, outputs = run(family)
    for name in tap_names(built):
        found = read_tap(built, name, features, outputs)
        assert found and all(isinstance(x, torch.Tensor) for x in found), name
        if name != "backbone":
            assert {x.shape[1] for x in found} == {tap_width(built, name)}, name


@pytest.mark.parametrize("family", FAMILIES)
def test_where_the_values_come_from(family):
    built, features, outputs = run(family)
    read = lambda name: read_tap(built, name, features, outputs)  # noqa: E731
    assert read("backbone") is features.stages and read("neck") is features.pyramid
    for letter, maps, strides in (
        ("C", features.stages, features.stage_strides),
        ("P", features.pyramid, features.strides),
    ):
        part = "backbone" if letter == "C" else "neck"
        for name, one in zip(level_names(letter, strides), maps, strict=True):
            assert read(f"{part}/{name}")[0] is one
    if family in TWO_STAGE:
        assert [read(f"region/fc{i}")[0] is outputs.first.roi.hidden[i] for i in (0, 1)] == [True, True]
        return
    assert read("cls_tower/0") is outputs.cls_trace[0] and read("reg_tower/1") is outputs.reg_trace[1]
    assert read("cls_tower") is outputs.cls_trace[-1] and read("reg_tower") is outputs.reg_trace[-1]
    assert read("output/cls") is outputs.cls and read("output/reg") is outputs.reg
    if outputs.quality is not None:
        assert read("output/quality") is outputs.quality


@pytest.mark.parametrize("family", FAMILIES)
def test_values_are_those_before_an_activation(family):
    """So the activated layers that an assistant imitates are their positive parts, or what SiLU makes of them."""
    built, features, outputs = run(family)
    if family in TWO_STAGE:
        assert bool((read_tap(built, "region/fc1", features, outputs)[0] < 0).any())
        return
    activate = functional.silu if family in ("rtmdet", "yolox") else functional.relu
    for name, maps in built.head.layers(outputs).items():
        for before, after in zip(read_tap(built, name, features, outputs), maps, strict=True):
            assert torch.equal(activate(before), after) and bool((before < 0).any()), name


@pytest.mark.parametrize("family", DENSE)
def test_a_place_outside_the_head_needs_no_outputs(family):
    built, features, _ = run(family)
    assert read_tap(built, "neck/P4", features, None)[0] is features.pyramid[1]


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("cls_tower/9", "did you mean cls_tower"),
        ("nek/P3", "did you mean neck/P3?"),
        ("neck/P9", "did you mean neck/P"),
        ("region/fc0", ""),
        ("backbone", "did you mean backbone/C"),
    ],
)
def test_a_place_that_there_is_not_is_refused_with_the_nearest(name, ending):
    """`backbone` as a whole has no one width: its stages differ."""
    with pytest.raises(UserError) as refused:
        tap_width(detector("retinanet"), name)
    assert str(refused.value).startswith(f"no place to read is called '{name}'; ") and ending in str(refused.value)
