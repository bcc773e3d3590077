"""Students of other classes than the data's."""

import pytest
import torch

from headstart.detectors.zoo import FAMILIES
from headstart.engine.fine_tune import change_classes, list_classes
from headstart.errors import UserError
from laws.tiny import detector, scene

CLASSES = ["triangle", "Star", "circle", "moon"]
"""Of the data: two of the detector's three, in another order and spelling, and two that it does not know."""


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_not_of_a_class_is_kept_and_known_classes_with_it(family):
    given = detector(family).eval()
    made, matched = change_classes(given, CLASSES)
    assert made.classes == tuple(CLASSES) and matched.known == (1, 2)
    before, after = given.state_dict(), made.state_dict()
    changed = {name for name, value in after.items() if value.shape != before[name].shape}
    assert changed and all(
        name.startswith("head.") and any(part in ("cls", "reg") for part in name.split(".")) for name in changed
    )
    assert all(torch.equal(before[name], value) for name, value in after.items() if name not in changed)
    batch, _ = scene()
    with torch.no_grad():
        old, new = given(batch), made(batch)
    if family in ("fasterrcnn", "cascadercnn"):
        return
    shapes = [(o.unflatten(1, (-1, 3)), n.unflatten(1, (-1, 4))) for o, n in zip(old.cls, new.cls)]
    for theirs, ours in shapes:  # circle, square, star
        torch.testing.assert_close(ours[:, :, 2], theirs[:, :, 0])
        torch.testing.assert_close(ours[:, :, 1], theirs[:, :, 2])
        assert not torch.equal(ours[:, :, 0], theirs[:, :, 1])
    assert all(torch.equal(a, b) for a, b in zip(old.reg, new.reg))


def test_classes_that_are_all_new_start_from_the_prior():
    given = detector("rtmdet")
    made, matched = change_classes(given, ["bus", "car"])
    assert matched.known == () and all((layer.bias < -4).all() for layer in made.head.cls)
    assert torch.equal(made.head.reg[0].weight, given.head.reg[0].weight)


def test_preprocessing_is_the_files():
    given = detector("yolox")
    given.order, given.pad = "BGR", 7.0
    given.mean.fill_(3)
    made, _ = change_classes(given, CLASSES)
    assert (made.order, made.pad, made.mean.unique().tolist()) == ("BGR", 7.0, [3])


def test_the_table_says_whose_rows_are_kept():
    _, matched = change_classes(detector("retinanet"), CLASSES, {"square": "moon"})
    table = list_classes(matched)
    found = [list(column.cells) for column in table.columns]
    shown = list(zip(*([str(cell) for cell in cells] for cells in found)))
    assert [str(column.header) for column in table.columns] == ["data", "student's file"]
    assert shown == [
        ("triangle", "(starts anew)"), ("Star", "star"), ("moon", "square"), ("(same name)", "circle")
    ]  # fmt: skip


def test_a_detector_built_by_hand_cannot_be_changed():
    given = detector("fcos")
    given.recipe = {}
    with pytest.raises(UserError, match="built by hand for the classes circle, square, star"):
        change_classes(given, CLASSES)
