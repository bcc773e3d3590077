import pytest

from headstart.alternatives import make_room
from headstart.errors import UserError
from headstart.recipe import load_run


@pytest.mark.parametrize(
    "tree, keys, left",
    [
        ({"train": {"epochs": 12, "lr": 0.1}}, ["train.steps"], {"train": {"lr": 0.1}}),
        ({"train": {"schedule": "1x"}}, ["train.epochs"], {"train": {}}),
        ({"data": {"path": "x", "short": 800, "long": 1333}}, ["data.imgsz"], {"data": {"path": "x"}}),
        ({"data": {"path": "x", "imgsz": 640}}, ["data.short", "data.long"], {"data": {"path": "x"}}),
        ({"train": {"epochs": 12}}, ["train.epochs", "train.steps"], {"train": {"epochs": 12}}),
        ({"train": {"epochs": 12}, "data": "x"}, ["train.lr", "data.imgsz"], {"train": {"epochs": 12}, "data": "x"}),
        ({}, ["train.steps"], {}),
    ],
)
def test_one_way_of_saying_it_replaces_the_others(tree, keys, left):
    make_room(tree, keys)
    assert tree == left


def test_options_replace_what_a_resolved_recipe_says(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("data: {path: x, imgsz: 640}\nstudent: fcos_r18\ntrain: {epochs: 12}\n")
    run = load_run(path, {"train.steps": 5}, ["data.short=800", "data.long=1333"])
    assert run.train.steps == 5 and run.train.epochs is None and run.data.sides == (800, 1333)
    with pytest.raises(UserError, match="give one of epochs, steps and schedule, not epochs and steps"):
        load_run(path, {"train.steps": 5, "train.epochs": 3})
