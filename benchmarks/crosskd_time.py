"""CPU seconds of one training step by CrossKD, mimicking and PKD, in units of the plain student's.

Steps as in step_time.py: a GFL-R18 student or another, a teacher of its kind on R50, noise with about 7 boxes an image,
one thread. All modes take turns in every round; a figure is the median of the rounds.

    python benchmarks/crosskd_time.py [--rounds 5] [--size 320] [--batch 2] [--width 256] [--family gfl]
        [--student r18] [--teacher r50] [--bf16] [--json]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics

import torch
from step_time import BF16, CLASSES, FP32, Mode, draw_batch, freeze, make_student, measure, our_mode

from headstart.detectors.zoo import build_detector
from headstart.engine.memory import keep_freed_memory
from headstart.methods import build_method

METHODS = ("mimic", "crosskd", "pkd", "crosskd+pkd")


def build_modes(options: argparse.Namespace) -> dict[str, Mode]:
    """The plain student, and each method with a teacher of its own."""
    batch, precision = draw_batch(options.batch, options.size), BF16 if options.bf16 else FP32
    torch.manual_seed(0)
    student = make_student(f"{options.family}_{options.student}", width=options.width)
    name = f"{options.family}_{options.teacher}"
    teacher = build_detector(name, CLASSES, pretrained=False, width=options.width)
    modes = {"plain": our_mode(build_method("baseline", copy.deepcopy(student)), batch, precision)}
    for method in METHODS:
        made = build_method(method, copy.deepcopy(student), freeze(teacher, precision))
        modes[method] = our_mode(made, batch, precision)
    return modes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for option, value in {"rounds": 5, "size": 320, "batch": 2, "width": 256}.items():
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--family", default="gfl", help="of student and teacher")
    parser.add_argument("--student", default="r18", help="backbone of the student")
    parser.add_argument("--teacher", default="r50", help="backbone of the teacher")
    parser.add_argument("--bf16", action="store_true", help="everything in bf16, for processors that have it")
    parser.add_argument("--json", action="store_true", help="print one line of json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    modes = build_modes(options)
    measure(modes, options.rounds)
    seconds = {name: statistics.median(mode.seconds) for name, mode in modes.items()}
    teacher = {name: statistics.median(mode.teacher) if any(mode.teacher) else 0.0 for name, mode in modes.items()}
    plain = seconds["plain"]
    found = {
        name: {"seconds": value, "vs_plain": value / plain, "teacher": teacher[name] / plain}
        for name, value in seconds.items()
    }
    if options.json:
        print(json.dumps(found))
        return
    print(f"CPU seconds of a step: {options.batch} images, {options.size} px, one thread, {options.rounds} rounds\n")
    print(f"  {'':14}{'seconds':>9}{'/ plain':>9}{'teacher':>9}")
    for name, row in found.items():
        print(f"  {name:14}{row['seconds']:9.3f}{row['vs_plain']:9.2f}{row['teacher']:9.2f}")


if __name__ == "__main__":
    main()
