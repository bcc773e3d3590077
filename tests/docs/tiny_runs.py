"""Runs that pages show, made small: the same settings with tiny detectors, two steps and pictures of 64 pixels."""

from __future__ import annotations

from headstart.config import GIVEN, Run
from headstart.detectors.zoo import DETECTORS
from headstart.engine.fit import fit

TEACHER = "runs/teacher/student.safetensors"


def shrink(choice):
    if choice is None or choice.get("file") or choice["name"] == GIVEN:
        return choice
    family = DETECTORS.get(choice["name"], (choice["name"],))[0]
    options = {"hidden": 16} if family == "fasterrcnn" else {}
    return {"name": family, "backbone": "mnv2_050", "width": 16, "pretrained": False, "options": options}


def small_fit(run, **given):
    tree = run.model_dump(mode="json")
    tree["data"] |= {"imgsz": 64, "batch": 2, "workers": 0}
    for key in ("short", "long"):
        tree["data"].pop(key, None)
    for who in ("student", "teacher"):
        several = isinstance(tree.get(who), list)
        if who in tree:
            tree[who] = [shrink(one) for one in tree[who]] if several else shrink(tree[who])
    # In bf16 the predictions of a teacher of two steps are their bias, whatever it is given: nothing to imitate.
    tree["train"] = {"steps": 2, "device": "cpu", "precision": "fp32", "seed": tree["train"]["seed"]}
    return fit(Run.model_validate(tree), **given)
