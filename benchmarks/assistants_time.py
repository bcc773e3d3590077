"""CPU seconds of one HEAD step for every kind of teacher, for TF-HEAD, and for fewer or more regions.

Steps as in step_time.py: a RetinaNet-R18 student or another, R50 teachers, images of noise with about 7 boxes, one
thread. All modes take turns in every round; a figure is the median of the rounds. Every mode is compared with the plain
student. Two-stage teachers, and TF-HEAD, are timed with each number of regions.

    python benchmarks/assistants_time.py [--rounds 3] [--size 320] [--batch 2] [--width 256] [--backbone r50]
        [--student retinanet_r18] [--regions 64 128 256 512] [--kinds fasterrcnn reppoints ... free] [--bf16] [--json]
"""

from __future__ import annotations

import argparse
import copy
import json

import torch
from step_time import BF16, CLASSES, FP32, Mode, draw_batch, freeze, make_student, measure, medians, our_mode

from headstart.detectors.zoo import FAMILIES, build_detector
from headstart.engine.memory import keep_freed_memory
from headstart.methods import build_method

FREE = "free"
BY_REGIONS = (FREE, "fasterrcnn", "cascadercnn")
REGIONS = [64, 128, 256, 512]


def build_modes(options: argparse.Namespace) -> dict[str, Mode]:
    """The plain student, HEAD with each kind of teacher, TF-HEAD, and HEAD with each number of regions."""
    batch, precision = draw_batch(options.batch, options.size), BF16 if options.bf16 else FP32
    torch.manual_seed(0)
    student = make_student(options.student, width=options.width)
    modes = {"plain": our_mode(build_method("baseline", copy.deepcopy(student)), batch, precision)}
    for kind in options.kinds:
        teacher = None
        if kind != FREE:
            teacher = build_detector(f"{kind}_{options.backbone}", CLASSES, pretrained=False, width=options.width)
        assistants = "auto" if kind == FREE else None
        for regions in options.regions if kind in BY_REGIONS else [None]:
            frozen = None if teacher is None else freeze(teacher, precision)
            method = build_method("head", copy.deepcopy(student), frozen, regions=regions, assistants=assistants)
            modes[kind if regions is None else f"{kind}, {regions} regions"] = our_mode(method, batch, precision)
    return modes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for option, value in {"rounds": 3, "size": 320, "batch": 2, "width": 256}.items():
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--student", default="retinanet_r18", help="a short name of `headstart models`")
    parser.add_argument("--backbone", default="r50", help="of the teachers: a short name of `headstart models`")
    parser.add_argument("--regions", type=int, nargs="+", default=REGIONS)
    parser.add_argument("--kinds", nargs="+", choices=[*FAMILIES, FREE], default=[*FAMILIES, FREE])
    parser.add_argument("--bf16", action="store_true", help="everything in bf16, for processors that have it")
    parser.add_argument("--json", action="store_true", help="print one line of json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    modes = build_modes(options)
    measure(modes, options.rounds)
    seconds, teacher = medians(modes)
    plain = seconds["plain"]
    found = {
        name: {
            "seconds": value,
            "vs_plain": value / plain,
            "teacher": teacher[name] / plain,
            "assistant": (value - plain - teacher[name]) / plain,
        }
        for name, value in seconds.items()
    }
    if options.json:
        print(json.dumps(found))
        return
    print(f"CPU seconds of a step: {options.batch} images, {options.size} px, one thread, {options.rounds} rounds")
    print("The teacher's and the assistant's part in units of the plain step\n")
    print(f"  {'':28}{'seconds':>9}{'/ plain':>9}{'teacher':>9}{'assistant':>11}")
    for name, row in found.items():
        parts = "" if name == "plain" else f"{row['teacher']:9.2f}{row['assistant']:11.2f}"
        print(f"  {name:28}{row['seconds']:9.3f}{row['vs_plain']:9.2f}{parts}")


if __name__ == "__main__":
    main()
